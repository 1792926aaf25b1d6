"""Knows when to stop asking what keeps failing, and when to try again."""

from __future__ import annotations

import math
import threading
import time

_TRIPS_AFTER = 5
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


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
