"""``python -m worker``: read the settings, load the models, and only then take jobs."""

from __future__ import annotations

import logging
import os
import socket
import sys
import uuid
from collections.abc import Mapping, Sequence

from worker.errors import WorkerError
from worker.settings import ModelSettings, WorkerSettings, read_models, read_settings

logger = logging.getLogger("worker")

_REDIS_TIMEOUT_S = 2.0


def main(argv: Sequence[str]) -> int:
    """Run a worker until it is told to stop (SIGTERM, SIGINT: after the jobs it has taken).

    Returns:
        The exit code: 0, or 2, after one line on stderr, if a setting is wrong or a model can't be loaded.
    """
    try:
        settings = read_settings(argv)
        models = read_models(settings)
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
        serve(settings, models)
    except WorkerError as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    return 0


def serve(settings: WorkerSettings, models: Mapping[str, ModelSettings]) -> None:
    """Load every model, then score jobs until a signal ends it.

    Raises:
        ModelError: a model can't be loaded; no job was taken.
    """
    # here, since torch takes seconds that --help and a wrong option should not
    from celery import Celery
    from redis import Redis

    from worker.app import consume, create_app
    from worker.batching import Batcher
    from worker.clock import RedisClock
    from worker.outbox import Outbox
    from worker.resident import load_model
    from worker.serving import ServedModel, ServingMark
    from worker.tasks import add_score_task, watch_cancelled

    redis = Redis.from_url(
        str(settings.redis_url), socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=_REDIS_TIMEOUT_S
    )
    clock = RedisClock()
    served = {}
    for alias, model in models.items():
        resident = load_model(alias, model)
        batcher = Batcher(
            resident.scorer, pass_s=settings.pass_ms / 1000, clock=clock.now, name=f"scoring-{alias}"
        )
        batcher.measure()
        served[alias] = ServedModel(batcher, resident.version, resident.max_characters)
        logger.info("model.loaded model=%s version=%s", alias, resident.version)

    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    mark = ServingMark(redis, worker_id, served, clock)
    outbox = Outbox(redis, clock, cache_ttl_s=settings.cache_ttl_s, cache_queries=settings.cache_queries)
    watch_cancelled(redis, served)

    def make_app() -> Celery:
        app = create_app(
            settings, lambda: all(model.batcher.has_room_for_bulk() for model in served.values())
        )
        add_score_task(app, served, redis, outbox)
        return app

    consume(make_app, settings, mark)
    for served_model in served.values():
        served_model.batcher.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
