"""Knows which node is next: each in turn, those that cannot be reached now and then; no I/O."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from worker.contract.logs import Event

NodeT = TypeVar("NodeT")

BACKOFF_MAX_S = 30.0

logger = logging.getLogger(__name__)


class _Outage(NamedTuple):
    failures: int
    failed_at: float
    tried_at: float

    @property
    def backoff_s(self) -> float:
        """1, 2, 4 … seconds."""
        return min(2.0 ** (self.failures - 1), BACKOFF_MAX_S)


class NodePool(Generic[NodeT]):
    """The nodes of one cluster and their outages; used by all threads.

    A dead node is tried again by one request each time its back-off has passed, while the others go to live
    nodes. If all are dead, the one whose last try is the longest ago is tried.

    Args:
        nodes: at least one.
        clock: monotonic seconds.
    """

    def __init__(self, nodes: Sequence[NodeT], clock: Callable[[], float] = time.monotonic) -> None:
        self._nodes = tuple(nodes)
        self._clock = clock
        self._turns = itertools.count()
        self._dead: dict[NodeT, _Outage] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"<NodePool {len(self._nodes) - len(self._dead)} of {len(self._nodes)} live>"

    def pick(self, avoid: NodeT | None = None) -> NodeT:
        """The node to send the next request to, another than ``avoid`` if there is a live one."""
        if not self._dead and avoid is None:
            return self._nodes[next(self._turns) % len(self._nodes)]
        with self._lock:
            others = [node for node in self._nodes if node not in self._dead and node != avoid]
            if avoid is not None and others:
                return others[next(self._turns) % len(others)]
            return self._pick_among_dead() if self._dead else self._nodes[0]

    def mark_dead(self, node: NodeT) -> None:
        """It could not be reached; several requests that find this at once count as one failure."""
        with self._lock:
            now = self._clock()
            outage = self._dead.get(node, _Outage(0, now, now))
            if outage.failures == 0 or now >= outage.failed_at + outage.backoff_s:
                outage = self._dead[node] = _Outage(outage.failures + 1, now, now)
                logger.warning(Event("node.dead", node=node, backoff_s=outage.backoff_s))

    def mark_live(self, node: NodeT) -> None:
        """It has answered."""
        if self._dead:
            with self._lock:
                if self._dead.pop(node, None):
                    logger.warning(Event("node.live", node=node))

    def _pick_among_dead(self) -> NodeT:
        now = self._clock()
        due = [node for node, outage in self._dead.items() if now >= outage.tried_at + outage.backoff_s]
        live = [node for node in self._nodes if node not in self._dead]
        if live and not due:
            return live[next(self._turns) % len(live)]
        node = min(due or self._dead, key=lambda node: self._dead[node].tried_at)
        self._dead[node] = self._dead[node]._replace(tried_at=now)
        return node
