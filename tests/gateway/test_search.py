"""The path of one search through the application: a real cluster double, scores from a script."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence

import pytest

from gateway.app import create_app
from gateway.cluster import Cluster
from gateway.scoring import ScoringFailed, ScriptedScorer
from gateway.settings import GatewaySettings
from search_plugin import Reason
from tests.gateway.doubles import ClusterDouble, Received, answer, search_answer

TITLES = ["a", "bbb", "cc", "dddd", "eeeee"]  # the window is 4: the last one is the tail
MATCH = {"query": {"match": {"title": "wine"}}}


def by_length(query_text: str, passages: Sequence[str]) -> list[float]:
    return [float(len(passage)) for passage in passages]


def fail_with(reason: Reason):
    def script(query_text: str, passages: Sequence[str]) -> list[float]:
        raise ScoringFailed(reason)

    return script


class Search:
    """The application with a scorer that can be scripted; `post` gives the answer and its parsed JSON."""

    def __init__(self, cluster: ClusterDouble, config, **settings) -> None:
        self.cluster = cluster
        self.config = config
        self.pool = Cluster(cluster.url, connect_timeout_s=2)
        self.scorer = ScriptedScorer(by_length)
        self.app = create_app(
            GatewaySettings(config=config, **settings), cluster=self.pool, scorer=self.scorer
        )
        cluster.script = lambda received: answer(search_answer(*TITLES))

    def post(self, target="/books/_search?size=2", body=MATCH, headers=()):
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [("Content-Type", "application/json"), *headers]
        with self.app.test_client() as client:
            return client.post(target, data=payload, headers=sent)

    @property
    def targets(self) -> list[str]:
        return [received.target for received in self.cluster.received]


@pytest.fixture
def search(cluster, config):
    search = Search(cluster, config, search_body_limit_bytes=1000)
    yield search
    search.pool.close()


def titles(answered) -> list[str]:
    return [hit["_source"]["title"] for hit in json.loads(answered.data)["hits"]["hits"]]


def told(answered) -> tuple[str | None, str | None]:
    return answered.headers.get("X-Rerank-Status"), answered.headers.get("X-Rerank-Reason")


def test_a_search_is_answered_with_the_page_in_the_models_order(search):
    answered = search.post()
    assert answered.status_code == 200
    assert titles(answered) == ["dddd", "bbb"]
    assert search.targets == ["/books/_search?size=4&from=0"]
    assert search.scorer.calls == [("tiny", "wine", TITLES[:4])]


def test_headers_tell_what_was_done(search):
    answered = search.post()
    assert told(answered) == ("applied", None)
    assert answered.headers["X-Rerank-Model"] == "tiny"
    assert answered.headers["X-Rerank-Window"] == "4"
    stages = [stage.split(";dur=") for stage in answered.headers["Server-Timing"].split(", ")]
    assert sorted(name for name, _ in stages) == ["cluster", "merge", "model", "queue"]
    assert all(float(duration) >= 0 for _, duration in stages)


def test_the_clusters_own_headers_stay_on_a_merged_page(search):
    own = ["X-elastic-product: Elasticsearch", "Warning: 1", "content-type: application/json", "Warning: 2"]
    search.cluster.script = lambda received: answer(search_answer(*TITLES), headers=own)
    answered = search.post()
    lines = [f"{name}: {value}" for name, value in answered.headers]
    assert lines[:4] == own
    assert lines[4] == f"content-length: {len(answered.data)}"
    assert len(answered.headers.getlist("Content-Length")) == 1


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.NO_WORKER, Reason.BACKEND_ERROR, Reason.OVERLOAD])
def test_without_scores_the_page_is_the_clusters_own(search, reason):
    search.scorer._script = fail_with(reason)
    answered = search.post()
    assert answered.status_code == 200
    assert titles(answered) == ["a", "bbb"]
    assert told(answered) == ("failed", reason)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(lambda query_text, passages: 1 / 0, id="a mistake of ours"),
        pytest.param(lambda query_text, passages: [1.0], id="too few scores"),
    ],
)
def test_an_unforeseen_failure_of_scoring_is_no_failure_of_the_search(search, script):
    search.scorer._script = script
    answered = search.post()
    assert titles(answered) == ["a", "bbb"]
    assert told(answered) == ("failed", "backend_error")


@pytest.mark.parametrize(
    ("target", "body", "headers", "reason"),
    [
        pytest.param("/films/_search", MATCH, [], "policy_off", id="no policy"),
        pytest.param("/books/_search?scroll=1m", MATCH, [], "scroll", id="scroll"),
        pytest.param("/books/_search", {}, [], "no_query_text", id="no text"),
        pytest.param("/books/_search", b"{", [], "malformed_body", id="malformed"),
        pytest.param("/books/_search", b" " * 1001, [], "body_too_large", id="large"),
        pytest.param(
            "/books/_search",
            gzip.compress(b" " * 1001),
            [("Content-Encoding", "gzip")],
            "body_too_large",
            id="bomb",
        ),
        pytest.param("/books/_search", b"no", [("Content-Encoding", "gzip")], "malformed_body", id="damaged"),
        pytest.param("/books/_search", b"x", [("Content-Encoding", "zstd")], "unsupported_format", id="zstd"),
    ],
)
def test_a_search_that_is_left_alone_passes_as_it_came(search, target, body, headers, reason):
    answered = search.post(target, body, headers)
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert [(received.target, received.body) for received in search.cluster.received] == [(target, payload)]
    assert answered.data == search_answer(*TITLES)
    assert told(answered) == ("skipped", reason)
    assert "cluster;dur=" in answered.headers["Server-Timing"]
    assert search.scorer.calls == []


def test_what_is_no_search_gets_no_headers_of_ours(search):
    answered = search.post("/books/_count")
    assert not [name for name, _ in answered.headers if name.startswith("X-Rerank")]


def test_a_single_hit_is_not_scored(search):
    search.cluster.script = lambda received: answer(search_answer("a"))
    answered = search.post()
    assert titles(answered) == ["a"]
    assert told(answered) == ("skipped", "too_few_hits")


def test_a_search_that_only_the_enlarging_spoils_is_sent_as_it_came(search):
    def refuse_enlarged(received: Received) -> bytes:
        if "from=0" in received.target:
            return answer(b'{"error":"window"}', "400 Bad Request")
        return answer(search_answer("a", "b"))

    search.cluster.script = refuse_enlarged
    answered = search.post()
    assert answered.data == search_answer("a", "b")
    assert told(answered) == ("skipped", "cluster_refused")
    assert search.targets == ["/books/_search?size=4&from=0", "/books/_search?size=2"]


def test_a_search_that_is_wrong_gets_the_clusters_answer_to_what_the_client_sent(search):
    search.cluster.script = lambda received: answer(received.target.encode(), "400 Bad Request")
    answered = search.post()
    assert (answered.status_code, answered.data) == (400, b"/books/_search?size=2")


@pytest.mark.parametrize(
    "status", ["401 Unauthorized", "404 Not Found", "429 Too Many Requests", "503 Unavailable"]
)
def test_a_cluster_that_refuses_for_another_reason_is_not_asked_twice(search, status):
    search.cluster.script = lambda received: answer(b'{"error":1}', status)
    answered = search.post()
    assert (answered.status, answered.data) == (status, b'{"error":1}')
    assert told(answered) == ("skipped", "cluster_refused")
    assert len(search.targets) == 1


def test_a_mistake_in_planning_costs_the_order_only(search, monkeypatch):
    def fail(*_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("gateway.search.plan_search", fail)
    answered = search.post()
    assert (answered.status_code, answered.data) == (200, search_answer(*TITLES))
    assert told(answered) == ("skipped", "backend_error")
    assert search.targets == ["/books/_search?size=2"]


def test_an_answer_without_hits_is_fetched_again_as_it_was_asked_for(search):
    search.cluster.script = lambda received: answer(b"--- yaml")
    answered = search.post()
    assert answered.data == b"--- yaml"
    assert told(answered) == ("skipped", "unsupported_format")
    assert search.targets[-1] == "/books/_search?size=2"


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        pytest.param("gzip, deflate, br", "gzip", id="gzip among others"),
        pytest.param("br;q=1.0, zstd", None, id="only codings that are not undone here"),
        pytest.param("gzip;q=0", None, id="gzip refused"),
        pytest.param(None, None, id="none"),
    ],
)
def test_the_cluster_is_asked_for_a_coding_that_can_be_undone(search, accepted, asked):
    search.post(headers=[("Accept-Encoding", accepted)] if accepted else [])
    assert search.cluster.received[0].header("accept-encoding") == asked


def test_a_compressed_answer_is_merged_and_compressed_again(search):
    search.cluster.script = lambda received: answer(
        gzip.compress(search_answer(*TITLES)), headers=["content-encoding: gzip"]
    )
    answered = search.post(headers=[("Accept-Encoding", "gzip")])
    assert answered.headers.getlist("Content-Encoding") == ["gzip"]
    assert int(answered.headers["Content-Length"]) == len(answered.data)
    hits = json.loads(gzip.decompress(answered.data))["hits"]["hits"]
    assert [hit["_source"]["title"] for hit in hits] == ["dddd", "bbb"]


def test_a_compressed_search_is_read_and_forwarded_as_it_came(search):
    packed = gzip.compress(json.dumps(MATCH).encode())
    answered = search.post(body=packed, headers=[("Content-Encoding", "gzip")])
    assert told(answered) == ("applied", None)
    assert search.cluster.received[0].body == packed
    assert search.cluster.received[0].header("content-encoding") == "gzip"


def test_a_search_by_get_without_body_is_reranked(search):
    with search.app.test_client() as client:
        answered = client.get("/books/_search?q=wine&size=1")
    assert titles(answered) == ["dddd"]
    assert search.cluster.received[0].header("content-length") is None


def test_health_tells_what_is_served(search):
    with search.app.test_client() as client:
        answered = client.get("/_rerank/health")
    assert answered.status_code == 200
    assert answered.get_json() == {
        "status": "green",
        "cluster": True,
        "redis": True,
        "policies": [{"policy": "books", "model": "tiny", "served": True}],
    }


def serve_nobody(search):
    search.scorer.find_served = lambda models: frozenset()


def lose_redis(search):
    def find_served(models):
        raise ScoringFailed(Reason.BACKEND_ERROR)

    search.scorer.find_served = find_served


def lose_cluster(search):
    search.cluster.script = lambda received: [b"this is no HTTP\r\n\r\n"]


@pytest.mark.parametrize(
    ("trouble", "status", "told"),
    [
        pytest.param(lambda search: None, 200, "green", id="none"),
        pytest.param(serve_nobody, 503, "yellow", id="no worker serves a policy's model"),
        pytest.param(lose_redis, 503, "yellow", id="Redis is gone"),
        pytest.param(lose_cluster, 503, "red", id="the cluster does not answer"),
    ],
)
def test_ready_is_only_who_reranks(search, trouble, status, told):
    trouble(search)
    with search.app.test_client() as client:
        answered = client.get("/_rerank/ready")
        assert client.get("/_rerank/health").status_code == 200
    assert (answered.status_code, answered.get_json()["status"]) == (status, told)


@pytest.mark.parametrize("target", ["/_rerank", "/_rerank/", "/_rerank/health/", "/_rerank/x?y"])
def test_our_own_paths_never_reach_the_cluster(search, target):
    with search.app.test_client() as client:
        answered = client.get(target)
    assert answered.status_code == 404
    assert answered.get_json()["error"]["type"] == "gateway_exception"
    assert search.targets == []
