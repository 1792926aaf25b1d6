"""What happens to jobs when a worker dies, hangs or consumes no more, and what it leaves behind."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import closing

import pytest
from redis import Redis

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest
from tests.conftest import find_free_port
from tests.worker.conftest import Sender
from tests.worker.stalling_proxy import StallingProxy
from worker.clock import RedisClock
from worker.contract import (
    CACHED_QUERIES_KEY,
    RUNNING_KEY,
    SUSPECTS_KEY,
    CachedScores,
    Entry,
    ScoreJob,
    bulk_queue,
    cancelled_key,
    load_key,
    read_score,
    serving_key,
)
from worker.journal import KnownSuspects
from worker.serving import ServingMark
from worker.watchdog import EXIT_CODE

pytestmark = pytest.mark.system


@pytest.fixture
def start(start_worker, redis_server, sender, wait_until):
    """``start(*flags)``: another scripted worker, serving."""

    def start(*flags, survives=True):
        worker = start_worker(redis_server.url, *flags, module="tests.worker.scripted_worker")
        pid = f":{worker.process.pid}:".encode()
        wait_until(
            lambda: (
                any(pid in name for name in sender.redis.hkeys(serving_key("tiny")))
                or worker.process.poll() is not None
            )
        )
        assert not survives or worker.process.poll() is None, worker.log
        return worker

    return start


def bulk_job(sender, job_id, *passages, deadline_s=600.0):
    job = ScoreJob(
        id=job_id,
        model="tiny",
        query_text="q",
        passages=passages,
        deadline=time.time() + deadline_s,
        bulk=True,
    )
    sender.send(job.to_message(), queue=bulk_queue)


def test_a_text_that_kills_workers_ends_two_of_them_and_is_then_refused(start, sender, wait_until):
    """Those computed with it are scored all the same, also the other passages of its job's neighbours."""
    flags = ("--visibility-timeout-s", "1")
    first = start(*flags)
    bulk_job(sender, "innocent", "some text", "slow text")
    bulk_job(sender, "poison", "kill", "also here")
    first.process.wait(timeout=30)
    second = start(*flags, survives=False)
    second.process.wait(timeout=60)
    third = start(*flags)
    assert sender.wait_for_reply("innocent").scores == (9, 9)
    reply = sender.wait_for_reply("poison", timeout_s=60)
    assert reply.scores is None
    assert "died" in reply.error
    bulk_job(sender, "again", "kill", "also here")
    assert sender.wait_for_reply("again").error == reply.error
    bulk_job(sender, "other", "also here", "new")
    assert sender.wait_for_reply("other").scores == (9, 3)
    assert third.process.poll() is None
    assert 0 < sender.redis.ttl(SUSPECTS_KEY) <= 3600
    wait_until(lambda: not sender.redis.exists(RUNNING_KEY))


@pytest.fixture
def living():
    """A process of this host."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_only_the_dead_are_found(redis_server, living):
    """Not who has no mark because it is starting, or because Redis was away: that goes by for ten seconds."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    host = socket.gethostname()
    ids = {"living": f"{host}:{living.pid}:1", "gone": f"{host}:{gone.pid}:1", "elsewhere": "other-host:1:1"}
    clock, digest = RedisClock(), b"twelve bytes"
    with closing(Redis.from_url(redis_server.url)) as redis:
        redis.hset(RUNNING_KEY, mapping={f"{id}/tiny": digest for id in ids.values()})
        mark = ServingMark(redis, f"{host}:{os.getpid()}:1", {}, clock, KnownSuspects(redis))
        mark.prepare()
        left = {ids["living"], ids["elsewhere"]}
        assert {entry.decode().removesuffix("/tiny") for entry in redis.hkeys(RUNNING_KEY)} == left
        assert redis.hgetall(SUSPECTS_KEY) == {digest: b"1"}
        clock.look = lambda redis: None  # it would tell that no time has passed
        clock.now = lambda: time.time() + 11
        mark.prepare()
        assert not redis.exists(RUNNING_KEY)
        assert redis.hgetall(SUSPECTS_KEY) == {digest: b"3"}


def test_a_worker_whose_pass_hangs_ends_itself(start, sender):
    worker = start("--pass-limit-s", "1")
    sender.send_job("j", "hang")
    assert worker.process.wait(timeout=20) == EXIT_CODE
    assert "a forward pass of tiny takes longer than 1 s" in worker.log


def test_a_worker_that_looks_for_no_jobs_ends_itself(start, sender, redis_server):
    """Its consumer waits on a connection over which nothing comes; all its others are well."""
    with closing(StallingProxy(redis_server.url)) as proxy:
        worker = start("--silence-limit-s", "5", "--redis-url", proxy.url)
        assert sender.score("before", "text").scores == (4,)
        proxy.stall(b"BRPOP")
        assert worker.process.wait(timeout=20) == EXIT_CODE
    assert "no job was looked for" in worker.log


def test_a_worker_stays_while_redis_hangs(start, sender, redis_server):
    worker = start("--silence-limit-s", "5")
    redis_server.pause()
    time.sleep(9)
    redis_server.resume()
    assert sender.score("still-here", "text").scores == (4,)
    assert worker.process.poll() is None


