"""Searches through the whole product: pages, formats, faults."""

import json
import signal
import time

import pytest
import urllib3

from demo import settings
from rerankers import FlagAutoReranker
from tests.conftest import wait_until
from tests.system.conftest import DOCUMENTS, QUERY, WINDOW, ids, match, new_query

pytestmark = pytest.mark.system

SHORT_S = 3.0  # the deadline of searches that find something broken
SLACK_S = 1.5  # of a busy machine, on top of a deadline


@pytest.fixture
def healthy(stack):
    """The stack; whatever the test breaks must mend by itself, or by starting again what was killed."""
    stack.wait_until_applied()
    yield stack
    stack.wait_until_applied()


def expect_first_stage(stack, reasons):
    """The cluster's own page, in time, with one of the reasons."""
    query = match(new_query())
    started = time.monotonic()
    answer = stack.search({**query, "ext": {"rerank": {"timeout": f"{SHORT_S}s"}}})
    took_s = time.monotonic() - started
    assert answer.status == 200
    assert answer.headers["X-Rerank-Status"] == "failed"
    assert answer.headers["X-Rerank-Reason"] in reasons
    direct = stack.search(query, direct=True).json()
    assert {**answer.json(), "took": 0} == {**direct, "took": 0, "ext": answer.json()["ext"]}
    assert took_s < SHORT_S + SLACK_S


def test_hits_come_in_the_order_of_the_model(stack):
    """The window's hits are ordered as the same model orders them in this process."""
    window = stack.search(match(QUERY, size=WINDOW), direct=True).json()["hits"]["hits"]
    reranker = FlagAutoReranker.from_finetuned(
        str(settings.base_model_path()), peft_path=str(settings.ADAPTER), max_length=96
    )
    pairs = [(QUERY, f"{hit['_source']['title']}\n{hit['_source']['body']}") for hit in window]
    scores = dict(zip([hit["_id"] for hit in window], reranker.compute_score(pairs), strict=True))
    answer = stack.search(match(QUERY, size=WINDOW))
    assert answer.headers["X-Rerank-Status"] == "applied"
    assert answer.headers["X-Rerank-Model"] == "demo"
    assert [scores[id] for id in ids(answer)] == pytest.approx(
        sorted(scores.values(), reverse=True), abs=1e-4
    )
    texts = [text for _, text in pairs]
    asked = {"model": "demo", "query": QUERY, "documents": texts, "raw_scores": True}
    told = urllib3.request("POST", f"{stack.url}/_rerank/v1/rerank", json=asked).json()
    by_text = {texts[result["index"]]: result["relevance_score"] for result in told["results"]}
    assert [by_text[text] for text in texts] == pytest.approx(list(scores.values()), abs=1e-4)
    assert told["usage"]["total_tokens"] == 0  # the search had them scored


def test_a_search_is_scored_once_and_tells_what_was_known(stack):
    body = {**match(new_query()), "ext": {"rerank": {}}}
    first, second = (stack.search(body).json() for _ in range(2))
    assert [answer["ext"]["rerank"]["cache_hits"] for answer in (first, second)] == [0, WINDOW]
    assert first["hits"] == second["hits"]


@pytest.mark.parametrize("size", [1, 3, 7, WINDOW])
def test_pages_inside_the_window_make_up_one_list(stack, size):
    """Paging neither loses nor repeats a hit, whatever the size of the page."""
    whole = ids(stack.search(match(QUERY, size=WINDOW)))
    pages = [stack.search(match(QUERY, **{"from": start, "size": size})) for start in range(0, WINDOW, size)]
    assert [id for page in pages for id in ids(page)][:WINDOW] == whole


