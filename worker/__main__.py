"""``python -m worker``: read the settings, load the models, and only then take jobs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from redis import Redis, RedisError
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from worker.contract.address import RedisAddress
from worker.contract.logs import Event, configure_logging
from worker.contract.traces import begin_tracing
from worker.errors import ConfigError, WorkerError
from worker.settings import ModelSettings, WorkerSettings, read_models, read_settings

logger = logging.getLogger("worker")

_REDIS_TIMEOUT_S = 2.0
_REDIS_RETRY = Retry(ExponentialWithJitterBackoff(cap=1, base=0.01), 10)  # some 2 s


def main(argv: Sequence[str]) -> int:
    """Run a worker until it is told to stop (SIGTERM, SIGINT: after the jobs it has taken).

    Returns:
        The exit code: 0, or 2, after one line on stderr, if a setting is wrong or a model can't be loaded.
    """
    try:
        settings = read_settings(argv)
        read_models(settings)  # a mistake is told of before torch takes its seconds
        if not sys.stderr.isatty():
            os.environ.setdefault("TQDM_DISABLE", "1")  # transformers' progress bars are no log lines
        if "OMP_WAIT_POLICY" not in os.environ:
            # threads of a pass soon sleep where they wait for each other; else they keep the core that the
            # awaited one needs, and a pass takes many times as long where others use the cores too
            os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        configure_logging(settings.log_format, settings.log_level)
        serve(settings, partial(read_models, settings))
    except WorkerError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    return 0


def serve(settings: WorkerSettings, read: Callable[[], Mapping[str, ModelSettings]]) -> None:
    """Load every model, then score jobs until a signal ends it.

    Args:
        read: tells which models are wanted, now and whenever they may have changed.

    Raises:
        ModelError: a model can't be loaded; no job was taken.
    """
    # here, since torch takes seconds that --help and a wrong option should not
    from celery import Celery
    from celery.worker import state

    from worker.app import consume, create_app
    from worker.batching import Batcher
    from worker.clock import RedisClock
    from worker.handover import Hands
    from worker.identity import make_worker_id
    from worker.journal import Journal, KnownSuspects
    from worker.metrics import WorkerMetrics
    from worker.outbox import Outbox
    from worker.resident import ResidentModel, load_model
    from worker.residents import Residents
    from worker.serving import ServingMark
    from worker.tasks import add_score_tasks, watch_cancelled
    from worker.watchdog import Watchdog

    begin_tracing("rerank-worker", settings.traces_endpoint, settings.traces_ratio)
    redis = RedisAddress.from_url(settings.redis_url).connect(
        socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S, retry=_REDIS_RETRY
    )
    worker_id = make_worker_id()
    clock, suspects, metrics = RedisClock(), KnownSuspects(redis), WorkerMetrics()
    hands = Hands(settings.concurrency)

    @cache
    def keep_journal(alias: str) -> Journal:
        return Journal(redis, f"{worker_id}/{alias}")

    def load(alias: str, model: ModelSettings) -> Batcher[ResidentModel]:
        batcher = Batcher(
            partial(load_model, alias, model),
            pass_s=settings.pass_ms / 1000,
            clock=clock.now,
            observers=[keep_journal(alias), metrics.observer(alias)],
            suspects=suspects,
            name=f"scoring-{alias}",
        )
        batcher.measure()
        logger.info(Event("model.loaded", model=alias, version=batcher.loaded.version))
        return batcher

    served = Residents(load, read)
    mark = ServingMark(redis, worker_id, served, clock, suspects, served.tell_problem)
    outbox = Outbox(redis, clock, cache_ttl_s=settings.cache_ttl_s, cache_queries=settings.cache_queries)
    watch_cancelled(redis, served)
    if settings.watch_s:
        served.watch(settings.watch_s)
    watchdog = Watchdog(
        served,
        pass_limit_s=settings.pass_limit_s,
        silence_limit_s=settings.silence_limit_s,
        is_in_touch=lambda: state.should_stop is None and _answers(redis),
        is_busy=hands.are_full,
    )
    if settings.metrics_port:
        try:
            metrics.serve(settings.metrics_port, served)
        except OSError as error:
            raise ConfigError(f"--metrics-port: {settings.metrics_port}: {error.strerror}") from error

    def has_room_for_bulk() -> bool:
        watchdog.consumer_looks()
        return all(batcher.has_room_for_bulk() for batcher in served.values())

    def make_app() -> Celery:
        app = create_app(settings, has_room_for_bulk)
        add_score_tasks(app, served, redis, clock, outbox, metrics, hands)
        return app

    mark.prepare()
    watchdog.start()
    consume(make_app, settings, mark)
    served.close()


def _answers(redis: Redis) -> bool:
    try:
        return bool(redis.ping())
    except RedisError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
