"""What searches are answered while Redis is in trouble, and that everything goes on by itself afterwards."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from functools import partial
from types import SimpleNamespace

import psutil
import pytest

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, ScoringFailed
from search_plugin import Reason
from tests.conftest import RedisServer, find_free_port
from tests.worker.conftest import Sender, WorkerProcess
from worker.contract import bulk_queue, load_key, online_queue

pytestmark = pytest.mark.system

DEADLINE_S = 2.0
FAILURES = {Reason.BACKEND_ERROR, Reason.NO_WORKER, Reason.TIMEOUT, Reason.CIRCUIT_OPEN}


@pytest.fixture(scope="module")
def running(rerank_toml, tmp_path_factory, wait_until):
    """A Redis that loads slowly what it kept, a scripted worker that keeps no scores, and their clients."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(find_free_port(), "--dir", str(folder), "--key-load-delay", "20000")
    server.start()
    settings = ["--redis-url", server.url, "--config", str(rerank_toml), "--cache-ttl-s", "0"]
    worker = WorkerProcess(folder, *settings, module="tests.worker.scripted_worker")
    with closing(Sender(server.url)) as sender:
        wait_until(partial(is_up, sender, worker), timeout_s=60)
        yield SimpleNamespace(server=server, worker=worker, sender=sender, redis=sender.redis)
    worker.process.kill()
    worker.process.wait()
    server.kill()


@pytest.fixture
def score(running, wait_until):
    """``score(*passages)``: the scores, or the reason why there are none, within the deadline."""
    with closing(QueueScorer(running.server.url, max_waiting=4)) as scorer:

        def score(*passages):
            deadline = time.monotonic() + DEADLINE_S
            try:
                return scorer.score(ScoreRequest("tiny", "q", passages, deadline)).logits
            except ScoringFailed as failure:
                return failure.reason
            finally:
                assert time.monotonic() < deadline + 0.3

        wait_until(lambda: score("before") == (6,))
        yield score


def fill(running):
    running.redis.config_set("maxmemory", 1)


def empty(running):
    running.redis.config_set("maxmemory", 0)


def restart(running):
    """With so much to load that it takes seconds."""
    running.redis.mset({f"filler:{number}": os.urandom(50_000) for number in range(200)})
    running.redis.save()
    running.server.kill()
    thread = threading.Thread(target=running.server.start)
    thread.start()
    running.starting = thread


def wait_for_start(running):
    running.starting.join()
    for key in running.redis.scan_iter("filler:*", count=1000):
        running.redis.delete(key)


@pytest.mark.parametrize(
    ("trouble", "mend"),
    [
        pytest.param(fill, empty, id="out of memory"),
        pytest.param(restart, wait_for_start, id="loading what it kept"),
    ],
)
def test_a_redis_in_trouble_is_a_failure_in_time_that_mends_itself(running, score, trouble, mend, wait_until):
    """The worker's marks may go, its process not."""
    trouble(running)
    try:
        assert score("during") == Reason.BACKEND_ERROR
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert score("during") in FAILURES
            time.sleep(0.2)
    finally:
        mend(running)
    wait_until(lambda: score("after") == (5,), timeout_s=10)
    assert running.worker.process.poll() is None


def test_a_job_that_meets_a_full_redis_on_its_way_does_not_stop_the_worker(running, score, wait_until):
    """The consumer can't note that it has taken it."""
    running.worker.process.send_signal(signal.SIGSTOP)
    running.sender.send_job("unlucky", "text", queue=bulk_queue)
    fill(running)
    running.worker.process.send_signal(signal.SIGCONT)
    time.sleep(2)
    empty(running)
    wait_until(lambda: score("after") == (5,), timeout_s=10)
    assert running.worker.process.poll() is None


@pytest.mark.parametrize("queue", [online_queue, bulk_queue])
def test_losses_of_redis_with_jobs_in_hand_leave_no_connections_behind(running, score, queue, wait_until):
    worker = psutil.Process(running.worker.process.pid)
    n_open = []
    for number in range(5):
        running.sender.send_job(f"loss-{queue.__name__}-{number}", "slow text", queue=queue)
        wait_until(lambda: running.sender.is_taken(queue))
        time.sleep(0.3)  # what is on its way when a connection is cut is lost
        running.redis.client_kill_filter(_type="normal", skipme=True)
        running.sender.wait_for_reply(f"loss-{queue.__name__}-{number}")
        wait_until(lambda: score("after") == (5,), timeout_s=15)
        n_open.append(len(worker.net_connections()))
    assert n_open[-1] <= n_open[0] + 1


def test_a_search_outlives_the_cut_of_all_connections(running, score):
    cut = threading.Timer(0.4, lambda: running.redis.client_kill_filter(_type="normal"))
    cut.start()
    assert score("slow text") == (9,)
    cut.join()
    assert score("after") == (5,)


GATEWAY = """
import sys, time
from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest
scorer = QueueScorer(sys.argv[1], max_waiting=1)
print("ready", flush=True)
sys.stdin.readline()
scorer.score(ScoreRequest("tiny", "q", ("slow text",), time.monotonic() + 2))
"""


@pytest.mark.parametrize("is_computed", [True, False], ids=["while its job is computed", "while it waits"])
def test_a_gateway_that_is_killed_leaves_nothing_in_redis(running, is_computed, wait_until):
    before = set(running.redis.keys())
    assert load_key("tiny").encode() not in before
    command = [sys.executable, "-c", GATEWAY, running.server.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as gateway:
        gateway.stdout.readline()
        if not is_computed:
            running.worker.process.send_signal(signal.SIGSTOP)
        gateway.stdin.write(b"\n")
        gateway.stdin.flush()
        wait_until(lambda: running.redis.exists(load_key("tiny")))
        time.sleep(0.3)
        gateway.kill()
    if not is_computed:
        time.sleep(DEADLINE_S)
        running.worker.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "score.late" in running.worker.log)
    wait_until(lambda: set(running.redis.keys()) <= before, timeout_s=10)


def test_a_workers_wrong_clock_changes_no_deadline(redis_server, start_worker, wait_until, monkeypatch):
    """All go by Redis's clock. Each worker has a database of its own."""
    workers = {}
    for database, skew_s in enumerate((-10_000, 10_000)):
        monkeypatch.setenv("SKEW_S", str(skew_s))
        url = redis_server.url.replace("/0", f"/{database}")
        workers[url] = start_worker(url, module="tests.worker.skewed_worker")
    for url, worker in workers.items():
        with closing(Sender(url)) as sender, closing(QueueScorer(url, max_waiting=2)) as scorer:
            wait_until(partial(is_up, sender, worker), timeout_s=60)
            request = ScoreRequest("tiny", "q", ("text",), time.monotonic() + DEADLINE_S)
            assert scorer.score(request).logits == (4,)
            sender.send_job("late", "text", deadline_s=-1)
            wait_until(partial(has_dropped, worker, "late"))


def is_up(sender, worker):
    return sender.is_served() or worker.process.poll() is not None


def has_dropped(worker, job_id):
    return f"score.late id={job_id} " in worker.log