def test_a_worker_is_back_soon_after_a_long_absence_of_redis(start, sender, redis_server, wait_until):
    """By itself Celery pauses the longer the longer Redis is away."""
    worker = start()
    redis_server.kill()
    time.sleep(15)
    redis_server.start()
    wait_until(sender.is_served, timeout_s=5)
    assert sender.score("back", "text").scores == (4,)
    assert worker.process.poll() is None


def test_a_search_overtakes_bulk_that_came_first(start, sender):
    start()
    for number in range(20):
        bulk_job(sender, f"bulk-{number}", f"slow {number}" + " w" * 10_000)
    started = time.monotonic()
    assert sender.score("search", "text").scores == (4,)
    assert time.monotonic() - started < 2.5  # one pass under way
    assert sender.redis.llen("rerank:bulk.tiny") >= 10  # not all in the worker's hands


def test_scores_are_kept_for_the_next_time_and_the_job_is_taken_off(start, sender):
    start("--cache-ttl-s", "100", "--cache-queries", "3")
    entries = [Entry("j", 0, 9, ""), Entry("another", 0, 9, "")]
    sender.redis.zadd(load_key("tiny"), {entry.to_member(): time.time() + 60 for entry in entries})
    sender.send_job("j", "abc", "defg", query_text="q")
    assert sender.wait_for_reply("j").scores == (3, 4)
    cached = CachedScores("scripted", "q")
    values = sender.redis.hmget(cached.key, [cached.field("abc"), cached.field("defg")])
    assert list(map(read_score, values)) == [3, 4]
    assert 90 < sender.redis.ttl(cached.key) <= 100
    left = sender.redis.zrange(load_key("tiny"), 0, -1)
    assert list(map(Entry.from_member, left)) == [entries[1]]


def test_of_too_many_queries_those_written_longest_ago_are_forgotten(start, sender, wait_until):
    start("--cache-queries", "3")
    for number in range(5):
        sender.send_job(f"j{number}", "abc", query_text=f"q{number}")
        sender.wait_for_reply(f"j{number}")
    wait_until(lambda: sender.redis.zcard(CACHED_QUERIES_KEY) == 3)
    kept = [bool(sender.redis.exists(CachedScores("scripted", f"q{number}").key)) for number in range(5)]
    assert kept == [False, False, True, True, True]


def test_nothing_is_kept_where_that_is_not_wanted(start, sender):
    start("--cache-ttl-s", "0")
    assert sender.score("j", "abc").scores == (3,)
    assert sender.redis.keys("rerank:scores:*") == []


def test_a_job_cancelled_while_it_waits_is_dropped(start, sender, wait_until):
    worker = start()
    sender.send_job("first", "slow")
    sender.send_job("gone", "text")
    sender.redis.set(cancelled_key("gone"), b"", px=30_000)
    wait_until(lambda: "score.cancelled id=gone" in worker.log)
    assert sender.wait_for_reply("first").scores == (4,)


def test_two_workers_share_the_jobs_and_one_goes_on_alone(start, sender, wait_until):
    workers = [start() for _ in range(2)]
    for number in range(40):
        sender.send_job(f"j{number}", f"text {number}")
    for number in range(40):
        assert sender.wait_for_reply(f"j{number}").scores is not None
    assert all("score.complete" in worker.log for worker in workers)
    workers[0].end(signal.SIGKILL)
    assert sender.score("after", "text").scores == (4,)
    wait_until(lambda: sender.read_serving().n_workers == 1, timeout_s=12)


def test_a_worker_that_is_told_to_end_takes_its_mark_away_at_once(start, sender, wait_until):
    worker = start()
    worker.end(signal.SIGTERM)
    assert not sender.is_served()


def test_one_rule_on_keys_is_all_that_a_redis_user_needs(start, sender, redis_server):
    """The rule of docs/workers.md."""
    rule = ["on", ">secret", "~rerank:*", "&*", "+@all", "-@admin", "-@dangerous", "+info"]
    sender.redis.execute_command("ACL", "SETUSER", "rerank", *rule)
    url = redis_server.url.replace("redis://", "redis://rerank:secret@")
    start("--redis-url", url)
    with closing(Sender(url)) as restricted:
        assert restricted.score("j", "text").scores == (4,)
    scorer = QueueScorer(url, max_waiting=2)
    request = ScoreRequest("tiny", "q", ("text", "texts"), time.monotonic() + 10)
    assert [scorer.score(request).n_cached for _ in range(3)] == [0, 2, 2]
    scorer.close()


def test_prometheus_is_told_what_was_done(start, sender):
    port = find_free_port()
    start("--metrics-port", str(port))
    sender.score("j", "some text", "text")
    sender.send_job("late", "text", deadline_s=-1)
    sender.score("k", "text")
    told = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    for line in (
        'rerank_worker_pairs_total{kind="search",model="tiny"} 19.0',  # 16 of them to measure the speed
        'rerank_worker_jobs_total{kind="search",model="tiny",outcome="scored"} 2.0',
        'rerank_worker_jobs_total{kind="search",model="tiny",outcome="late"} 1.0',
        'rerank_worker_model_info{model="tiny",version="scripted"} 1.0',
    ):
        assert line in told, told
