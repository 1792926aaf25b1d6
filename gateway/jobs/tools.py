"""Knows what every kind of job is given to work with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.jobs.asking import JobCluster
from gateway.jobs.control import Control
from gateway.jobs.scoring import BulkScorer
from gateway.jobs.spec import Resolved
from gateway.jobs.spool import Spool
from gateway.jobs.store import Job
from gateway.policies import PolicyFile


@dataclass(frozen=True)
class JobTools:
    """The parts that one job's work needs."""

    job: Job
    resolved: Resolved
    spool: Spool
    cluster: JobCluster
    scorer: BulkScorer
    control: Control
    policies: PolicyFile


def tell_now() -> str:
    """As dates stand in destinations."""
    return datetime.now(UTC).isoformat(timespec="seconds")
