"""Knows what each worker is computing, so that what ends one is found afterwards and kept from the next."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from typing import Any

from redis import Redis, RedisError

from worker.batching import PassDone
from worker.contract import RUNNING_KEY, SUSPECTS_KEY
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

_SUSPECTED_S = 3600
_DIGEST_BYTES = 12
_PAUSE_S = 0.01  # so long after a pass its entry may stay


class KnownSuspects:
    """The pairs over which workers died, as Redis last told; a `Suspects`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._deaths: dict[bytes, int] = {}

    def count_deaths(self, texts: tuple[str, str]) -> int:
        """See `Suspects`."""
        return self._deaths.get(_digest(texts), 0) if self._deaths else 0

    def clear(self, texts: tuple[str, str]) -> None:
        """See `Suspects`."""
        self._deaths.pop(_digest(texts), None)
        try:
            self._redis.hdel(SUSPECTS_KEY, _digest(texts))
        except RedisError as error:
            logger.warning(Event("suspect.kept", error=error))

    def renew(self) -> None:
        """Ask Redis.

        Raises:
            RedisError: it can't be asked.
        """
        told: dict[Any, Any] = self._redis.hgetall(SUSPECTS_KEY)
        self._deaths = {digest: int(count) for digest, count in told.items()}


class Journal:
    """Notes in Redis what one batcher computes; writes in a thread of its own, so that no pass waits.

    Args:
        entry: unlike that of any other batcher: worker id, ``/``, model.
    """

    def __init__(self, redis: Redis, entry: str) -> None:
        self._redis = redis
        self._entry = entry
        self._pairs: Collection[tuple[str, str]] = ()
        self._changed = threading.Event()
        threading.Thread(target=self._keep_writing, name=f"journal-{entry}", daemon=True).start()

    def pass_begins(self, pairs: Collection[tuple[str, str]]) -> None:
        """See `Observer`."""
        self._pairs = pairs
        self._changed.set()

    def pass_ends(self, done: PassDone) -> None:
        """See `Observer`."""
        self._pairs = ()
        self._changed.set()

    def _keep_writing(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            pairs = self._pairs
            if not pairs and self._changed.wait(_PAUSE_S):
                continue  # the next pass has begun, and its entry replaces this one's
            try:
                if pairs:
                    self._redis.hset(RUNNING_KEY, self._entry, b"".join(map(_digest, pairs)))
                else:
                    self._redis.hdel(RUNNING_KEY, self._entry)
            except RedisError as error:
                logger.debug(Event("journal.lost", error=error))


def find_deaths(redis: Redis, is_dead: Callable[[str], bool]) -> None:
    """Look for entries of workers that live no more, and make what they were computing suspect.

    Whoever finds such an entry first takes it out and counts.

    Args:
        is_dead: asked for the worker id of each entry.

    Raises:
        RedisError: it can't be asked.
    """
    entries: dict[Any, Any] = redis.hgetall(RUNNING_KEY)
    for entry, digests in entries.items():
        worker_id = entry.decode().rpartition("/")[0]
        if not is_dead(worker_id) or not redis.hdel(RUNNING_KEY, entry):
            continue
        logger.warning(Event("worker.died", id=worker_id, pairs=len(digests) // _DIGEST_BYTES))
        with redis.pipeline(transaction=False) as pipeline:
            for digest in _cut(digests):
                pipeline.hincrby(SUSPECTS_KEY, digest, 1)
            pipeline.expire(SUSPECTS_KEY, _SUSPECTED_S)
            pipeline.execute()


def _digest(texts: tuple[str, str]) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    return digest.digest()


def _cut(digests: bytes) -> Iterator[bytes]:
    return (digests[start : start + _DIGEST_BYTES] for start in range(0, len(digests), _DIGEST_BYTES))
