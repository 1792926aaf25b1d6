"""The queue's client against a real Redis; for the worker a thread pops the job and pushes a reply."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, Scores, ScoringFailed, ScriptedScorer
from search_plugin import Reason
from tests.gateway.doubles import Client, answer, search_answer, start_gateway, stop
from tests.gateway.stub_worker import length_of_each, read_job, stub_worker
from worker.contract import (
    CachedScores,
    Entry,
    ScoreReply,
    load_key,
    reply_key,
    serving_key,
    write_score,
)

pytestmark = pytest.mark.system

SLACK_S = 0.3  # two busy cores


@pytest.fixture
def scorer(redis_server) -> Iterator[QueueScorer]:
    scorer = QueueScorer(redis_server.url, max_waiting=4)
    yield scorer
    scorer.close()


def score(
    scorer: QueueScorer, deadline_s: float = 2.0, passages: Sequence[str] = ("a", "bbb", "cc"), **more: str
) -> Scores:
    request = ScoreRequest("tiny", "wine", tuple(passages), time.monotonic() + deadline_s, **more)
    return scorer.score(request)


def fail(scorer: QueueScorer, deadline_s: float = 2.0, **more: object) -> tuple[Reason, float]:
    """Why scoring failed and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(ScoringFailed) as caught:
        score(scorer, deadline_s, **more)
    return caught.value.reason, time.monotonic() - started


def refuse(job: dict) -> ScoreReply:
    return ScoreReply(id=job["id"], error="out of memory")


def test_scores_come_back_in_the_order_of_the_passages(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each):
        assert score(scorer) == Scores((1.0, 3.0, 2.0), model_ms=3.0, n_tokens=21)


def test_what_monitors_show_of_a_job_holds_no_users_text(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each) as messages:
        score(scorer)
    headers = messages[0]["headers"]
    assert headers["task"] == "rerank.score"
    assert headers["ignore_result"] is True
    assert headers["expires"] is None  # it would compare two hosts' clocks
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
        assert score(scorer).logits == (1.0, 3.0, 2.0)


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


@pytest.fixture
def store(redis_server) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_server.url) as client:
        yield client


def keep(store: redis.Redis, scores: dict[str, float], *, query: str = "wine", version: str = "1") -> None:
    """Cached scores, as a worker leaves them."""
    cached = CachedScores(version, query)
    store.hset(cached.key, mapping={cached.field(text): write_score(score) for text, score in scores.items()})


@pytest.mark.parametrize(
    ("kept", "options", "asked", "logits"),
    [
        pytest.param({"a": 0.5, "cc": -1.25}, {}, ["bbb"], (0.5, 3.0, -1.25), id="some"),
        pytest.param({"a": 0.5, "bbb": 7.0, "cc": -1.25}, {}, None, (0.5, 7.0, -1.25), id="all"),
        pytest.param({"a": 9.0}, {"query": "beer"}, ["a", "bbb", "cc"], (1.0, 3.0, 2.0), id="another query"),
        pytest.param({"a": 9.0}, {"version": "0"}, ["a", "bbb", "cc"], (1.0, 3.0, 2.0), id="another version"),
    ],
)
def test_scores_that_are_known_are_not_asked_for(scorer, redis_server, store, kept, options, asked, logits):
    keep(store, kept, **options)
    with stub_worker(redis_server.url, length_of_each) as messages:
        found = score(scorer)  # the first one: the model's version is not known yet
    assert found.logits == logits
    assert found.n_cached == 3 - len(asked or ())
    assert [read_job(message)["passages"] for message in messages] == ([asked] if asked else [])


def test_known_scores_are_those_of_the_version_that_is_served_now(scorer, redis_server, store):
    with stub_worker(redis_server.url, length_of_each):
        score(scorer)
    keep(store, {"a": 9.0})
    keep(store, {"bbb": 7.0}, version="2")
    store.delete(serving_key("tiny"))
    with stub_worker(redis_server.url, length_of_each, version="2"):
        assert score(scorer).logits == (1.0, 7.0, 2.0)


@pytest.mark.parametrize(("workers", "kept"), [(1, {"a": 9.0}), (2, {"z": 9.0})], ids=["known ones", "parts"])
def test_scores_of_two_versions_are_not_mixed(scorer, redis_server, store, workers, kept):
    """While workers exchange a model one job goes to one worker."""
    keep(store, kept)
    passages = {"a": 1.0, "b" * 100: 100.0, "c" * 200: 200.0}
    versions = iter(["2", "3", "3"])

    def reply(job: dict) -> ScoreReply:
        return length_of_each(job).model_copy(update={"model_version": next(versions)})

    with stub_worker(redis_server.url, reply, workers=workers, speed=400.0) as messages:
        found = score(scorer, passages=list(passages))
    assert found == Scores(tuple(passages.values()), model_ms=3.0, n_tokens=21)
    assert read_job(messages[-1])["passages"] == list(passages)
    assert len(messages) == workers + 1


def test_what_the_model_would_not_read_is_not_sent(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each, max_characters=2) as messages:
        assert score(scorer, passages=["a", "bbb", "bbc"]).logits == (1.0, 2.0, 2.0)
    assert read_job(messages[0])["passages"] == ["a", "bb"]


