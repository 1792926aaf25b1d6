"""Knows what happens to one job: read, batched, answered; no message makes the task itself fail."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from celery import Celery
from redis import Redis, RedisError

from worker.batching import Batcher, CancelledJobError, LateError, ScoringError
from worker.contract import (
    SCORE_TASK,
    ContractError,
    ScoreJob,
    ScoreReply,
    cancelled_key,
    read_job_id,
    reply_key,
)

logger = logging.getLogger(__name__)

_REPLY_GRACE_MS = 1_000  # a reply outlives its deadline by this: two machines' clocks differ
_REPLY_LIFE_MAX_MS = 300_000
_ERROR_MAX_CHARS = 500


@dataclass(frozen=True)
class ServedModel:
    """A resident model as the task sees it."""

    batcher: Batcher
    version: str


def add_score_task(app: Celery, models: Mapping[str, ServedModel], redis: Redis) -> None:
    """Register the score task with the models to serve by alias.

    The task pushes one reply to the job's reply list, none if the job is late or cancelled. A message that
    is no job gets an error reply if its id can be read. The task returns either way, so each message is
    acknowledged.
    """

    def score(message: object = None, *_: object) -> None:
        try:
            job = ScoreJob.from_message(message)
        except ContractError as error:
            logger.warning("score.refused: %s", _shorten(error))
            if job_id := read_job_id(message):
                _push(redis, ScoreReply(id=job_id, error=_shorten(error)), math.inf)
            return
        try:
            reply = _score(job, models)
        except CancelledJobError:
            logger.info("score.cancelled id=%s model=%s", job.id, job.model)
        except LateError:
            logger.info("score.late id=%s model=%s", job.id, job.model)
        else:
            _push(redis, reply, job.deadline)

    app.task(score, name=SCORE_TASK)


def find_cancelled(redis: Redis, job_ids: Sequence[str]) -> frozenset[str]:
    """Those of the jobs that were cancelled; none where Redis can't be asked."""
    try:
        marks = redis.mget([cancelled_key(job_id) for job_id in job_ids])
    except RedisError as error:
        logger.warning("cancelled.unknown: %s", error)
        return frozenset()
    return frozenset(job_id for job_id, mark in zip(job_ids, marks, strict=True) if mark is not None)


def _score(job: ScoreJob, models: Mapping[str, ServedModel]) -> ScoreReply:
    served = models.get(job.model)
    if served is None:
        return ScoreReply(id=job.id, error=f"model: {job.model} is not served here")
    try:
        scored = served.batcher.submit(job).result()
    except LateError:
        raise
    except ScoringError as error:
        logger.warning("score.failed id=%s model=%s: %s", job.id, job.model, error)
        return ScoreReply(id=job.id, error=_shorten(error), model_version=served.version)
    logger.info(
        "score.complete id=%s model=%s passages=%d queue_ms=%.1f model_ms=%.1f",
        job.id, job.model, len(scored.scores), scored.queue_ms, scored.model_ms,
    )  # fmt: skip
    return ScoreReply(
        id=job.id,
        scores=scored.scores,
        queue_ms=scored.queue_ms,
        model_ms=scored.model_ms,
        model_version=served.version,
    )


def _push(redis: Redis, reply: ScoreReply, deadline: float) -> None:
    """Push the reply for whoever waits; it goes away by itself if nobody does."""
    remaining_ms = max(0.0, deadline - time.time()) * 1000
    life_ms = int(min(remaining_ms, _REPLY_LIFE_MAX_MS)) + _REPLY_GRACE_MS
    try:
        with redis.pipeline() as pipeline:
            pipeline.rpush(reply_key(reply.id), reply.to_message())
            pipeline.pexpire(reply_key(reply.id), life_ms)
            pipeline.execute()
    except RedisError as error:
        logger.warning("reply.lost id=%s: %s", reply.id, error)


def _shorten(error: Exception) -> str:
    return str(error)[:_ERROR_MAX_CHARS]
