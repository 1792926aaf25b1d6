"""Knows what happens to one job: read, batched, answered; no message makes the task itself fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial

from celery import Celery
from redis import Redis, RedisError

from worker.batching import CancelledJobError, ClosedError, LateError, Scored, ScoringError
from worker.clock import RedisClock
from worker.contract import (
    SCORE_MANY_TASK,
    SCORE_TASK,
    ContractError,
    ScoreJob,
    ScoreJobs,
    ScoreReplies,
    ScoreReply,
    cancelled_key,
    read_job_id,
)
from worker.contract.logs import Event
from worker.contract.traces import current_span, tell
from worker.handover import HandOver, Hands
from worker.metrics import WorkerMetrics
from worker.outbox import Outbox
from worker.serving import ServedModels

logger = logging.getLogger(__name__)

_ERROR_MAX_CHARS = 500
_CANCELLED_POLL_S = 0.05


def add_score_tasks(
    app: Celery,
    models: ServedModels,
    redis: Redis,
    clock: RedisClock,
    outbox: Outbox,
    metrics: WorkerMetrics,
    hands: Hands,
) -> None:
    """Register the score tasks with the models to serve by alias.

    A task pushes one reply to the message's reply list, none if its job is late or cancelled. A message that
    is no job gets an error reply if its id can be read. The task returns either way, so each message is
    acknowledged.
    """

    def score(message: object = None, *_: object) -> None:
        try:
            job = ScoreJob.from_message(message)
        except ContractError as error:
            logger.warning(Event("score.refused", error=_shorten(error)))
            if job_id := read_job_id(message):
                outbox.refuse(ScoreReply(id=job_id, error=_shorten(error)))
            return
        told = {"model": job.model, "policy": job.policy, "part": job.part, "pairs": len(job.passages)}
        current_span().set(**told)
        try:
            age_s = max(clock.now() - job.sent, 0.0)
            if age_s > _CANCELLED_POLL_S and find_cancelled(redis, [job.id]):
                raise CancelledJobError("nobody waits for it")
            reply = _score(job, models, metrics, age_s if job.sent else 0.0)
        except CancelledJobError:
            _count(metrics, job, "cancelled")
            logger.info(Event("score.cancelled", id=job.id, model=job.model))
            outbox.forget(job)
        except LateError:
            _count(metrics, job, "late")
            logger.info(Event("score.late", id=job.id, model=job.model))
        else:
            outbox.answer(job, reply)

    def score_many(message: object = None, *_: object) -> None:
        try:
            jobs = ScoreJobs.from_message(message)
        except ContractError as error:
            logger.warning(Event("score.refused", error=_shorten(error)))
            if id_ := read_job_id(message):
                outbox.refuse(ScoreReplies(id=id_, error=_shorten(error)))
            return
        if find_cancelled(redis, [jobs.id]):
            return
        replies = _score_many(jobs.jobs, models, metrics)
        outbox.answer_many(jobs, ScoreReplies(id=jobs.id, replies=replies))

    for task, name in ((score, SCORE_TASK), (score_many, SCORE_MANY_TASK)):
        app.task(
            task,
            name=name,
            shared=False,  # else every later app of the process would have it
            Strategy=staticmethod(partial(HandOver, hands)),
        )


def find_cancelled(redis: Redis, job_ids: Sequence[str]) -> frozenset[str]:
    """Those of the jobs that were cancelled; none where Redis can't be asked."""
    try:
        marks = redis.mget([cancelled_key(job_id) for job_id in job_ids])
    except RedisError as error:
        logger.warning(Event("cancelled.unknown", error=error))
        return frozenset()
    return frozenset(job_id for job_id, mark in zip(job_ids, marks, strict=True) if mark is not None)


def watch_cancelled(redis: Redis, models: ServedModels) -> None:
    """Drop searches' jobs while they wait when their senders go away; in a daemon thread of its own.

    Bulk is not asked for: it comes by the hundred, and is cancelled by the message, before it is begun.
    """

    def watch() -> None:
        while not pause.wait(_CANCELLED_POLL_S):
            for batcher in models.values():
                if waiting := batcher.job_ids(bulk=False):
                    batcher.cancel(find_cancelled(redis, waiting))

    pause = threading.Event()
    threading.Thread(target=watch, name="cancelled", daemon=True).start()