@pytest.mark.parametrize(
    ("speed", "under_way", "reason"),
    [
        pytest.param(1000.0, [], None, id="nothing under way"),
        pytest.param(1.0, [], None, id="nothing under way: whatever the estimate"),
        pytest.param(0.0, [("other", 10**6, 60)], None, id="no speed known"),
        pytest.param(1000.0, [("other", 900, 60)], None, id="in time"),
        pytest.param(1000.0, [("other", 1990, 60)], Reason.OVERLOAD, id="too much is under way"),
        pytest.param(1000.0, [("other", 10**6, -1)], None, id="what is late counts no more"),
        pytest.param(1000.0, [("own", 1700, 60)], Reason.OVERLOAD, id="a policy may not take all"),
        pytest.param(1000.0, [("other", 1700, 60)], None, id="of what one left another gets its share"),
    ],
)
def test_a_job_that_can_not_be_done_in_time_is_not_sent(
    scorer, redis_server, store, speed, under_way, reason
):
    """The job has 18 characters and 2 seconds."""
    for number, (policy, cost, seconds) in enumerate(under_way):
        store.zadd(
            load_key("tiny"), {Entry(f"j{number}", 0, cost, policy).to_member(): time.time() + seconds}
        )
    with stub_worker(redis_server.url, length_of_each, speed=speed) as messages:
        if reason is None:
            score(scorer, policy="own")
        else:
            failed_for, took_s = fail(scorer, policy="own")
            assert failed_for == reason
            assert took_s < 1.0
    assert len(messages) == (reason is None)


def test_jobs_are_noted_with_cost_and_deadline_until_they_are_answered(scorer, redis_server, store):
    seen = []
    with stub_worker(
        redis_server.url, lambda job: seen.append(store.zrange(load_key("tiny"), 0, -1, withscores=True))
    ):
        fail(scorer, 0.5, policy="own")
    ((member, deadline),) = seen[0]
    entry = Entry.from_member(member)
    assert (entry.part, entry.cost, entry.policy) == (0, 18, "own")
    assert 0 < deadline - time.time() + 0.5 < 1.0


def test_a_large_window_is_split_among_the_workers(scorer, redis_server):
    passages = ["p" * length for length in range(1, 31)]
    with stub_worker(redis_server.url, length_of_each, workers=3, speed=1000.0) as messages:
        assert score(scorer, passages=passages).logits == tuple(range(1, 31))
    shares = [read_job(message)["passages"] for message in messages]
    assert sorted(len(share) for share in shares) == [10, 10, 10]
    lengths = [sum(map(len, share)) for share in shares]
    assert max(lengths) - min(lengths) <= 20


def test_a_small_window_is_not_split(scorer, redis_server):
    with stub_worker(redis_server.url, length_of_each, workers=3, speed=1000.0) as messages:
        score(scorer)
    assert len(messages) == 1


def test_a_part_that_is_answered_twice_counts_once(scorer, redis_server, store):
    def answer_twice(job):
        reply = length_of_each(job).model_copy(update={"model_version": "1"})
        store.rpush(reply_key(job["id"]), reply.to_message())
        return reply

    passages = ["p" * length for length in range(1, 31)]
    with stub_worker(redis_server.url, answer_twice, workers=2, speed=1000.0):
        assert score(scorer, passages=passages).logits == tuple(range(1, 31))


@pytest.mark.parametrize(("length", "is_compressed"), [(10, False), (2000, True)])
def test_long_jobs_are_compressed_where_that_is_wanted(redis_server, length, is_compressed):
    scorer = QueueScorer(redis_server.url, max_waiting=4, compress_above=1000)
    with stub_worker(redis_server.url, length_of_each) as messages:
        assert score(scorer, passages=["p" * length]).logits == (length,)
    scorer.close()
    assert (messages[0]["headers"].get("compression") is not None) == is_compressed
    assert (len(json.dumps(messages[0])) < length) == is_compressed


def test_scoring_that_fails_again_and_again_is_not_tried_for_a_while(scorer, redis_server):
    with stub_worker(redis_server.url, refuse) as messages:
        reasons = [fail(scorer)[0] for _ in range(7)]
    assert reasons == [Reason.BACKEND_ERROR] * 5 + [Reason.CIRCUIT_OPEN] * 2
    assert len(messages) == 5
    time.sleep(1.1)
    with stub_worker(redis_server.url, length_of_each):
        for _ in range(3):
            assert score(scorer).logits == (1.0, 3.0, 2.0)


def test_known_scores_do_not_hide_that_workers_fail(scorer, redis_server, store):
    keep(store, {"a": 0.5})
    with stub_worker(redis_server.url, refuse):
        for number in range(5):
            assert fail(scorer)[0] == Reason.BACKEND_ERROR
            if number < 4:
                assert score(scorer, passages=["a"]).logits == (0.5,)
        assert fail(scorer)[0] == Reason.CIRCUIT_OPEN
        assert score(scorer, passages=["a"]).logits == (0.5,)


def test_late_searches_say_nothing_while_others_are_scored(redis_server):
    """Under load some are late."""

    def answer_short_ones(job: dict) -> ScoreReply | None:
        return length_of_each(job) if len(job["passages"]) == 1 else None

    scorer = QueueScorer(redis_server.url, max_waiting=8)
    with stub_worker(redis_server.url, answer_short_ones), ThreadPoolExecutor(6) as pool:
        late = [pool.submit(fail, scorer, 0.5) for _ in range(6)]
        time.sleep(0.1)
        assert score(scorer, passages=["a"]).logits == (1.0,)
        assert {failed.result()[0] for failed in late} == {Reason.TIMEOUT}
        assert score(scorer, passages=["b"]).logits == (1.0,)
    scorer.close()


def test_searches_that_had_no_time_left_say_nothing_of_the_workers(scorer, redis_server):
    with stub_worker(redis_server.url, lambda job: None):
        assert {fail(scorer, 0.05)[0] for _ in range(7)} == {Reason.TIMEOUT}


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
    request = ScoreRequest("tiny", "wine", ("a", "bb"), time.monotonic() + 1)
    assert scorer.score(request).logits == (1.0, 2.0)
    assert scorer.calls == [("tiny", "wine", ["a", "bb"])]
