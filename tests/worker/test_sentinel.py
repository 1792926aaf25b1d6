"""A Redis with a replica, watched by Sentinels: what searches meet when the master dies, and for how long."""

import signal
import subprocess
import time
from contextlib import ExitStack, closing
from functools import partial

import pytest
from redis import Redis, RedisError

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, ScoringFailed
from tests.conftest import RedisServer, find_free_port, find_redis
from tests.worker.conftest import Sender

pytestmark = pytest.mark.system

MENDED_S = 30.0  # down after 1 s, promotion after 2 to 5; then both sides' timeouts, and the breaker

SENTINEL_CONF = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor mymaster 127.0.0.1 {master} 2
sentinel down-after-milliseconds mymaster 1000
sentinel failover-timeout mymaster 6000
sentinel auth-pass mymaster secret
requirepass watch
sentinel sentinel-pass watch
"""


@pytest.fixture
def watched_redis(tmp_path, wait_until):
    """A master, its replica and three Sentinels; gives the URL and the master."""
    ports = [find_free_port() for _ in range(5)]
    flags = ("--requirepass", "secret", "--masterauth", "secret", "--dir", str(tmp_path))
    master = RedisServer(ports[0], *flags)
    replica = RedisServer(ports[1], *flags, "--replicaof", "127.0.0.1", str(ports[0]))
    with ExitStack() as stack:
        for server in (master, replica):
            server.start()
            stack.callback(server.kill)
        for port in ports[2:]:
            conf = tmp_path / f"sentinel-{port}.conf"
            conf.write_text(SENTINEL_CONF.format(port=port, folder=tmp_path, master=ports[0]))
            process = subprocess.Popen([find_redis(), str(conf), "--sentinel"], stdout=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
        for port in ports[2:]:
            with closing(Redis(port=port, password="watch", retry=None)) as sentinel:
                wait_until(partial(knows_all, sentinel))
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports[2:])
        yield f"sentinel://:secret@{hosts}/0?master_name=mymaster&sentinel_password=watch", master


def knows_all(sentinel):
    try:
        told = sentinel.sentinel_master("mymaster")
    except RedisError:
        return False
    return (told["num-slaves"], told["num-other-sentinels"]) == (1, 2)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(RedisServer.kill, id="its process ends"),
        pytest.param(RedisServer.pause, id="its host is gone: connections stay open, nothing answers"),
    ],
)
def test_searches_fail_in_time_until_a_replica_is_promoted(end, watched_redis, start_worker, wait_until):
    url, master = watched_redis
    worker = start_worker(url, module="tests.worker.scripted_worker")
    with closing(Sender(url)) as sender, closing(QueueScorer(url, max_waiting=4)) as scorer:
        wait_until(lambda: sender.is_served() or worker.process.poll() is not None, timeout_s=60)

        def score(passage):
            """The score or the reason why there is none, and the seconds that it took."""
            started = time.monotonic()
            request = ScoreRequest("tiny", "q", (passage,), started + 1)
            try:
                answer = scorer.score(request).logits[0]
            except ScoringFailed as failure:
                answer = failure.reason
            return answer, time.monotonic() - started

        assert score("text")[0] == 4
        end(master)
        killed = time.monotonic()
        answers = []
        while not answers or answers[-1][0] != 5:
            answers.append(score("texts"))
            assert time.monotonic() < killed + MENDED_S, (answers, worker.log)
            time.sleep(0.1)
        assert answers[0][0] != 5
        assert max(seconds for _, seconds in answers) < 1.3
        assert worker.process.poll() is None
        assert worker.end(signal.SIGTERM) == 0
