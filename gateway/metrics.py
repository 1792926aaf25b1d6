"""Knows what Prometheus is told: searches, direct scoring, the moment; over all processes of this gateway."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from gateway.service import Service

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
_experiment_searches = Counter(
    "rerank_gateway_experiment_searches_total",
    "Searches of experiments: counted, compared, failed, without_unit, lost (Redis could not note them).",
    ["experiment", "arm", "outcome"],
    registry=_own,
)
_experiment_events = Counter(
    "rerank_gateway_experiment_events_total",
    "Events that users' applications have sent, by what became of them.",
    ["outcome"],
    registry=_own,
)


def count_trial(experiment: str, arm: str, outcome: str) -> None:
    """Count a search of an experiment; no arm is an empty one."""
    _experiment_searches.labels(experiment, arm, outcome).inc()


def count_events(outcomes: Iterable[str]) -> None:
    """Count events by what became of each."""
    for outcome in outcomes:
        _experiment_events.labels(outcome).inc()


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


def tell_metrics(*, services: Sequence[Service] | None, is_config_newest: bool) -> bytes:
    """All figures in Prometheus's text format.

    Args:
        services: what is so of each model now; None where Redis cannot be asked.
        is_config_newest: the ``rerank.toml`` in force is the one that is there.
    """
    moment = CollectorRegistry()
    moment.register(_Moment(services, is_config_newest))
    return generate_latest(_all_processes()) + generate_latest(moment)


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


class _Moment(Collector):
    """What is so at the moment of the question, and the same whichever process is asked."""

    def __init__(self, services: Sequence[Service] | None, is_config_newest: bool) -> None:
        self._services = services
        self._is_config_newest = is_config_newest

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("rerank_gateway_build_info", "What runs here.", labels=["version"])
        build.add_metric([_find_version()], 1)
        yield build
        is_up, is_newest = self._services is not None, self._is_config_newest
        yield GaugeMetricFamily("rerank_gateway_redis_up", "Redis answers (1) or not (0).", is_up)
        yield GaugeMetricFamily(
            "rerank_gateway_config_ok",
            "The rerank.toml that is there is in force (1) or wrong (0).",
            is_newest,
        )
        for name, (help_text, read) in _OF_SERVICES.items():
            figure = GaugeMetricFamily(f"rerank_gateway_model_{name}", help_text, labels=["model"])
            for service in self._services or ():
                figure.add_metric([service.alias], read(service))
            yield figure


_OF_SERVICES: Mapping[str, tuple[str, Callable[[Service], float]]] = {
    "workers": ("Workers that serve a model.", lambda service: len(service.workers)),
    "versions": ("Different versions that they serve.", lambda service: len(service.versions)),
    "load_seconds": (
        "What workers need for the jobs that searches wait for.",
        lambda service: service.load_s,
    ),
    "bulk_waiting": ("Jobs that no search waits for, not yet taken.", lambda service: service.n_bulk),
}


def _find_version() -> str:
    try:
        return version("rerank-sidecar")
    except PackageNotFoundError:  # run from its sources
        return "unknown"
