"""Knows what can break, and breaks it at random."""

import random
import signal
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from redis import Redis, RedisError

from tests.processes import Engine, Process

QUIET_S = (2.0, 7.0)  # between a fault's begin and the next one's
TOGETHER = 0.25  # of the faults come at once after another
RESTART_S = 0.5  # what a supervisor waits before it starts a worker again


@dataclass(frozen=True)
class Site:
    """What can be broken."""

    engine: Engine
    redis: Process
    redis_url: str
    workers: list[Process]


def kill_worker(site, dice):
    """kill -9; the supervisor starts it again."""
    _send(dice.choice(site.workers), signal.SIGKILL)
    yield 0


def pause_worker(site, dice):
    yield from _pause(dice.choice(site.workers), dice.uniform(1, 6))


def pause_redis(site, dice):
    yield from _pause(site.redis, dice.uniform(1, 4))


def kill_redis(site, dice):
    """kill -9, and an empty one on the same port."""
    _send(site.redis, signal.SIGKILL)
    yield dice.uniform(0.2, 3)
    if not site.redis.is_running():
        site.redis.start()


def cut_connections(site, dice):
    """All of Redis's clients lose their connections at once."""
    with suppress(RedisError), closing(Redis.from_url(site.redis_url, socket_timeout=1)) as redis:
        for kind in ("normal", "pubsub"):
            redis.client_kill_filter(_type=kind, skipme=True)
    yield 0


def pause_cluster(site, dice):
    yield from _pause(site.engine.process, dice.uniform(1, 3))


FAULTS = {
    "worker killed": kill_worker,
    "worker paused": pause_worker,
    "Redis paused": pause_redis,
    "Redis killed": kill_redis,
    "connections cut": cut_connections,
    "cluster paused": pause_cluster,
}
"""What is done and undone, by name: each gives the seconds between its steps."""


@dataclass(frozen=True)
class Injected:
    """A fault that is over; moments by the monotonic clock."""

    name: str
    began: float
    ended: float

    def overlap_s(self, began, ended):
        return max(0.0, min(self.ended, ended) - max(self.began, began))


class Injector:
    """Injects all faults in a random order, again and again, one at a time and sometimes several at once."""

    def __init__(self, site, seed):
        self._site = site
        self._dice = random.Random(seed)
        self._numbers = count()  # so that the heap never compares generators
        self.injected = []

    def run(self, lasts_s):
        """Return when the last fault is over."""
        end = time.monotonic() + lasts_s
        steps = []  # (when, number, name, began, generator)
        bag = []
        next_begin = time.monotonic() + self._dice.uniform(*QUIET_S)
        while steps or next_begin < end:
            if next_begin < end and (not steps or next_begin <= steps[0][0]):
                _sleep_until(next_begin)
                bag = bag or self._dice.sample(list(FAULTS), len(FAULTS))
                name = bag.pop()
                self._step(steps, name, time.monotonic(), FAULTS[name](self._site, self._dice))
                pause_s = 0.2 if self._dice.random() < TOGETHER else self._dice.uniform(*QUIET_S)
                next_begin = time.monotonic() + pause_s
            else:
                when, _, name, began, fault = heappop(steps)
                _sleep_until(when)
                self._step(steps, name, began, fault)

    def _step(self, steps, name, began, fault):
        try:
            pause_s = next(fault)
        except StopIteration:
            self.injected.append(Injected(name, began, time.monotonic()))
        else:
            heappush(steps, (time.monotonic() + pause_s, next(self._numbers), name, began, fault))


class Supervisor:
    """Starts workers again that have ended, as systemd would; ``restarts`` counts."""

    def __init__(self, workers):
        self._workers = workers
        self._enough = threading.Event()
        self.restarts = 0

    @contextmanager
    def watching(self):
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield self
        finally:
            self._enough.set()
            thread.join()

    def _watch(self):
        while not self._enough.wait(RESTART_S):
            for worker in self._workers:
                if not worker.is_running():
                    worker.start()
                    self.restarts += 1


def _pause(process, lasts_s):
    _send(process, signal.SIGSTOP)
    yield lasts_s
    _send(process, signal.SIGCONT)


def _send(process, number):
    """A signal to a process that may be gone, or just going."""
    if process.is_running():
        with suppress(ProcessLookupError):
            process.send(number)


def _sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))
