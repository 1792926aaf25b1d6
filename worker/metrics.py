"""Knows what Prometheus is told of a worker: what it computed, how long jobs waited, what became of them."""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from worker.batching import PassDone, Scored
from worker.contract import ScoreJob
from worker.serving import ServedModels

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_JOBS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class WorkerMetrics:
    """The figures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        labels = ["model", "kind"]
        self._pairs = Counter("rerank_worker_pairs_total", "Pairs scored.", labels, registry=own)
        self._tokens = Counter("rerank_worker_tokens_total", "Tokens of these pairs.", labels, registry=own)
        self._pass = Histogram(
            "rerank_worker_pass_seconds",
            "What a forward pass took.",
            labels,
            buckets=_SECONDS,
            registry=own,
        )
        self._pass_jobs = Histogram(
            "rerank_worker_pass_jobs",
            "Jobs that shared a forward pass.",
            labels,
            buckets=_JOBS,
            registry=own,
        )
        self._wait = Histogram(
            "rerank_worker_queue_wait_seconds",
            "From a job's arrival in the worker to its first forward pass.",
            labels,
            buckets=_SECONDS,
            registry=own,
        )
        self._jobs = Counter(
            "rerank_worker_jobs_total",
            "Jobs, by what became of them.",
            [*labels, "outcome"],
            registry=own,
        )

    def observer(self, model: str) -> PassMetrics:
        """Counts the passes of one model."""
        return PassMetrics(self, model)

    def count_job(self, job: ScoreJob, outcome: str, scored: Scored | None = None) -> None:
        """Count a job: scored, failed, late, cancelled or refused."""
        self._jobs.labels(job.model, _kind(job.bulk), outcome).inc()
        if scored:
            self._wait.labels(job.model, _kind(job.bulk)).observe(scored.queue_ms / 1000)

    def count_pass(self, model: str, done: PassDone) -> None:
        kind = _kind(done.is_bulk)
        self._pairs.labels(model, kind).inc(done.pairs)
        self._tokens.labels(model, kind).inc(done.tokens)
        self._pass.labels(model, kind).observe(done.seconds)
        self._pass_jobs.labels(model, kind).observe(done.jobs)

    def serve(self, port: int, models: ServedModels) -> None:
        """Answer Prometheus on this port, on all addresses.

        Raises:
            OSError: the port is taken.
        """
        self._registry.register(_Moment(models))
        start_http_server(port, registry=self._registry)


class PassMetrics:
    """An `Observer` of one model's batcher."""

    def __init__(self, metrics: WorkerMetrics, model: str) -> None:
        self._metrics, self._model = metrics, model

    def pass_begins(self, pairs: Collection[tuple[str, str]]) -> None:
        """See `Observer`."""

    def pass_ends(self, done: PassDone) -> None:
        """See `Observer`."""
        self._metrics.count_pass(self._model, done)


class _Moment(Collector):
    """What is so at the moment of the question."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def collect(self) -> list[Metric]:
        waiting = GaugeMetricFamily(
            "rerank_worker_jobs_waiting", "Jobs without all scores.", labels=["model"]
        )
        speed = GaugeMetricFamily(
            "rerank_worker_tokens_per_second", "How fast the model computes, of late.", labels=["model"]
        )
        served = GaugeMetricFamily(
            "rerank_worker_model_info", "The models served, with their versions.", labels=["model", "version"]
        )
        for alias, batcher in self._models.items():
            waiting.add_metric([alias], len(batcher.job_ids()))
            speed.add_metric([alias], batcher.speed.tokens_per_s)
            served.add_metric([alias, batcher.loaded.version], 1)
        return [waiting, speed, served]


def _kind(is_bulk: bool) -> str:
    return "bulk" if is_bulk else "search"
