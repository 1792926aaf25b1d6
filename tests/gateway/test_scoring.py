"""The queue's client against a real Redis; for the worker a thread pops the job and pushes a reply."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import redis

from gateway.scoring import QueueScorer, ScoringFailed, ScriptedScorer
from search_plugin import Reason
from tests.gateway.doubles import Client, answer, search_answer, start_gateway, stop
from worker.contract import ScoreReply, online_queue, reply_key, serving_key

pytestmark = pytest.mark.system

SLACK_S = 0.3  # two busy cores


@pytest.fixture
def scorer(redis_server) -> Iterator[QueueScorer]:
    scorer = QueueScorer(redis_server.url, max_waiting=4)
    yield scorer
    scorer.close()


@contextmanager
def stub_worker(url: str, make_reply: Callable[[dict], ScoreReply | None]) -> Iterator[list[dict]]:
    """Marks the model `tiny` as served and answers its jobs; yields the Celery messages as they came."""
    messages: list[dict] = []
    client = redis.Redis.from_url(url)
    client.set(serving_key("tiny"), "1")
    stopped = threading.Event()

    def work() -> None:
        while not stopped.is_set():
            popped = client.brpop([online_queue("tiny")], timeout=0.2)
            if popped:
                messages.append(json.loads(popped[1]))
                job = json.loads(base64.b64decode(messages[-1]["body"]))[0][0]
                if reply := make_reply(job):
                    client.rpush(reply_key(job["id"]), reply.to_message())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield messages
    finally:
        stopped.set()
        thread.join()
        client.close()


def length_of_each(job: dict) -> ScoreReply:
    return ScoreReply(id=job["id"], scores=tuple(map(len, job["passages"])), model_ms=3.0)


def score(scorer: QueueScorer, deadline_s: float = 2.0) -> ScoreReply:
    return scorer.score("tiny", "wine", ["a", "bbb", "cc"], time.monotonic() + deadline_s)


def fail(scorer: QueueScorer, deadline_s: float = 2.0) -> tuple[Reason, float]:
    """Why scoring failed and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(ScoringFailed) as caught:
        score(scorer, deadline_s)
    return caught.value.reason, time.monotonic() - started


def test_scores_come_back_in_the_order_of_the_passages(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each):
        reply = score(scorer)
    assert reply.scores == (1.0, 3.0, 2.0)
    assert reply.model_ms == 3.0


def test_what_monitors_show_of_a_job_holds_no_users_text(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each) as messages:
        score(scorer)
    headers = messages[0]["headers"]
    assert headers["task"] == "rerank.score"
    assert headers["ignore_result"] is True
    assert headers["expires"] is not None
    assert "wine" not in json.dumps(headers)
    assert "bbb" not in json.dumps(headers)


def test_a_model_without_a_mark_costs_no_waiting(scorer):
    reason, took_s = fail(scorer)
    assert reason == Reason.NO_WORKER
    assert took_s < 1.0


@pytest.mark.parametrize(
    "make_reply",
    [
        pytest.param(
            lambda job: ScoreReply(id=job["id"], error="out of memory"), id="the worker says why not"
        ),
        pytest.param(lambda job: ScoreReply(id=job["id"], scores=(1.0,)), id="too few scores"),
    ],
)
def test_a_reply_without_the_scores_is_a_backend_error(scorer, redis_server, make_reply):
    with stub_worker(redis_server.url, make_reply):
        assert fail(scorer)[0] == Reason.BACKEND_ERROR


@pytest.mark.parametrize("deadline_s", [0.3, 1.5])
def test_a_reply_that_does_not_come_costs_the_deadline(scorer, redis_server, deadline_s):
    with stub_worker(redis_server.url, lambda job: None):
        reason, took_s = fail(scorer, deadline_s)
    assert reason == Reason.TIMEOUT
    assert deadline_s - 0.05 < took_s < deadline_s + SLACK_S


def test_a_deadline_that_has_passed_sends_no_job(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each) as messages:
        assert fail(scorer, -0.1)[0] == Reason.TIMEOUT
    assert messages == []


@pytest.mark.parametrize("is_warm", [True, False], ids=["connections were open", "first use"])
@pytest.mark.parametrize(
    ("trouble", "reasons"),
    [
        pytest.param("pause", {Reason.TIMEOUT}, id="paused"),
        pytest.param("kill", {Reason.BACKEND_ERROR}, id="killed"),
    ],
)
def test_redis_in_trouble_never_costs_more_than_the_deadline(scorer, redis_server, is_warm, trouble, reasons):
    if is_warm:
        with stub_worker(redis_server.url, length_of_each):
            score(scorer)
    getattr(redis_server, trouble)()
    reason, took_s = fail(scorer, 0.5)
    assert reason in reasons
    assert took_s < 0.5 + SLACK_S


def test_redis_paused_after_the_mark_was_seen_never_costs_more_than_the_deadline(scorer, redis_server):
    """The job's sending and the wait for its reply are bounded too, not only the first question."""
    with stub_worker(redis_server.url, lambda job: None):
        score_thread = threading.Timer(0.2, redis_server.pause)
        score_thread.start()
        reason, took_s = fail(scorer, 0.6)
        redis_server.resume()
    assert reason == Reason.TIMEOUT
    assert took_s < 0.6 + SLACK_S


def test_scores_come_again_when_redis_does(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each):
        score(scorer)
    redis_server.kill()
    assert fail(scorer)[0] == Reason.BACKEND_ERROR
    redis_server.start()
    with stub_worker(redis_server.url, length_of_each):
        assert score(scorer).scores == (1.0, 3.0, 2.0)


def test_searches_beyond_what_may_wait_fail_at_once(redis_server):
    scorer = QueueScorer(redis_server.url, max_waiting=1)
    with stub_worker(redis_server.url, lambda job: None):
        first = threading.Thread(target=fail, args=(scorer, 1.0))
        first.start()
        time.sleep(0.2)
        reason, took_s = fail(scorer, 1.0)
        first.join()
    scorer.close()
    assert reason == Reason.OVERLOAD
    assert took_s < SLACK_S


def test_many_jobs_leave_no_connections_or_keys_behind(scorer, redis_server):
    with redis.Redis.from_url(redis_server.url) as client, stub_worker(redis_server.url, length_of_each):
        score(scorer)
        before = len(client.client_list())
        for _ in range(100):
            score(scorer)
        assert len(client.client_list()) <= before + 1
        assert client.keys("rerank:reply:*") == []


def test_served_models_are_those_with_a_mark(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each):
        assert scorer.find_served(["tiny", "other"]) == {"tiny"}
        assert scorer.find_served([]) == set()


def test_a_search_through_the_running_gateway_is_rescored_over_the_queue(redis_server, cluster, config):
    cluster.script = lambda received: answer(search_answer("a", "bbb", "cc"))
    with stub_worker(redis_server.url, length_of_each):
        process, port = start_gateway(cluster.url, config, redis_server.url)
        try:
            status, headers, body = Client(port, process.pid).request("GET", "/books/_search?q=wine")
        finally:
            stop(process)
    assert status == 200
    assert ("X-Rerank-Status", "applied") in headers
    assert [hit["_source"]["title"] for hit in json.loads(body)["hits"]["hits"]] == ["bbb", "cc", "a"]


def test_the_scripted_scorer_records_its_calls():
    scorer = ScriptedScorer(lambda query_text, passages: [float(len(passage)) for passage in passages])
    assert scorer.score("tiny", "wine", ["a", "bb"], time.monotonic() + 1).scores == (1.0, 2.0)
    assert scorer.calls == [("tiny", "wine", ["a", "bb"])]
