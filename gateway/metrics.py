"""Knows what Prometheus is told of searches and direct scoring, over all processes of this gateway."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where processes share their figures; read when prometheus_client is imported."""

_own = CollectorRegistry()
_searches = Counter(
    "rerank_gateway_searches_total",
    "Searches answered, by what became of their order, and why.",
    ["status", "reason"],
    registry=_own,
)
_pairs = Counter(
    "rerank_gateway_pairs_total",
    "Pairs whose scores were known (cache) or asked for (worker).",
    ["source"],
    registry=_own,
)
_stages = Histogram(
    "rerank_gateway_stage_seconds",
    "What a request spent in each stage; that of searches that a policy covers.",
    ["stage"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=_own,
)
_direct = Counter(
    "rerank_gateway_direct_total",
    "Requests to the rerank APIs, by path and status.",
    ["path", "status"],
    registry=_own,
)
_direct_seconds = Histogram(
    "rerank_gateway_direct_seconds",
    "How long these took.",
    ["path"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=_own,
)


def count_request(
    outcomes: Iterable[tuple[str, str]], stage_ms: Mapping[str, float], *, n_cached: int, n_scored: int
) -> None:
    """Count a request with its searches.

    Args:
        outcomes: each search's status and reason; no reason is an empty one.
    """
    for status, reason in outcomes:
        _searches.labels(status, reason).inc()
    _pairs.labels("cache").inc(n_cached)
    _pairs.labels("worker").inc(n_scored)
    for stage, spent_ms in stage_ms.items():
        _stages.labels(stage).observe(spent_ms / 1000)


def count_direct(path: str, status: int, seconds: float, *, n_cached: int, n_scored: int) -> None:
    """Count a request to a rerank API."""
    _direct.labels(path, str(status)).inc()
    _direct_seconds.labels(path).observe(seconds)
    _pairs.labels("cache").inc(n_cached)
    _pairs.labels("worker").inc(n_scored)


def tell_metrics() -> bytes:
    """All figures in Prometheus's text format."""
    return generate_latest(_all_processes())


def read_figures() -> dict[str, dict[tuple[str, ...], float]]:
    """The same as numbers: by name, and by the values of the labels in the order of their names."""
    figures: dict[str, dict[tuple[str, ...], float]] = {}
    for metric in _all_processes().collect():
        for sample in metric.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            figures.setdefault(sample.name, {})[labels] = sample.value
    return figures


def _all_processes() -> CollectorRegistry:
    if FOLDER not in os.environ:
        return _own
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
