"""A real worker process on a real Redis: jobs and replies."""

import json
import time
import uuid

import pytest
from redis import Redis

from worker.contract import bulk_queue, cancelled_key, reply_key
from worker.tasks import find_cancelled

pytestmark = pytest.mark.system


@pytest.fixture
def sender(shared_worker):
    return shared_worker[1]


@pytest.fixture
def worker(shared_worker):
    return shared_worker[0]


@pytest.fixture
def job_id():
    return uuid.uuid4().hex


def test_a_job_is_answered_with_the_models_own_scores(sender, job_id, reranker_folder):
    from rerankers import FlagAutoReranker

    query, passages = "delete a folder", ["all its files", "sort list by key", ""]
    sender.send_job(job_id, *passages, query_text=query)
    reply = sender.wait_for_reply(job_id)
    reranker = FlagAutoReranker.from_finetuned(str(reranker_folder), devices="cpu", max_length=64)
    expected = reranker.compute_score([(query, passage) for passage in passages])
    assert reply.id == job_id
    assert reply.error is None
    assert reply.scores == pytest.approx(expected, abs=1e-5)
    assert reply.model_ms > 0
    assert len(reply.model_version) == 16


def test_jobs_sent_together_each_get_their_own_scores(sender):
    names = [uuid.uuid4().hex for _ in range(40)]
    passages = ["all its files", "sort list", "key parse text how to", "folder"]
    for n, name in enumerate(names):
        sender.send_job(name, passages[n % 4])
    by_passage = {}
    for n, name in enumerate(names):
        by_passage.setdefault(n % 4, []).extend(sender.wait_for_reply(name).scores)
    for scores in by_passage.values():
        assert scores == pytest.approx([scores[0]] * 10, abs=1e-5)
    assert len({round(scores[0], 3) for scores in by_passage.values()}) == 4


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param({"passages": []}, "passages", id="no passages"),
        pytest.param({"deadline": None}, "deadline", id="no deadline"),
        pytest.param({"bogus": 1}, "bogus", id="unknown field"),
        pytest.param({"model": "other"}, "model", id="a model that this worker does not serve"),
    ],
)
def test_a_malformed_message_is_answered_with_the_field_at_fault_and_does_not_come_back(
    sender, worker, job_id, change, named, wait_until
):
    job = {
        "id": job_id,
        "model": "tiny",
        "query_text": "q",
        "passages": ["p"],
        "deadline": time.time() + 60,
    }
    sender.send(job | change, bulk_queue)
    reply = sender.wait_for_reply(job_id)
    assert reply.scores is None
    assert reply.error.startswith(f"{named}: ")
    wait_until(lambda: not sender.count_unacknowledged())


@pytest.mark.parametrize("message", [None, "text", {"no": "id"}], ids=repr)
def test_a_message_without_an_id_is_dropped_and_the_worker_goes_on(sender, job_id, message, wait_until):
    sender.send(message, bulk_queue)
    assert sender.score(job_id, "passage").error is None
    wait_until(lambda: not sender.count_unacknowledged())


def test_a_late_job_is_never_scored(sender, worker, job_id, wait_until):
    sender.send_job(job_id, "passage", deadline_s=-1.0)
    wait_until(lambda: f"score.late id={job_id}" in worker.log)
    assert not sender.redis.exists(reply_key(job_id))
    assert f"score.complete id={job_id}" not in worker.log


def test_a_cancelled_job_is_never_scored(sender, worker, job_id, wait_until):
    sender.redis.set(cancelled_key(job_id), b"", px=30_000)
    sender.send_job(job_id, "passage")
    wait_until(lambda: f"score.cancelled id={job_id}" in worker.log)
    assert not sender.redis.exists(reply_key(job_id))
    assert f"score.complete id={job_id}" not in worker.log


def test_without_redis_no_job_is_taken_for_cancelled(free_port):
    with Redis(port=free_port, socket_timeout=1) as nobody:
        assert find_cancelled(nobody, ["a", "b"]) == frozenset()


def test_a_reply_that_nobody_takes_goes_away(sender, job_id, wait_until):
    sender.send_job(job_id, "passage", deadline_s=1.0)
    wait_until(lambda: sender.redis.exists(reply_key(job_id)))
    assert 0 < sender.redis.pttl(reply_key(job_id)) <= 2000
    wait_until(lambda: not sender.redis.exists(reply_key(job_id)), timeout_s=5)


def test_neither_log_nor_events_hold_texts(sender, worker, job_id):
    """Both are read by people who may not read the documents."""
    events = []

    def send_once(event):
        """The first event shows that we listen."""
        if not events:
            sender.send_job(job_id, "topsecretpassage", query_text="topsecretquery")
            sender.send({"id": "topsecret passage", "query_text": "topsecret"})
        events.append(event)
        receiver.should_stop = [event["type"] for event in events].count("task-succeeded") == 2

    with sender.app.connection_for_read() as connection:
        receiver = sender.app.events.Receiver(connection, handlers={"*": send_once})
        receiver.capture(timeout=30)
    assert sender.wait_for_reply(job_id).error is None
    assert f"score.complete id={job_id}" in worker.log
    assert "topsecret" not in json.dumps(events)
    assert "topsecret" not in worker.log