def _score(job: ScoreJob, models: ServedModels, metrics: WorkerMetrics, age_s: float) -> ScoreReply:
    if job.model not in models:
        return _refuse(job, metrics)
    version, (scored,) = _submit([job], models)
    return _write_reply(job, version, scored, metrics, age_s)


def _score_many(
    jobs: Sequence[ScoreJob], models: ServedModels, metrics: WorkerMetrics
) -> tuple[ScoreReply, ...]:
    """All jobs of a model are handed in before the first is waited for, so that they share passes."""
    submitted: dict[str, tuple[str, Future[Scored]]] = {}
    for model in {job.model for job in jobs if job.model in models}:
        of_model = [job for job in jobs if job.model == model]
        version, futures = _submit(of_model, models)
        submitted |= {job.id: (version, future) for job, future in zip(of_model, futures, strict=True)}
    replies = []
    for job in jobs:
        try:
            in_hand = submitted.get(job.id)
            reply = _write_reply(job, *in_hand, metrics, 0.0) if in_hand else _refuse(job, metrics)
        except LateError as error:
            _count(metrics, job, "late")
            reply = ScoreReply(id=job.id, part=job.part, error=_shorten(error))
        replies.append(reply)
    return tuple(replies)


def _refuse(job: ScoreJob, metrics: WorkerMetrics) -> ScoreReply:
    _count(metrics, job, "refused")
    return ScoreReply(id=job.id, part=job.part, error=f"model: {job.model} is not served here")


def _submit(jobs: Sequence[ScoreJob], models: ServedModels) -> tuple[str, list[Future[Scored]]]:
    """The version that scores them, all of one model, and what will come of each."""
    model = jobs[0].model
    batcher = models[model]
    try:
        return batcher.loaded.version, batcher.submit_many(jobs)
    except ClosedError:
        if models[model] is batcher:
            raise
        return _submit(jobs, models)  # it was exchanged just now


def _write_reply(
    job: ScoreJob, version: str, submitted: Future[Scored], metrics: WorkerMetrics, age_s: float
) -> ScoreReply:
    try:
        scored = submitted.result()
    except LateError:
        raise
    except ScoringError as error:
        _count(metrics, job, "failed")
        logger.warning(Event("score.failed", id=job.id, model=job.model, error=error))
        return ScoreReply(id=job.id, part=job.part, error=_shorten(error), model_version=version)
    scored = replace(scored, queue_ms=scored.queue_ms + age_s * 1000)
    _count(metrics, job, "scored", scored)
    times = {"queue_ms": scored.queue_ms, "model_ms": scored.model_ms}
    level = logging.DEBUG if job.bulk else logging.INFO  # bulk has many, and its runner's log
    done = Event("score.complete", id=job.id, model=job.model, passages=len(scored.scores), **times)
    logger.log(level, done)
    return ScoreReply(
        id=job.id,
        part=job.part,
        scores=scored.scores,
        queue_ms=scored.queue_ms,
        model_ms=scored.model_ms,
        n_tokens=scored.n_tokens,
        model_version=version,
    )


def _count(metrics: WorkerMetrics, job: ScoreJob, outcome: str, scored: Scored | None = None) -> None:
    """In figures, and in the job's own span; those of bulk come many in one."""
    metrics.count_job(job, outcome, scored)
    if job.bulk:
        return
    current_span().set(status=outcome)
    if outcome in ("failed", "refused"):
        current_span().fail(outcome)
    if scored:
        first = scored.passes[0].started_s
        tell("wait", min(scored.submitted_s, first), first)
        for done in scored.passes:
            shared = {"pairs": done.pairs, "tokens": done.tokens, "jobs": done.jobs}
            tell("pass", done.started_s, done.started_s + done.seconds, **shared)


def _shorten(error: Exception) -> str:
    return str(error)[:_ERROR_MAX_CHARS]
