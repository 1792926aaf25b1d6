"""Knows what the pages show of bulk jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from redis import RedisError

from gateway.jobs.api import JobsApi, read_page
from gateway.jobs.store import Job, State, Wanted

_LISTED = 200
_ROWS = 20

STATES = {
    "done": "good",
    "running": "good",
    "failed": "bad",
    "cancelled": "plain",
    "paused": "fair",
    "queued": "plain",
    "awaiting_input": "plain",
}
"""The badge of each state."""

_ACTIONS: Mapping[State, Sequence[str]] = {
    "awaiting_input": ("cancel",),
    "queued": ("pause", "cancel"),
    "running": ("pause", "cancel"),
    "paused": ("resume", "cancel"),
    "done": ("retry", "delete"),
    "failed": ("retry", "delete"),
    "cancelled": ("delete",),
}


@dataclass(frozen=True)
class ShownJob:
    """A job as it is shown."""

    job: Job
    wanted: Wanted

    @property
    def told(self) -> dict[str, Any]:
        """As the API tells it."""
        return self.job.tell(self.wanted)

    @property
    def name(self) -> str:
        """What people call it, or the beginning of its id."""
        return str(self.job.spec.get("name") or self.job.id[:8])

    @property
    def created(self) -> str:
        """When."""
        return datetime.fromtimestamp(self.job.created, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def took(self) -> str:
        """From its start to its end, or to now."""
        if not self.job.started:
            return ""
        return tell_time((self.job.ended or datetime.now(UTC).timestamp()) - self.job.started)

    @property
    def left(self) -> str:
        """How long it will still take; empty where that is not known."""
        seconds = self.told["seconds_left"]
        return "" if seconds is None else tell_time(seconds)

    @property
    def actions(self) -> Sequence[str]:
        """What can be asked of it now."""
        if self.job.state == "done" and not self.job.failed:
            return ("delete",)
        return _ACTIONS[self.job.state]

    @property
    def downloads(self) -> Sequence[tuple[str, str]]:
        """Names and addresses, under the job's own."""
        runs = [("TREC run", "results?format=trec")] if self.job.spec["kind"] == "queries" else []
        failures = [("failures", "failures?format=ndjson")] if self.job.failed else []
        results = [("results", "results?format=ndjson"), *runs] if self.job.done else []
        return [*results, *failures]


def find_jobs(jobs: JobsApi) -> Sequence[ShownJob] | None:
    """The newest first; None where Redis does not answer."""
    try:
        return [ShownJob(job, wanted) for job, wanted in jobs.find_all(0, _LISTED)]
    except RedisError:
        return None


def find_job(jobs: JobsApi, job_id: str) -> tuple[ShownJob, Sequence[dict[str, Any]]]:
    """A job, and the first of its failures.

    Raises:
        NoSuchJob: there is none.
        RedisError: it can't be asked.
    """
    job, spool, wanted = jobs.find(job_id)
    return ShownJob(job, wanted), read_page(job, spool, "failures", 0, _ROWS)["failures"]


def tell_time(seconds: float) -> str:
    """In words that are short enough for a table."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
