"""Knows what Redis tells of the workers: who serves which model, how fast, and how much waits for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

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
from worker.contract.address import RedisAddress

_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class ServingWorker:
    """One worker and what it tells of a model; ``age_s``: how long ago."""

    id: str
    serving: Serving
    age_s: float


@dataclass(frozen=True)
class ServedModel:
    """One model's workers and queues.

    Attributes:
        waiting, bulk_waiting: jobs that no worker has taken, of searches and of bulk.
        load: what is under way, in characters by policy.
    """

    workers: Sequence[ServingWorker]
    waiting: int
    bulk_waiting: int
    load: Load

    @property
    def speed(self) -> float:
        """Characters a second, of all workers; 0 where none has measured."""
        return sum(worker.serving.speed for worker in self.workers)

    @property
    def versions(self) -> Sequence[str]:
        """Each that is served, once."""
        return sorted({worker.serving.version for worker in self.workers})

    @property
    def backlog_s(self) -> float | None:
        """How long the workers need for what is under way; None where their speed is not known."""
        return self.load.total / self.speed if self.speed else None


class Workers:
    """Asks Redis; one object a process, used by all its threads."""

    def __init__(self, redis_url: str) -> None:
        address = RedisAddress.from_url(redis_url)
        self._redis = address.connect(
            retry=Retry(NoBackoff(), 0), socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )

    def look(self, models: Iterable[str]) -> Mapping[str, ServedModel] | None:
        """Each model by its alias; None where Redis does not answer."""
        aliases = list(models)
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.time()
                for alias in aliases:
                    pipeline.hgetall(serving_key(alias))
                    pipeline.zrange(load_key(alias), 0, -1, withscores=True)
                    pipeline.llen(f"{KEY_PREFIX}{online_queue(alias)}")
                    pipeline.llen(f"{KEY_PREFIX}{bulk_queue(alias)}")
                (seconds, microseconds), *told = pipeline.execute()
        except RedisError:
            return None
        now = seconds + microseconds / 1e6
        return {
            alias: ServedModel(_read_workers(marks, now), waiting, bulk, Load.from_entries(entries, now))
            for alias, marks, entries, waiting, bulk in zip(
                aliases, told[0::4], told[1::4], told[2::4], told[3::4], strict=True
            )
        }


def _read_workers(marks: Mapping[bytes, bytes], now: float) -> list[ServingWorker]:
    """Those that are alive, by id."""
    told = [(id.decode(), Serving.from_field(mark)) for id, mark in sorted(marks.items())]
    return [
        ServingWorker(id, serving, now - serving.renewed)
        for id, serving in told
        if serving.renewed > now - MARK_LIFE_S
    ]
