"""Workers on hosts of their own, made of network namespaces, share the work; the cable of one is cut.

Linux lets only root make such hosts: elsewhere these tests are skipped.
"""

import os
import shutil
import subprocess
import sys
import time
from contextlib import closing, contextmanager

import pytest
from redis import Redis

from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest, ScoringFailed
from tests.conftest import RedisServer, find_free_port
from tests.processes import running
from worker.contract import ServingModel, serving_key

pytestmark = pytest.mark.system

WINDOW = tuple(f"{number} " + "words " * 30 for number in range(40))


class Host:
    """A network namespace with a cable to this one, and a name of its own."""

    def __init__(self, number):
        self.name = f"rerank-{os.getpid()}-{number}"
        self.cable, self._end = f"rr{os.getpid() % 10**6}-{number}", f"rh{os.getpid() % 10**6}-{number}"
        self.gate = f"10.213.{number}.1"
        self._address = f"10.213.{number}.2"

    @contextmanager
    def up(self):
        ip("netns", "add", self.name)
        try:
            ip("link", "add", self.cable, "type", "veth", "peer", "name", self._end)
            ip("link", "set", self._end, "netns", self.name)
            ip("address", "add", f"{self.gate}/30", "dev", self.cable)
            ip("link", "set", self.cable, "up")
            ip("-n", self.name, "address", "add", f"{self._address}/30", "dev", self._end)
            for device in ("lo", self._end):
                ip("-n", self.name, "link", "set", device, "up")
            yield self
        finally:
            ip("netns", "delete", self.name)  # and with it the cable

    def command(self, *arguments):
        """So that it runs there."""
        name_it = f'hostname {self.name}; exec "$@"'
        return ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", name_it, "sh", *arguments]

    def cut(self):
        """Nothing comes through any more, and nobody is told."""
        ip("link", "set", self.cable, "down")

    def mend(self):
        ip("link", "set", self.cable, "up")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def can_make_hosts():
    if os.geteuid() or not all(map(shutil.which, ("ip", "unshare", "hostname"))):
        return False
    made = subprocess.run(["ip", "netns", "add", f"rerank-{os.getpid()}"], check=False, capture_output=True)
    if made.returncode == 0:
        ip("netns", "delete", f"rerank-{os.getpid()}")
    return made.returncode == 0


@pytest.fixture
def hosts():
    if not can_make_hosts():
        pytest.skip("this machine gives us no network namespaces")
    with Host(1).up() as one, Host(2).up() as two:
        yield one, two


@pytest.fixture
def redis_server():
    """One that other hosts can reach."""
    redis = RedisServer(find_free_port(), "--bind", "0.0.0.0", "--protected-mode", "no")
    redis.start()
    yield redis
    redis.kill()


@pytest.fixture
def workers(hosts, redis_server, rerank_toml, tmp_path):
    """A worker on each host, with its log."""
    commands = [
        host.command(
            *(sys.executable, "-m", "tests.worker.scripted_worker", "--config", str(rerank_toml)),
            *("--redis-url", redis_server.url.replace("127.0.0.1", host.gate)),
        )
        for host in hosts
    ]
    logs = [tmp_path / f"{host.name}.log" for host in hosts]
    with running(commands[0], {}, logs[0]) as one, running(commands[1], {}, logs[1]) as two:
        yield dict(zip((one, two), logs, strict=True))


def test_hosts_share_the_work_and_go_on_when_one_is_cut_off(hosts, workers, redis_server, wait_until):
    """Its share of a window is late, then the other does all; once the cable is mended both do again."""
    with closing(Redis.from_url(redis_server.url)) as redis:

        def count_workers():
            told = ServingModel.from_hash(redis.hgetall(serving_key("tiny")), time.time())
            return told.n_workers if told else 0

        def count_scored():
            return [log.read_text().count("score.complete") for log in workers.values()]

        scorer = QueueScorer(redis_server.url, max_waiting=8)
        queries = iter(range(10**6))

        def search(deadline_s=5.0):
            """Does it get the right scores?"""
            deadline = time.monotonic() + deadline_s
            scores = scorer.score(ScoreRequest("tiny", f"q{next(queries)}", WINDOW, deadline))
            return scores.logits == tuple(map(len, WINDOW))

        def is_answered():
            try:
                return search(1.0)
            except ScoringFailed:
                return False

        wait_until(lambda: count_workers() == 2, timeout_s=60)
        for _ in range(5):
            assert search()
        assert min(count_scored()) > 0

        hosts[0].cut()
        wait_until(lambda: count_workers() == 1, timeout_s=15)
        wait_until(is_answered, timeout_s=35)  # the breaker's pause
        for _ in range(5):
            assert search()

        hosts[0].mend()
        wait_until(lambda: count_workers() == 2, timeout_s=30)
        before = count_scored()
        wait_until(lambda: search() and count_scored()[0] > before[0])
        assert all(worker.is_running() for worker in workers)
        scorer.close()
