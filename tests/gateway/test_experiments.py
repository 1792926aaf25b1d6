"""Experiments on searches through the application: scripted models, a real Redis, events as users send."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from contextlib import closing

import pytest
from redis import Redis

from gateway.app import create_app
from gateway.cluster import Cluster
from gateway.experiments.api import BODY_BYTES
from gateway.experiments.events import MOST_EVENTS
from gateway.scoring import ScoreRequest, Scores, ScoringFailed
from gateway.settings import GatewaySettings, read_config
from relevance.ubi import read_log
from search_plugin import Reason
from tests.conftest import find_free_port, wait_until
from tests.gateway.doubles import answer, search_answer
from worker.contract import KEY_PREFIX, SHOWN_ANSWERS_KEY, shown_key

pytestmark = pytest.mark.system

TITLES = ["a", "bbb", "cc", "dddd", "eeeee"]  # the window is 4: the last one is the tail
FIRST_STAGE = TITLES[:4]
LONG, SHORT = ["dddd", "bbb", "cc", "a"], ["a", "cc", "bbb", "dddd"]
HEADER = "X-Session"
OWN_MACHINE = {"REMOTE_ADDR": "127.0.0.1"}


class Models:
    """``long`` prefers long titles, ``short`` short ones; ``broken`` has no scores."""

    def score(self, request: ScoreRequest) -> Scores:
        if request.model == "broken":
            raise ScoringFailed(Reason.TIMEOUT)
        sign = 1 if request.model == "long" else -1
        return Scores(tuple(sign * float(len(passage)) for passage in request.passages))

    def find_served(self, models):
        return frozenset(models)

    def observe(self, models):
        return ()


class Shop:
    """The application, its users, and what they do."""

    def __init__(self, cluster, folder, redis_url, experiment, **settings) -> None:
        config = folder / "rerank.toml"
        given = {"name": "e", "policy": "books", "unit": f"header:{HEADER}", "arms": ["policy", "short"]}
        table = given | experiment
        lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        config.write_text(
            '[models.long]\npath = "x"\n[models.short]\npath = "x"\n[models.broken]\npath = "x"\n'
            '[[policies]]\nname = "books"\nindices = ["books"]\nmodel = "long"\npassage_fields = ["title"]\n'
            "window = 4\n" + ("[[experiments]]\n" + "\n".join(lines) if experiment is not NONE else "")
        )
        self.experiment = next(iter(read_config(config).experiments), None)
        self.pool = Cluster(cluster.url, connect_timeout_s=2)
        self.app = create_app(
            GatewaySettings(config=config, redis_url=redis_url, **settings),
            cluster=self.pool,
            scorer=Models(),
        )
        cluster.script = lambda received: answer(search_answer(*TITLES))

    def ask(self, method, target, body=b"", **headers):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.app.test_client() as client:
            return client.open(
                target, method=method, data=payload, headers=named, environ_overrides=OWN_MACHINE
            )

    def search(self, unit="s", target="/books/_search?q=wine", **headers):
        return self.ask("GET", target, **({HEADER: unit} if unit else {}), **headers)

    def send(self, *events, **headers):
        answered = self.ask("POST", "/_rerank/events", list(events), **headers)
        return answered.status_code, json.loads(answered.data)

    def report(self):
        answered = self.ask("GET", "/_rerank/experiments/e")
        assert answered.status_code == 200, answered.data
        return json.loads(answered.data)

    def count(self):
        """What is noted, once the writer in the background has come to the end."""
        return sum(arm["searches"] for arm in self.report()["arms"])


NONE: dict = {}


@pytest.fixture
def open_shop(cluster, tmp_path, redis_url):
    shops = []

    def open_one(experiment=None, redis=redis_url, **settings):
        shops.append(Shop(cluster, tmp_path, redis, {} if experiment is None else experiment, **settings))
        return shops[-1]

    with closing(Redis.from_url(redis_url)) as client:
        client.flushdb()
        yield open_one
        client.flushdb()
    for shop in shops:
        shop.pool.close()


def titles(answered):
    return [hit["_source"]["title"] for hit in json.loads(answered.data)["hits"]["hits"]]


def told(answered):
    return tuple(answered.headers.get(f"X-Rerank-{name}") for name in ("Experiment", "Arm", "Query-Id"))


def click(answered, title, action="click", **more):
    event = {
        "action_name": action,
        "query_id": answered.headers["X-Rerank-Query-Id"],
        "timestamp": "2026-11-29T03:00:00Z",
        "event_attributes": {
            "object": {"object_id": str(TITLES.index(title))},
            "position": {"ordinal": titles(answered).index(title) + 1},
        },
    }
    return event | more


AB = {"kind": "ab"}


def test_a_session_always_gets_the_same_arm_and_the_answer_says_which(open_shop):
    shop = open_shop(AB)
    orders, ids = {"policy": LONG, "short": SHORT}, set()
    for number in range(40):
        unit = f"session-{number}"
        for answered in (shop.search(unit), shop.search(unit)):
            experiment, arm, query_id = told(answered)
            assert (experiment, arm) == ("e", shop.experiment.arms[shop.experiment.choose_arm(unit)])
            assert titles(answered) == [*orders[arm], "eeeee"]
            assert answered.headers["X-Rerank-Model"] == {"policy": "long", "short": "short"}[arm]
            ids.add(query_id)
    assert len(ids) == 80
    wait_until(lambda: shop.count() == 80)


def test_who_does_not_take_part_is_not_told_of_anything(open_shop):
    shop = open_shop({"share": 0.5})
    for unit in map(str, range(30)):
        answered = shop.search(unit)
        assert (told(answered)[0] == "e") is shop.experiment.includes(unit)
        if not shop.experiment.includes(unit):
            assert titles(answered) == [*LONG, "eeeee"]


@pytest.mark.parametrize(
    ("unit", "ask"),
    [
        pytest.param("header:X-Session", {}, id="without a session"),
        pytest.param("header:X-Session", {"target": "/books/_search?q=x&rerank_model=short"}, id="own model"),
        pytest.param("header:X-Session", {"target": "/books/_search?q=x&rerank=shadow"}, id="own mode"),
        pytest.param("header:X-Session", {"target": "/books/_search?q=x&rerank=false"}, id="not reranked"),
        pytest.param("header:X-Session", {"target": "/other/_search?q=x"}, id="another index"),
        pytest.param("header:X-Session", {"target": "/books/_search?q=x&size=0"}, id="not to be ranked"),
    ],
)
def test_searches_that_are_no_part_of_it(open_shop, unit, ask):
    shop = open_shop({"unit": unit, "arms": ["first_stage", "short"]})
    answered = shop.search("" if not ask else "s", **ask)
    assert answered.status_code == 200
    assert told(answered) == (None, None, None)


def test_a_search_that_asks_to_be_reranked_takes_part_too(open_shop):
    answered = open_shop({"arms": ["short"]}).search(target="/books/_search?q=x&rerank=true")
    assert told(answered)[:2] == ("e", "short")


def test_searches_without_a_session_are_counted_and_get_what_the_policy_says(open_shop):
    shop = open_shop({"arms": ["first_stage", "short"]})
    assert titles(shop.search("")) == [*LONG, "eeeee"]
    wait_until(lambda: shop.report()["searches_without_unit"] == 1)
    assert shop.count() == 0


def test_the_arm_of_the_first_stage_shows_the_clusters_order(open_shop):
    shop = open_shop({"arms": ["first_stage"]})
    answered = shop.search()
    assert titles(answered) == TITLES
    assert json.loads(answered.data)["hits"]["hits"][0]["_score"] == 9.5
    assert answered.headers["X-Rerank-Status"] == "skipped"
    assert answered.headers["X-Rerank-Reason"] == "experiment"
    assert told(answered)[:2] == ("e", "first_stage")


@pytest.mark.parametrize("experiment", [{"kind": "ab", "arms": ["short"]}, {"kind": "interleave"}])
def test_pages_of_a_session_are_of_one_order_and_only_first_ones_are_searches(open_shop, experiment):
    shop = open_shop(experiment)
    pages = [shop.search(target=f"/books/_search?q=wine&size=1&from={place}") for place in range(4)]
    whole = titles(shop.search())
    assert [titles(page)[0] for page in pages] == whole[:4]
    assert [told(page)[2] is not None for page in pages] == [True, False, False, False]
    assert {told(page)[:2] for page in pages} == {told(pages[0])[:2]}
    wait_until(lambda: shop.count() == 2)


@pytest.mark.parametrize(
    ("kind", "arms"),
    [
        ("ab", ["broken"]),
        ("interleave", ["policy", "broken"]),
        ("interleave", ["broken", "first_stage"]),
        ("shadow", ["broken", "policy"]),
    ],
)
def test_without_scores_the_order_is_the_clusters_and_nothing_is_counted_to_an_arm(open_shop, kind, arms):
    shop = open_shop({"kind": kind, "arms": arms})
    answered = shop.search()
    assert titles(answered) == TITLES
    assert answered.headers["X-Rerank-Status"] == "failed"
    assert told(answered) == (None, None, None)
    wait_until(lambda: shop.report()["arms"][0]["failed"] == 1)
    assert shop.count() == 0


def test_a_mixed_page_is_drafted_from_both_and_each_hit_stands_once(open_shop):
    shop = open_shop({"kind": "interleave"})
    orders = {tuple(titles(shop.search(f"session-{number}"))) for number in range(60)}
    assert {order[4] for order in orders} == {"eeeee"}
    assert all(sorted(order[:4]) == sorted(FIRST_STAGE) for order in orders)
    # after a coin's fall a and dddd are first, and then bbb and cc: nothing else can be
    assert {tuple(sorted(order[:2])) for order in orders} == {("a", "dddd")}
    assert len(orders) == 4
    answered = shop.search("session-1")
    assert told(answered)[:2] == ("e", "interleaved")
    scores = [hit["_score"] for hit in json.loads(answered.data)["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)


def test_mixed_pages_and_clicks_find_the_better_ranking(open_shop):
    """Users like long titles; who is at the top is clicked more often, whoever picked it."""
    rng, shop = random.Random(5), open_shop({"kind": "interleave", "arms": ["short", "policy"]})
    events, answers = [], [shop.search(f"session-{number}") for number in range(150)]
    for answered in answers:
        for rank, title in enumerate(titles(answered)[:4]):
            if rng.random() < len(title) / 6 / (rank + 1):
                events.append(click(answered, title))
    wait_until(lambda: shop.count() == len(answers))
    status, outcome = shop.send(*events)
    assert (status, outcome["credited"]) == (200, len(events))
    found = shop.report()
    preference = found["preference"]
    assert preference["arm"] == "policy"
    assert preference["wins"] > preference["losses"]
    assert 0.5 < preference["share"]["low"] <= preference["share"]["value"] <= preference["share"]["high"]
    assert preference["sign_test_p"] < 0.01
    assert "clicks prefer policy to short" in found["verdict"]
    clicked = {event["query_id"] for event in events}
    assert preference["wins"] + preference["losses"] + preference["ties"] == len(clicked)


def find_win(answered, teams, clicked):
    counts = Counter(teams[titles(answered).index(title)] for title in clicked)
    return (counts[1] > counts[0]) - (counts[1] < counts[0])


def test_a_win_is_lost_again_when_the_other_team_gets_more_clicks(open_shop, redis_url):
    shop = open_shop({"kind": "interleave"})
    answered = shop.search()
    wait_until(lambda: shop.count() == 1)
    with closing(Redis.from_url(redis_url)) as client:
        teams = client.hget(shown_key(told(answered)[2]), "teams").decode()
    shown = titles(answered)
    assert (sorted(teams[:4]), teams[4]) == (["0", "0", "1", "1"], "-")
    own, others = ([shown[i] for i in range(4) if teams[i] == team] for team in "10")
    seen = []
    for title in (own[0], others[0], others[1], own[1], shown[4]):
        shop.send(click(answered, title))
        told_ = shop.report()["preference"]
        seen.append((told_["wins"], told_["losses"], told_["ties"]))
    assert seen == [(1, 0, 0), (0, 0, 1), (0, 1, 0), (0, 0, 1), (0, 0, 1)]


def test_figures_are_what_can_be_counted_by_hand(open_shop):
    """Three sessions an arm, two searches each."""
    shop = open_shop(AB)
    by_arm = {"policy": [], "short": []}
    for number in range(200):
        arm = shop.experiment.arms[shop.experiment.choose_arm(f"session-{number}")]
        if len(by_arm[arm]) < 6:
            by_arm[arm] += [shop.search(f"session-{number}") for _ in range(2)]
    wait_until(lambda: shop.count() == 12)
    long, short = by_arm.values()
    events = [click(long[0], "dddd"), click(long[0], "cc"), click(long[3], "bbb"), click(short[5], "dddd")]
    assert shop.send(*events) == (200, {"received": 4, "credited": 4})
    assert shop.send(events[0], click(short[0], "a", "view")) == (
        200,
        {"received": 2, "repeated": 1, "noted": 1},
    )
    found = shop.report()
    policy, other = found["arms"]
    expected = {"units": 3, "searches": 6, "failed": 0, "clicks": 3, "ctr": 0.5, "abandonment": 4 / 6}
    # at ranks 1, 3 and 2
    assert policy == pytest.approx({"arm": "policy", **expected, "mrr": (1 + 1 / 3 + 1 / 2) / 3}, abs=1e-6)
    expected = {"units": 3, "searches": 6, "failed": 0, "clicks": 1, "ctr": 1 / 6, "abandonment": 5 / 6}
    assert other == pytest.approx({"arm": "short", **expected, "mrr": 1 / 4}, abs=1e-6)
    (difference,) = found["differences"]
    assert difference["ctr"]["value"] == pytest.approx(1 / 6 - 1 / 2)
    assert difference["abandonment"]["value"] == pytest.approx(1 / 6)
    assert difference["mrr"] is None  # all of one arm's clicks are of one part of the units
    assert "too early: policy was shown to 3 sessions" in found["verdict"]
    assert found["sample_ratio"]["is_suspicious"] is False


def test_a_shadow_is_scored_and_never_shown(open_shop):
    shop = open_shop({"kind": "shadow", "arms": ["policy", "short"]})
    answered = shop.search()
    assert titles(answered) == [*LONG, "eeeee"]
    assert told(answered)[:2] == ("e", "policy")
    wait_until(lambda: shop.report()["shadow"]["compared"] == 1)
    for number in range(3):
        shop.search(f"other-{number}")
    wait_until(lambda: shop.report()["shadow"]["compared"] >= 3)  # one may find no free thread
    shadow = shop.report()["shadow"]
    # a, cc, bbb, dddd instead of dddd, bbb, cc, a; the tail stays
    assert shadow["moved"]["value"] == pytest.approx(4 / 5)
    assert shadow["other_first"]["value"] == 1.0
    assert shadow["overlap"]["value"] == pytest.approx(1.0)


def test_a_field_may_name_the_hits(open_shop):
    shop = open_shop({"object_id_field": "title"})
    answered = shop.search()
    wait_until(lambda: shop.count() == 1)
    event = click(answered, "cc")
    assert shop.send(event)[1] == {"received": 1, "unknown_object": 1}
    event["event_attributes"]["object"]["object_id"] = "cc"
    assert shop.send(event)[1] == {"received": 1, "credited": 1}


EVENT = {"action_name": "click", "query_id": "q", "event_attributes": {"object": {"object_id": 1}}}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        pytest.param(b"", 400, "expected an event", id="nothing"),
        pytest.param(b"[]", 400, "expected an event", id="an empty list"),
        pytest.param(b"{", 400, "line 1: not JSON", id="not JSON"),
        pytest.param(b'{"action_name": "x"}\n{', 400, "line 2: not JSON", id="a broken line"),
        pytest.param(b"3", 400, "events[0]: expected an object", id="a number"),
        pytest.param([EVENT, {}], 400, "events[1].action_name: is required", id="without action"),
        pytest.param([{**EVENT, "query_id": {}}], 400, "events[0].query_id: expected a text", id="odd id"),
        pytest.param(
            [{**EVENT, "event_attributes": []}], 400, "event_attributes: expected an object", id="no object"
        ),
        pytest.param(
            [{**EVENT, "event_attributes": {"object": {"object_id": 1.5}}}],
            400,
            "events[0].event_attributes.object.object_id: expected a text",
            id="a fraction as id",
        ),
        pytest.param([{**EVENT, "action_name": "x" * 201}], 400, "longer than 200", id="a long action"),
        pytest.param([EVENT] * (MOST_EVENTS + 1), 400, f"at most {MOST_EVENTS}", id="too many"),
        pytest.param(b'{"action_name": NaN}', 400, "not JSON", id="no number of JSON"),
        pytest.param(b"[" * 100_000, 400, "not JSON", id="nested too deeply"),
        pytest.param(b" " * (BODY_BYTES + 1), 413, "longer than", id="too long"),
        pytest.param(EVENT, 200, None, id="one, of an unknown query"),
        pytest.param([EVENT], 200, None, id="a list"),
        pytest.param(json.dumps(EVENT).encode() + b"\r\n\n", 200, None, id="a line"),
        pytest.param({**EVENT, "query_id": None}, 200, None, id="of no query"),
    ],
)
def test_what_may_come_as_events(open_shop, body, status, said):
    shop = open_shop(AB)
    answered = shop.ask("POST", "/_rerank/events", body)
    content = json.loads(answered.data)
    assert answered.status_code == status
    if said:
        assert said in content["error"]["reason"]
    else:
        assert content == {"received": 1, "unknown_query": 1}


def test_lines_are_events_each(open_shop):
    shop = open_shop(AB)
    answered = shop.search()
    wait_until(lambda: shop.count() == 1)
    events = [click(answered, "a"), click(answered, "a"), click(answered, "cc"), {**EVENT, "query_id": "x"}]
    body = b"\n".join(json.dumps(event).encode() for event in events)
    content = json.loads(shop.ask("POST", "/_rerank/events", body).data)
    assert content == {"received": 4, "credited": 2, "repeated": 1, "unknown_query": 1}


def test_without_experiments_there_are_no_events(open_shop):
    shop = open_shop(NONE)
    assert shop.send(EVENT)[0] == 404
    assert shop.ask("GET", "/_rerank/experiments/e").status_code == 404
    assert json.loads(shop.ask("GET", "/_rerank/experiments").data) == {"experiments": []}


def test_an_address_that_sends_too_much_is_told_so(open_shop):
    shop = open_shop(AB, events_per_s=0.3)
    assert [shop.send(EVENT)[0] for _ in range(5)] == [200, 200, 200, 429, 429]


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        pytest.param("", None, 200, id="an application"),
        pytest.param("", "http://localhost", 200, id="the same host"),
        pytest.param("", "https://shop.example", 403, id="another site"),
        pytest.param("https://shop.example, https://b.example", "https://shop.example", 200, id="named"),
        pytest.param("https://shop.example", "https://evil.example", 403, id="not named"),
        pytest.param("*", "https://any.example", 200, id="all"),
    ],
)
def test_whose_pages_may_send_events(open_shop, origins, origin, status):
    shop = open_shop(AB, events_origins=origins)
    headers = {"Origin": origin} if origin else {}
    for method in ("OPTIONS", "POST"):
        answered = shop.ask(method, "/_rerank/events", EVENT, **headers)
        assert answered.status_code == status
        allowed = origin if status == 200 else None
        assert answered.headers.get("Access-Control-Allow-Origin") == allowed


def test_reports_are_for_those_who_manage(open_shop):
    shop = open_shop(AB, management_keys="secret")
    assert shop.ask("GET", "/_rerank/experiments").status_code == 401
    assert shop.ask("DELETE", "/_rerank/experiments/e").status_code == 401
    assert shop.ask("GET", "/_rerank/experiments", X_Rerank_Key="secret").status_code == 200
    assert shop.send(EVENT)[0] == 200


def test_without_redis_searches_go_on_and_events_are_refused(open_shop):
    shop = open_shop({"arms": ["short"]}, redis=f"redis://127.0.0.1:{find_free_port()}/0")
    answered = shop.search()
    assert titles(answered) == [*SHORT, "eeeee"]
    assert told(answered)[:2] == ("e", "short")
    assert shop.send(EVENT)[0] == 503
    assert shop.ask("GET", "/_rerank/experiments/e").status_code == 503


def test_a_hanging_redis_holds_up_no_search(open_shop, redis_server):
    shop = open_shop({"arms": ["short"]}, redis=redis_server.url)
    redis_server.pause()
    started = time.monotonic()
    try:
        answers = [shop.search() for _ in range(20)]
    finally:
        redis_server.resume()
    assert {told(answered)[1] for answered in answers} == {"short"}
    assert time.monotonic() - started < 20  # waiting for Redis takes two seconds a search, and more


def test_what_is_forgotten_counts_no_more_and_old_answers_neither(open_shop):
    shop = open_shop(AB)
    before = shop.search()
    wait_until(lambda: shop.count() == 1)
    assert shop.ask("DELETE", "/_rerank/experiments/e").status_code == 200
    assert shop.count() == 0
    assert shop.send(click(before, "a"))[1] == {"received": 1, "unknown_query": 1}
    after = shop.search()
    wait_until(lambda: shop.count() == 1)
    assert shop.send(click(before, "a"), click(after, "a"))[1]["credited"] == 1


def test_what_is_in_redis_goes_by_itself_and_tells_nothing_of_texts(open_shop, redis_url):
    shop = open_shop({"kind": "interleave", "object_id_field": "title"}, events_life_s=60)
    answered = shop.search()
    wait_until(lambda: shop.count() == 1)
    event = click(answered, "a")
    event["event_attributes"]["object"]["object_id"] = "eeeee"
    assert shop.send(event)[1]["credited"] == 1
    with closing(Redis.from_url(redis_url)) as client:
        keys = [key for key in client.scan_iter() if key != SHOWN_ANSWERS_KEY.encode()]
        assert all(key.startswith(KEY_PREFIX.encode()) for key in keys)
        assert all(client.ttl(key) > 0 for key in keys)
        held = b"".join(b"".join(client.hgetall(key).values()) for key in keys if client.type(key) == b"hash")
        assert b"eeeee" not in held
        assert b"wine" not in held
        assert client.zrange(SHOWN_ANSWERS_KEY, 0, -1) == [told(answered)[2].encode()]


def test_queries_and_events_are_kept_as_ubi_has_them(open_shop, tmp_path):
    shop = open_shop({"kind": "interleave"}, events_folder=tmp_path / "ubi")
    answered = shop.search("session-1")
    wait_until(lambda: shop.count() == 1)
    event = click(answered, "cc", session_id="session-1")
    shop.send(event, event, {**EVENT, "query_id": "unknown"})
    shop.send(click(answered, "a", "add_to_cart"))
    wait_until(lambda: len([*(tmp_path / "ubi").iterdir()]) == 2)
    (query,), events = (
        [
            json.loads(line)
            for file in (tmp_path / "ubi").glob(f"{kind}-*")
            for line in file.read_text().splitlines()
        ]
        for kind in ("queries", "events")
    )
    assert query["query_id"] == told(answered)[2]
    assert (query["user_query"], query["client_id"]) == ("wine", "session-1")
    assert query["query_response_hit_ids"] == [str(TITLES.index(title)) for title in titles(answered)]
    assert sorted(map(str, query["query_attributes"]["teams"])) == [
        "None",
        "policy",
        "policy",
        "short",
        "short",
    ]
    assert [one["action_name"] for one in events] == ["click", "add_to_cart"]
    assert events[0] == event


def test_what_is_kept_is_a_log_to_learn_from(open_shop, tmp_path):
    """As ``python -m relevance clicks`` reads it."""
    shop = open_shop(AB, events_folder=tmp_path / "ubi")
    answers = {unit: shop.search(unit) for unit in ("session-1", "session-2")}
    wait_until(lambda: shop.count() == 2)
    shop.send(click(answers["session-1"], "cc", session_id="session-1"))
    events, queries = (next((tmp_path / "ubi").glob(f"{kind}-*")) for kind in ("events", "queries"))
    log = read_log(events, queries)
    assert log.texts == {"wine": "wine"}
    assert not log.left_out
    seen = sorted((view.document, view.position, view.is_clicked) for view in log.views)
    clicked = titles(answers["session-1"]).index("cc") + 1
    assert seen == sorted(
        (str(TITLES.index(title)), place, unit == "session-1" and place == clicked)
        for unit, answered in answers.items()
        for place, title in enumerate(titles(answered), start=1)
    )
