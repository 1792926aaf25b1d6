"""Knows what Redis tells of a model at a moment: who serves it, how fast, and what waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from redis import Redis

from worker.contract import (
    KEY_PREFIX,
    MARK_LIFE_S,
    Load,
    Serving,
    bulk_queue,
    load_key,
    online_queue,
    serving_key,
)


@dataclass(frozen=True)
class Service:
    """What is so of one model now.

    Attributes:
        workers: by their ids, those that live.
        load: the jobs that searches wait for.
        n_online, n_bulk: jobs not yet taken by a worker, of searches and of others.
    """

    alias: str
    workers: Mapping[str, Serving]
    load: Load
    n_online: int
    n_bulk: int

    @property
    def versions(self) -> frozenset[str]:
        """More than one while workers exchange the model."""
        return frozenset(worker.version for worker in self.workers.values())

    @property
    def releases(self) -> frozenset[str]:
        """What people call the versions, where they have names."""
        return frozenset(worker.release for worker in self.workers.values() if worker.release)

    @property
    def problems(self) -> frozenset[str]:
        """Why workers do not serve a newer version."""
        return frozenset(worker.problem for worker in self.workers.values() if worker.problem)

    @property
    def speed(self) -> float:
        """Characters a second, of all workers; 0: nobody has measured."""
        return sum(worker.speed for worker in self.workers.values())

    @property
    def load_s(self) -> float:
        """How many seconds the workers need for what searches wait for; 0 where their speed is not known."""
        return self.load.total / self.speed if self.speed else 0.0

    @property
    def max_characters(self) -> int:
        """Of a text, what the model reads; 0: not known."""
        return min((worker.max_characters for worker in self.workers.values()), default=0)


def read_services(redis: Redis, aliases: Iterable[str]) -> list[Service]:
    """All that is told of these models, in one round trip.

    Raises:
        RedisError: it can't be asked.
    """
    asked = list(aliases)
    with redis.pipeline(transaction=False) as pipeline:
        pipeline.time()
        for alias in asked:
            pipeline.hgetall(serving_key(alias))
            pipeline.zrange(load_key(alias), 0, -1, withscores=True)
            pipeline.llen(f"{KEY_PREFIX}{online_queue(alias)}")
            pipeline.llen(f"{KEY_PREFIX}{bulk_queue(alias)}")
        (seconds, microseconds), *told = pipeline.execute()
    now = seconds + microseconds / 1e6
    of_each = zip(asked, *(told[place::4] for place in range(4)), strict=True)
    return [
        Service(alias, _read_alive(marks, now), Load.from_entries(entries, now), n_online, n_bulk)
        for alias, marks, entries, n_online, n_bulk in of_each
    ]


def _read_alive(marks: Mapping[bytes, bytes], now: float) -> dict[str, Serving]:
    told = {name.decode(): Serving.from_field(field) for name, field in marks.items()}
    return {name: mark for name, mark in told.items() if mark.renewed > now - MARK_LIFE_S}
