"""Knows how jobs stand in Redis: a hash each, its state written by its runner, and what people want of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self

from redis import Redis

from worker.contract import JOBS_KEY, MARK_LIFE_S, job_key, runner_key

State = Literal["awaiting_input", "queued", "running", "paused", "done", "failed", "cancelled"]
Wanted = Literal["run", "pause", "cancel", "retry"]

ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class Job:
    """What is known of a job.

    Attributes:
        spec: as it was asked for.
        state: what its runner has made of it last.
        created, started, ended: epoch seconds; 0: not yet.
        round: 0 at first, one more with each retry of what failed.
        home: the folder of jobs where its files are.
        cursor: where its source goes on; None at its beginning.
        total: items of this round; None while that is not known.
        done, failed: items; ``failed`` are those of the newest round.
        seen: items of this round that are behind the cursor.
        pairs: that were scored or known.
        results_bytes, failures_bytes: how much of its files counts.
        pairs_per_s, items_per_s: of late.
        trouble: for what it waits; empty: for nothing.
        error: why it failed.
        anew: how often it began anew.
        touched: when its runner wrote this.
    """

    id: str
    spec: Mapping[str, Any]
    state: State
    created: float
    home: str = ""
    started: float = 0.0
    ended: float = 0.0
    round: int = 0
    cursor: Mapping[str, Any] | None = None
    total: int | None = None
    done: int = 0
    failed: int = 0
    seen: int = 0
    pairs: int = 0
    results_bytes: int = 0
    failures_bytes: int = 0
    pairs_per_s: float = 0.0
    items_per_s: float = 0.0
    trouble: str = ""
    error: str = ""
    anew: int = 0
    touched: float = 0.0

    def to_fields(self) -> dict[str, str]:
        return {name: json.dumps(value) for name, value in asdict(self).items()}

    @classmethod
    def from_fields(cls, told: Mapping[bytes, bytes]) -> Self:
        names = {field.name for field in fields(cls)}
        found = {name.decode(): value for name, value in told.items()}
        return cls(**{name: json.loads(value) for name, value in found.items() if name in names})

    def tell(self, wanted: Wanted = "run") -> dict[str, Any]:
        """As people read it."""
        left = None if self.total is None else max(self.total - self.seen, 0)
        seconds_left = None
        if left is not None and self.items_per_s and self.state == "running":
            seconds_left = round(left / self.items_per_s)
        return {
            "id": self.id,
            "name": self.spec.get("name", ""),
            "kind": self.spec["kind"],
            "state": self.state,
            **({"wanted": wanted} if _is_under_way(self.state, wanted) else {}),
            "created": self.created,
            "started": self.started or None,
            "ended": self.ended or None,
            "items": {"done": self.done, "failed": self.failed, "total": self.total, "left": left},
            "round": self.round,
            "pairs": self.pairs,
            "pairs_per_s": round(self.pairs_per_s, 1),
            "seconds_left": seconds_left,
            "trouble": self.trouble or None,
            "error": self.error or None,
            "spec": dict(self.spec),
        }


_ANSWERS: Mapping[Wanted, frozenset[State]] = {
    "run": frozenset(),
    "pause": frozenset({"paused", *ENDED}),
    "cancel": ENDED,
    "retry": frozenset(),
}


def _is_under_way(state: State, wanted: Wanted) -> bool:
    return wanted != "run" and state not in _ANSWERS[wanted]


@dataclass(frozen=True)
class JobStore:
    """The jobs that Redis knows. Every method raises ``RedisError`` where Redis can't be asked."""

    redis: Redis

    def create(self, job: Job, secret: str = "") -> None:
        """Note a new job; ``secret`` is kept until it ends."""
        with self.redis.pipeline() as pipeline:
            self._write(pipeline, job)
            pipeline.hset(job_key(job.id), "wanted", "run")
            if secret:
                pipeline.hset(job_key(job.id), "secret", secret)
            pipeline.execute()

    def write(self, job: Job) -> None:
        """Note how far it is; all of it, so that a Redis that has lost it knows it again."""
        with self.redis.pipeline() as pipeline:
            self._write(pipeline, replace(job, touched=time.time()))
            if job.state in ENDED:
                pipeline.hdel(job_key(job.id), "secret")
            pipeline.execute()

    def find(self, job_id: str) -> tuple[Job, Wanted] | None:
        """The job and what people want of it."""
        told: Any = self.redis.hgetall(job_key(job_id))
        return (Job.from_fields(told), _read_wanted(told)) if b"spec" in told else None

    def find_all(self, offset: int = 0, size: int = 1000) -> list[tuple[Job, Wanted]]:
        """The newest first."""
        ids: Any = self.redis.zrevrange(JOBS_KEY, offset, offset + size - 1)
        with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in ids:
                pipeline.hgetall(job_key(job_id.decode()))
            answers = pipeline.execute()
        return [(Job.from_fields(told), _read_wanted(told)) for told in answers if b"spec" in told]

    def want(self, job_id: str, wanted: Wanted, secret: str = "") -> None:
        """Tell its runner."""
        self.redis.hset(job_key(job_id), mapping={"wanted": wanted, **({"secret": secret} if secret else {})})

    def mark_runner(self, home: str) -> None:
        """Somebody runs the jobs of this folder, for the next seconds."""
        self.redis.set(runner_key(home), b"", px=int(MARK_LIFE_S * 1000))

    def has_runner(self, home: str) -> bool:
        """Does anybody?"""
        return bool(self.redis.exists(runner_key(home)))

    def tell_trouble(self, job_id: str, trouble: str) -> None:
        """For what it waits."""
        self.redis.hset(job_key(job_id), "trouble", json.dumps(trouble))

    def read_secret(self, job_id: str) -> str:
        """What was kept for it; empty: nothing."""
        secret: Any = self.redis.hget(job_key(job_id), "secret")
        return secret.decode() if secret else ""

    def forget(self, job_id: str) -> None:
        """Delete all that is known of it."""
        with self.redis.pipeline() as pipeline:
            pipeline.delete(job_key(job_id))
            pipeline.zrem(JOBS_KEY, job_id)
            pipeline.execute()

    @staticmethod
    def _write(pipeline: Any, job: Job) -> None:
        pipeline.hset(job_key(job.id), mapping=job.to_fields())
        pipeline.zadd(JOBS_KEY, {job.id: job.created})


def _read_wanted(told: Mapping[bytes, bytes]) -> Wanted:
    wanted: Any = told.get(b"wanted", b"run").decode()
    return wanted  # type: ignore[no-any-return]
