"""Knows how many requests an address may still send; no clock of its own."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

_BURST_S = 10.0
_MOST_PEERS = 10_000


class RateLimit:
    """A bucket for each address, which fills with time; used by all threads at once.

    Args:
        per_s: requests a second, on average over ten.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s, self._most = per_s, max(per_s * _BURST_S, 1.0)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # peer → requests left, and when
        self._lock = Lock()

    def admits(self, peer: str, now: float) -> bool:
        """May this address send one more now? If so it is counted."""
        with self._lock:
            left, since = self._left.pop(peer, (self._most, now))
            left = min(self._most, left + (now - since) * self._per_s)
            is_admitted = left >= 1
            self._left[peer] = (left - is_admitted, now)
            if len(self._left) > _MOST_PEERS:
                self._left.popitem(last=False)
        return is_admitted
