"""Knows when to stop asking what keeps failing, and when to try again."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

_TRIPS_AFTER = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 10.0


class Breaker:
    """Open after some failures in a row, for a pause that doubles up to a limit; then one caller tries.

    What is neither success nor failure (`forget`) changes nothing but lets another one try.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._opened = 0.0
        self._succeeded = -math.inf
        self._is_tried = False

    @property
    def is_open(self) -> bool:
        """Are callers turned away, but for the one that tries?"""
        return self._failures >= _TRIPS_AFTER

    def admit(self) -> bool:
        """May the caller go on? Then it must report one of the three below."""
        with self._lock:
            if not self.is_open:
                return True
            if self._is_tried or time.monotonic() < self._opened + self._pause_s:
                return False
            self._is_tried = True
            return True

    def succeed(self) -> None:
        with self._lock:
            self._failures = 0
            self._pause_s = _FIRST_PAUSE_S
            self._is_tried = False
            self._succeeded = time.monotonic()

    def fail(self, started: float) -> None:
        """Count a failure, unless another caller succeeded meanwhile: under load some are late.

        Args:
            started: when the caller was admitted, of ``time.monotonic()``.
        """
        with self._lock:
            if self._succeeded > started:
                self._is_tried = False
                return
            if self._is_tried:
                self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            self._is_tried = False
            self._failures += 1
            self._opened = time.monotonic()

    def forget(self) -> None:
        with self._lock:
            self._is_tried = False


class Attempt:
    """One caller's way past a breaker after another; what it ends with is told to the last that admitted it.

    It may end in one thread, once for all, while another thread would still go on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._breaker: Breaker | None = None
        self._is_over = False

    def enter(self, breaker: Breaker) -> bool:
        """Does this breaker let it go on? What the one before guards has done its part then."""
        with self._lock:
            if self._is_over:
                return False
            if self._breaker:
                self._breaker.succeed()
            self._breaker = breaker if breaker.admit() else None
            return self._breaker is not None

    def succeed(self) -> None:
        self._end(Breaker.succeed)

    def fail(self) -> None:
        self._end(lambda breaker: breaker.fail(self._started))

    def forget(self) -> None:
        self._end(Breaker.forget)

    def _end(self, tell: Callable[[Breaker], None]) -> None:
        with self._lock:
            self._is_over = True
            if self._breaker:
                tell(self._breaker)