def test_page_across_the_edge_of_the_window_goes_on_in_the_clusters_order(stack):
    """The window's last hits, then the rest as the cluster ranks it, scores falling."""
    direct = ids(stack.search(match(QUERY, size=WINDOW + 10), direct=True))
    answer = stack.search(match(QUERY, **{"from": WINDOW - 5, "size": 15}))
    assert ids(answer)[5:] == direct[WINDOW:]
    assert set(ids(answer)[:5]) <= set(direct[:WINDOW])
    scores = [hit["_score"] for hit in answer.json()["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)


SKIPPED = {
    "past the window": (match(QUERY, **{"from": WINDOW, "size": 5}), "", "from_past_window"),
    "beyond all hits": (match(QUERY, **{"from": 9000, "size": 5}), "", "from_past_window"),
    "sorted": (match(QUERY, sort=["_doc"]), "", "sort_not_score"),
    "no text": ({"query": {"match_all": {}}}, "", "no_query_text"),
    "no hits wanted": (match(QUERY, size=0), "", "size_0"),
    "yaml": (match(QUERY), "?format=yaml", "unsupported_format"),
    "no stored fields": (match(QUERY, stored_fields="_none_"), "", "no_source"),
    "not wanted": (match(QUERY), "?rerank=false", "policy_off"),
}


@pytest.mark.parametrize(("body", "query", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_skipped_search_is_the_clusters_answer(stack, body, query, reason):
    """Byte for byte, apart from how long it took."""
    direct = stack.search(body, direct=True, query="" if "rerank" in query else query)
    answer = stack.search(body, query=query)
    assert answer.headers["X-Rerank-Status"] == "skipped"
    assert answer.headers["X-Rerank-Reason"] == reason
    assert without_took(answer.data) == without_took(direct.data)


def without_took(body):
    head, mark, tail = body.partition(b"took")
    return head + mark + tail.lstrip(b'": ').lstrip(b"0123456789") if mark else body


def test_pretty_answer_stays_pretty_and_keeps_its_bytes(stack):
    """Sorted by line, a reranked pretty page differs from the cluster's in scores and commas only."""
    body = match(QUERY, size=WINDOW)
    direct, answer = (
        stack.search(body, query="?pretty", direct=direct).data.decode() for direct in (True, False)
    )
    assert answer.count("\n") == direct.count("\n")
    lines = [
        sorted(line.rstrip(",") for line in text.splitlines() if "score" not in line and "took" not in line)
        for text in (direct, answer)
    ]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    "target", ["?q=delete+a+directory&size=5", "?size=5&q=body:(delete%20directory)&pretty"]
)
def test_search_in_the_url_is_reranked(stack, target):
    """curl's way of searching."""
    answer = urllib3.request("GET", f"{stack.url}/pages/_search{target}")
    assert answer.headers["X-Rerank-Status"] == "applied"
    assert len(ids(answer)) == 5


def test_malformed_search_gets_the_clusters_own_400(stack):
    """The client reads the engine's words about its mistake."""
    headers = {"Content-Type": "application/json"}
    for body in (b'{"query": ', b'{"query": {"no_such_clause": {}}}', b'{"size": -5}'):
        answers = [
            urllib3.request("POST", f"{base}/pages/_search", body=body, headers=headers)
            for base in (stack.engine.url, stack.url)
        ]
        assert [answer.status for answer in answers] == [400, 400]
        assert answers[0].data == answers[1].data


def test_limit_that_only_the_window_breaks_is_not_noticed(stack):
    """An index whose max_result_window is below the policy's window answers as it always did."""
    for base in (stack.engine.url,):
        settings_body = {"settings": {"number_of_replicas": 0, "max_result_window": WINDOW - 5}}
        assert urllib3.request("PUT", f"{base}/pages-small", json=settings_body).status == 200
        document = urllib3.request(
            "PUT", f"{base}/pages-small/_doc/1?refresh=true", json={"title": "delete", "body": "x"}
        )
        assert document.status == 201
    try:
        answer = urllib3.request("POST", f"{stack.url}/pages-small/_search", json=match("delete"))
        assert (answer.status, ids(answer)) == (200, ["1"])
        assert answer.headers["X-Rerank-Reason"] == "cluster_refused"
    finally:
        urllib3.request("DELETE", f"{stack.engine.url}/pages-small")


def test_killed_worker_costs_the_order_only_and_a_new_one_brings_it_back(healthy):
    """kill -9: searches in flight and the next ones answer in first-stage order; nobody repairs anything."""
    healthy.worker.send(signal.SIGKILL)
    expect_first_stage(healthy, {"timeout", "no_worker"})
    wait_until(lambda: healthy.search(match(new_query())).headers["X-Rerank-Reason"] == "no_worker")
    expect_first_stage(healthy, {"no_worker"})
    healthy.worker.start()


def test_paused_worker_costs_no_more_than_the_deadline(healthy):
    """A worker that hangs is noticed by the deadline; it goes on where it stood."""
    healthy.worker.send(signal.SIGSTOP)
    try:
        expect_first_stage(healthy, {"timeout", "no_worker"})
    finally:
        healthy.worker.send(signal.SIGCONT)


def test_paused_redis_costs_no_more_than_the_deadline(healthy):
    """A Redis that accepts and never answers."""
    healthy.redis.send(signal.SIGSTOP)
    try:
        expect_first_stage(healthy, {"timeout", "backend_error"})
    finally:
        healthy.redis.send(signal.SIGCONT)


def test_killed_redis_costs_the_order_only_and_worker_and_gateway_find_the_new_one(healthy):
    """kill -9 of Redis and an empty one on the same port."""
    healthy.redis.send(signal.SIGKILL)
    try:
        expect_first_stage(healthy, {"backend_error", "timeout"})
    finally:
        healthy.redis.start()


def test_passages_are_not_shown_to_monitors(stack):
    """Celery's events, which Flower shows, carry no text of documents or queries."""
    from celery import Celery

    from worker.monitor import app as monitor

    seen = []
    app = Celery(broker=stack.redis_url, set_as_current=False)
    app.conf.broker_transport_options = monitor.conf.broker_transport_options
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})
        with receiver.consumer_context() as (conn, _, _):
            while not seen:
                conn.drain_events(timeout=10)  # a heartbeat: from now on nothing is missed
            assert stack.search(match(new_query())).headers["X-Rerank-Status"] == "applied"
            while "task-succeeded" not in {event["type"] for event in seen}:
                conn.drain_events(timeout=10)
    told = json.dumps(seen, default=str)
    assert not [text for text in (QUERY, *DOCUMENTS.values()) if text in told]
    app.close()
