"""Knows what a worker tells the gateways: that it lives, which models it serves, and how fast."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from redis import Redis, RedisError

from worker.batching import Batcher
from worker.clock import RedisClock
from worker.contract import MARK_LIFE_S, Serving, load_key, serving_key
from worker.contract.logs import Event
from worker.identity import is_gone
from worker.journal import KnownSuspects, find_deaths
from worker.resident import ResidentModel

logger = logging.getLogger(__name__)

_RENEWAL_S = 1.5
_DEAD_S = 2 * MARK_LIFE_S


ServedModels = Mapping[str, Batcher[ResidentModel]]
"""By alias, the batchers of the models that jobs may name."""


class ServingMark:
    """Marks models as served while this keeps renewing the marks; gateways believe them for `MARK_LIFE_S`.

    Args:
        worker_id: unlike that of any other process.
        models: read anew each time.
        clock, suspects: renewed by Redis with each mark.
        tell_problem: why a newer version of a model is not served; empty where none is wanted.
    """

    def __init__(
        self,
        redis: Redis,
        worker_id: str,
        models: ServedModels,
        clock: RedisClock,
        suspects: KnownSuspects,
        tell_problem: Callable[[str], str] = lambda alias: "",
    ) -> None:
        self._redis = redis
        self._worker_id = worker_id
        self._models = models
        self._clock = clock
        self._suspects = suspects
        self._tell_problem = tell_problem
        self._stopped = threading.Event()
        self._missed: dict[str, float] = {}  # worker without a mark → since when, by Redis's clock

    @property
    def aliases(self) -> tuple[str, ...]:
        """The models that are marked."""
        return tuple(self._models)

    def prepare(self) -> None:
        """Find out what time it is, and what other workers died of, before the first job is taken."""
        with suppress(RedisError):
            self._clock.look(self._redis)
            self._look_around()

    def start(self) -> None:
        """Renew from now on, in a daemon thread; while Redis is away, keep trying."""
        self._stopped = threading.Event()
        threading.Thread(
            target=self._keep_renewing, args=(self._stopped,), name="serving-mark", daemon=True
        ).start()

    def stop(self) -> None:
        """Renew no more and take the marks away, where Redis can be reached; may be called twice."""
        self._stopped.set()
        with suppress(RedisError), self._redis.pipeline(transaction=False) as pipeline:
            for alias in self._models:
                pipeline.hdel(serving_key(alias), self._worker_id)
            pipeline.execute()

    def _keep_renewing(self, stopped: threading.Event) -> None:
        is_lost = False
        while not stopped.is_set():
            try:
                self._renew(stopped)
                is_lost = False
            except RedisError as error:
                if not is_lost:
                    logger.warning(Event("mark.lost", error=error))
                is_lost = True
            stopped.wait(_RENEWAL_S)

    def _renew(self, stopped: threading.Event) -> None:
        self._clock.look(self._redis)
        if not stopped.is_set():
            self._mark()
        self._look_around()

    def _look_around(self) -> None:
        marked = self._find_marked()
        self._missed = {name: since for name, since in self._missed.items() if name not in marked}
        find_deaths(self._redis, lambda name: name not in marked and self._is_dead(name))
        self._suspects.renew()

    def _is_dead(self, name: str) -> bool:
        """Of one without a mark; it may also be starting, or Redis was away and has forgotten it."""
        now = self._clock.now()
        return is_gone(name, self._worker_id) or self._missed.setdefault(name, now) < now - _DEAD_S

    def _mark(self) -> None:
        now = self._clock.now()
        with self._redis.pipeline(transaction=False) as pipeline:
            for alias, batcher in self._models.items():
                model = batcher.loaded
                told = Serving(
                    model.version,
                    now,
                    batcher.speed.characters_per_s,
                    model.max_characters,
                    model.release,
                    self._tell_problem(alias),
                )
                pipeline.hset(serving_key(alias), self._worker_id, told.to_field())
                pipeline.pexpire(serving_key(alias), int(MARK_LIFE_S * 1000))
                pipeline.zremrangebyscore(load_key(alias), "-inf", now)
            pipeline.execute()

    def _find_marked(self) -> set[str]:
        """The workers that serve one of our models; the marks of the dead are taken out."""
        now = self._clock.now()
        marked = {self._worker_id}
        for alias in self._models:
            told: dict[Any, Any] = self._redis.hgetall(serving_key(alias))
            renewed = {name: Serving.from_field(field).renewed for name, field in told.items()}
            dead = [
                name
                for name, moment in renewed.items()
                if moment < now - _DEAD_S or is_gone(name.decode(), self._worker_id)
            ]
            if dead:
                self._redis.hdel(serving_key(alias), *dead)
            fresh = {name for name, moment in renewed.items() if moment > now - MARK_LIFE_S}
            marked |= {name.decode() for name in fresh.difference(dead)}
        return marked
