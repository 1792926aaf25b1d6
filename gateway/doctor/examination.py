"""Knows all checks, and that none may keep the others waiting: a cluster or a Redis may hang."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from threading import Thread

from redis import RedisError

from gateway.doctor.cluster import check_cluster
from gateway.doctor.experiments import check_experiments
from gateway.doctor.finding import Finding, hint, problem
from gateway.doctor.listeners import check_listeners
from gateway.doctor.policies import check_config, check_policies
from gateway.doctor.redis import check_redis
from gateway.doctor.surroundings import Surroundings
from gateway.doctor.workers import check_workers
from gateway.errors import GatewayError

Check = Callable[[Surroundings], Iterable[Finding]]

CHECKS: Mapping[str, Check] = {
    "config": check_config,
    "cluster": check_cluster,
    "redis": check_redis,
    "workers": check_workers,
    "policies": check_policies,
    "experiments": check_experiments,
    "listeners": check_listeners,
}
"""By the part that each looks at: its findings begin with this name."""


def examine(around: Surroundings, limit_s: float = 20.0) -> list[Finding]:
    """All findings, check by check; those that are not there within ``limit_s`` are problems."""
    found: dict[str, list[Finding]] = {name: [] for name in CHECKS}
    threads = {
        name: Thread(target=_run, args=(check, name, around, found[name]), daemon=True)
        for name, check in CHECKS.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + limit_s
    for name, thread in threads.items():
        thread.join(max(deadline - time.monotonic(), 0.0))
        if thread.is_alive():
            late = f"no answer within {limit_s:g} s"
            found[name] = [*found[name], problem(name, late, "look at the load of what does not answer")]
    return [finding for findings in found.values() for finding in findings]


def _run(check: Check, name: str, around: Surroundings, found: list[Finding]) -> None:
    """What a check has found before it fails is kept; of what it fails on, another check tells."""
    try:
        found.extend(check(around))
    except RedisError:
        found.append(hint(name, "not looked at: Redis fails", "see what is said of Redis"))
    except GatewayError:
        found.append(hint(name, "not looked at: the cluster fails", "see what is said of the cluster"))
