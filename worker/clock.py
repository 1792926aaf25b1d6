"""Knows what time it is in Redis, the one clock that gateways and workers share."""

from __future__ import annotations

import time

from redis import Redis


class RedisClock:
    """Redis's epoch seconds, between two looks by this host's monotonic clock.

    Before the first look it is the host's own time.
    """

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._ahead_s

    def look(self, redis: Redis) -> None:
        """Ask Redis.

        Raises:
            RedisError: it can't be asked.
        """
        before = time.monotonic()
        seconds, microseconds = redis.time()
        self._ahead_s = seconds + microseconds / 1e6 - (before + time.monotonic()) / 2
