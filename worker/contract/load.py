"""Who serves a model and how fast, what is under way for it, and whether one job more can be done in time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Self

from worker.contract.messages import ScoreJob

MARK_LIFE_S = 5.0
"""A worker that has told nothing for so long serves no more."""

FREE_SHARES = 4
"""How many times what is still free one policy may hold: alone it gets 4/5 of all, two get 4/9 each."""


@dataclass(frozen=True)
class Serving:
    """What one worker tells of a model that it serves.

    Attributes:
        renewed: when it told this, on Redis's clock.
        speed: characters of queries and passages that it scores in a second; 0 where it has not measured.
        max_characters: of a text, behind which the model reads nothing.
        release: what people call this version, where it has a name.
        problem: why it does not serve a newer one; empty if it serves what it should.
    """

    version: str
    renewed: float
    speed: float = 0.0
    max_characters: int = 0
    release: str = ""
    problem: str = ""

    def to_field(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_field(cls, field: bytes) -> Self:
        told = json.loads(field)  # a newer worker may tell more
        return cls(**{name: told[name] for name in cls.__dataclass_fields__ if name in told})


@dataclass(frozen=True)
class ServingModel:
    """What all workers together tell of a model; ``speed`` 0: none has measured.

    While versions are exchanged there are several: ``version`` is what most workers serve.
    """

    n_workers: int
    version: str
    speed: float
    max_characters: int

    @classmethod
    def from_hash(cls, fields: Mapping[bytes, bytes], now: float) -> Self | None:
        """Read a serving hash; None where nobody serves the model.

        Args:
            now: on Redis's clock.
        """
        told = [Serving.from_field(field) for field in fields.values()]
        alive = [worker for worker in told if worker.renewed > now - MARK_LIFE_S]
        if not alive:
            return None
        versions = Counter(worker.version for worker in sorted(alive, key=lambda worker: worker.version))
        limits = [worker.max_characters for worker in alive if worker.max_characters]
        return cls(
            n_workers=len(alive),
            version=versions.most_common(1)[0][0],
            speed=sum(worker.speed for worker in alive),
            max_characters=min(limits, default=0),
        )


@dataclass(frozen=True)
class Entry:
    """A job, or a part of it, among those under way; ``cost`` in characters."""

    job_id: str
    part: int
    cost: int
    policy: str

    @classmethod
    def of(cls, job: ScoreJob) -> Self:
        return cls(job.id, job.part, job.cost, job.policy)

    def to_member(self) -> str:
        return f"{self.job_id}:{self.part}:{self.cost}:{self.policy}"

    @classmethod
    def from_member(cls, member: bytes) -> Self:
        job_id, part, cost, policy = member.decode().split(":", 3)
        return cls(job_id, int(part), int(cost), policy)


@dataclass(frozen=True)
class Load:
    """The cost of the jobs under way, in characters, by policy."""

    by_policy: Mapping[str, int]

    @classmethod
    def from_entries(cls, members: Iterable[tuple[bytes, float]], now: float) -> Self:
        """Add up the entries whose deadline, on Redis's clock as ``now``, has not passed."""
        by_policy: Counter[str] = Counter()
        for member, deadline in members:
            if deadline > now:
                entry = Entry.from_member(member)
                by_policy[entry.policy] += entry.cost
        return cls(by_policy)

    @property
    def total(self) -> int:
        return sum(self.by_policy.values())

    def admits(self, policy: str, cost: int, capacity: float) -> bool:
        """Can a job of this cost be done in time, and leave others their share?

        Where nothing is under way it is let in, whatever the estimate, which mends itself by that.

        Args:
            capacity: characters that the workers score until the job's deadline.
        """
        if not self.total:
            return True
        free = capacity - self.total
        return cost <= free and self.by_policy.get(policy, 0) + cost <= FREE_SHARES * free
