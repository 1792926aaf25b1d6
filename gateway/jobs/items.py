"""Knows the words in which a job's parts speak of its work: batches of items, and what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

Row = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Batch(Generic[T]):
    """Items that are worked on together.

    Attributes:
        cursor: where the source goes on behind them.
    """

    items: Sequence[T]
    cursor: Mapping[str, Any]


@dataclass(frozen=True)
class Write:
    """One operation of a bulk request: its line of action, and its line of source."""

    action: Row
    source: Row


@dataclass(frozen=True)
class Done:
    """An item with its row among the results, and what goes to the destination."""

    row: Row
    place: Row
    pairs: int
    writes: Sequence[Write] = ()


@dataclass(frozen=True)
class Failure:
    """An item that can't be done, and why.

    Attributes:
        place: where it stands in the source, by which it is found again.
    """

    place: Row
    reason: str

    @property
    def row(self) -> Row:
        """As it stands among the failures."""
        return {**self.place, "error": self.reason}


Outcome = Done | Failure


class BeginAnew(Exception):
    """What was done so far does not go together with what would follow."""


class JobFailed(Exception):
    """The job can't go on, whatever the item."""


class Work(Protocol[T]):
    """A kind of job, at work on one."""

    total: int | None
    """Items of this round, where that is known."""

    def batches(self, cursor: Mapping[str, Any] | None) -> Iterator[Batch[T]]:
        """From the cursor on.

        Raises:
            Stopped: the job goes no further.
            BeginAnew, JobFailed: it can't as it did.
        """

    def do(self, batch: Batch[T]) -> list[Outcome]:
        """One outcome an item, in their order; called by several threads.

        Raises:
            Stopped: the job goes no further.
            JobFailed: no item of the job can be done.
        """

    def close(self) -> None:
        """The job has ended: nothing is kept for it."""


@dataclass
class Tally:
    """What was done of late, for rates."""

    _moments: list[tuple[float, int, int]] = field(default_factory=list)
    _OVER_S = 20.0

    def add(self, now: float, pairs: int, items: int) -> None:
        self._moments.append((now, pairs, items))
        while self._moments[0][0] < now - self._OVER_S:
            self._moments.pop(0)

    def rates(self, now: float) -> tuple[float, float]:
        """Pairs and items a second."""
        if not self._moments:
            return 0.0, 0.0
        since = max(now - self._moments[0][0], 1.0)
        return sum(pairs for _, pairs, _ in self._moments) / since, sum(
            items for _, _, items in self._moments
        ) / since
