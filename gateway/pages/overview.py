"""Knows what one look at the product shows: cluster, policies, models, workers, and counted searches."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from gateway.cluster import Cluster, EngineName
from gateway.errors import GatewayError
from gateway.metrics import read_figures
from gateway.policies import PolicyFile
from gateway.scoring import Scorer, ScoringFailed
from gateway.service import Service
from gateway.wire import Header
from search_plugin import Policy, find_policy

_MAX_PATTERNS_CHARS = 2000  # the engines take a first line of 4 kB


@dataclass(frozen=True)
class ClusterLook:
    """The cluster, seen with the rights of who asks.

    Attributes:
        health: green, yellow or red; refused, where that is not told to everybody; unreachable.
        names: as `find_names` tells them.
    """

    health: str
    name: str = ""
    n_nodes: int = 0
    engine: EngineName | None = None
    names: Sequence[str] | None = None


@dataclass(frozen=True)
class CoveredPolicy:
    """A policy and the names that it is the first one to cover now; None: they are not known."""

    policy: Policy
    names: Sequence[str] | None


@dataclass(frozen=True)
class Outcomes:
    """What became of searches since the gateway's start, over all its processes.

    Attributes:
        by_reason: how many by status and reason; no reason is an empty one.
        stages: mean milliseconds by stage.
        n_cached, n_scored: pairs.
    """

    by_reason: Mapping[tuple[str, str], int]
    stages: Mapping[str, float]
    n_cached: int
    n_scored: int

    @property
    def n_searches(self) -> int:
        """All of them."""
        return sum(self.by_reason.values())

    @property
    def rows(self) -> Sequence[tuple[str, str, int]]:
        """Status, reason and how many, most frequent first."""
        return [(*key, count) for key, count in Counter(self.by_reason).most_common()]

    @property
    def cached_share(self) -> float | None:
        """Of all pairs, those whose scores were known."""
        n_pairs = self.n_cached + self.n_scored
        return self.n_cached / n_pairs if n_pairs else None


@dataclass(frozen=True)
class Overview:
    """One look.

    Attributes:
        models: by alias, in the file's order; None where Redis does not answer.
        config_error: why a newer ``rerank.toml`` is not in force.
    """

    at: str
    cluster: ClusterLook
    policies: Sequence[CoveredPolicy]
    models: Mapping[str, Service] | None
    outcomes: Outcomes
    config_error: str | None

    @property
    def unserved(self) -> Sequence[str]:
        """Models of policies that no worker serves."""
        used = dict.fromkeys(one.policy.model for one in self.policies)
        return [alias for alias in used if self.models is not None and not self.models[alias].workers]


def look(cluster: Cluster, scorer: Scorer, file: PolicyFile, credentials: Sequence[Header] = ()) -> Overview:
    """Ask the cluster and Redis; what does not answer is said, never an error.

    Args:
        credentials: headers that tell the cluster who asks.
    """
    config = file.current()
    seen = look_at_cluster(cluster, config.policies, credentials)
    return Overview(
        at=time.strftime("%H:%M:%S %Z"),
        cluster=seen,
        policies=find_covered(config.policies, seen.names),
        models=_observe(scorer, config.models),
        outcomes=read_outcomes(),
        config_error=file.error,
    )


def look_at_cluster(
    cluster: Cluster, policies: Sequence[Policy], credentials: Sequence[Header]
) -> ClusterLook:
    """Its health and the names of what the policies may cover."""
    try:
        status, health = _get(cluster, "/_cluster/health", credentials)
    except GatewayError:
        return ClusterLook("unreachable")
    names = find_names(cluster, policies, credentials)
    engine = cluster.find_engine()
    if status != 200 or not isinstance(health, dict):
        return ClusterLook("refused", engine=engine, names=names)
    return ClusterLook(
        health=str(health.get("status")),
        name=str(health.get("cluster_name")),
        n_nodes=int(health.get("number_of_nodes", 0)),
        engine=engine,
        names=names,
    )


def find_names(
    cluster: Cluster, policies: Sequence[Policy], credentials: Sequence[Header]
) -> Sequence[str] | None:
    """Indices, aliases and data streams that policies may cover, by name; None where they are not told."""
    wanted = _write_patterns(policies)
    if not wanted:
        return ()
    try:
        _, resolved = _get(cluster, f"/_resolve/index/{wanted}", credentials)
    except GatewayError:
        return None
    return _read_names(resolved)


def find_covered(policies: Sequence[Policy], names: Sequence[str] | None) -> list[CoveredPolicy]:
    """The first policy that covers a name counts for it, as for a search."""
    if names is None:
        return [CoveredPolicy(policy, None) for policy in policies]
    covering = {name: find_policy((name,), policies) for name in names}
    return [
        CoveredPolicy(policy, [name for name, found in covering.items() if found is policy])
        for policy in policies
    ]


def read_outcomes() -> Outcomes:
    """Take the counts from the figures that Prometheus is told."""
    figures = read_figures()
    searches, pairs, spent, counted = (
        figures.get(f"rerank_gateway_{name}", {})
        for name in ("searches_total", "pairs_total", "stage_seconds_sum", "stage_seconds_count")
    )
    return Outcomes(
        by_reason={(status, reason): int(count) for (reason, status), count in searches.items()},
        stages={stage: 1000 * spent[(stage,)] / count for (stage,), count in counted.items() if count},
        n_cached=int(pairs.get(("cache",), 0)),
        n_scored=int(pairs.get(("worker",), 0)),
    )


def _get(cluster: Cluster, target: str, credentials: Sequence[Header]) -> tuple[int, Any]:
    """Status and JSON, None for what is none."""
    answer = cluster.send("GET", target, [(b"Accept", b"application/json"), *credentials])
    try:
        return answer.status, json.loads(answer.read())
    except ValueError:
        return answer.status, None


def _write_patterns(policies: Sequence[Policy]) -> str:
    """What may match the policies' patterns; more than them, as a name that does not exist is an error.

    Without date math and other clusters' names, which would be asked.
    """
    patterns = dict.fromkeys(
        f"{quote(pattern.rstrip('*'), safe='*')}*"
        for policy in policies
        for pattern in policy.indices
        if not pattern.startswith(("<", "-")) and ":" not in pattern
    )
    wanted = ",".join(patterns)
    return wanted if len(wanted) <= _MAX_PATTERNS_CHARS else "*"


def _read_names(resolved: object) -> list[str] | None:
    """Without those that begin with a dot, which are the engine's own."""
    if not isinstance(resolved, dict) or "indices" not in resolved:
        return None
    found: Iterable[str] = (
        one["name"] for kind in ("indices", "aliases", "data_streams") for one in resolved.get(kind, ())
    )
    return sorted({name for name in found if not name.startswith(".")})


def _observe(scorer: Scorer, models: Iterable[str]) -> Mapping[str, Service] | None:
    try:
        return {service.alias: service for service in scorer.observe(models)}
    except ScoringFailed:
        return None
