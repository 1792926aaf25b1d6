"""Knows how a job's pairs get their scores: with all the patience that a search does not have."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from gateway.jobs.control import Control, Limiter, Stopped
from gateway.score_queue import cut_passage, read_seconds
from gateway.scoring import ScoreRequest, Scores, ScoringFailed
from gateway.service import Service
from search_plugin import Reason
from worker.contract import (
    KEY_PREFIX,
    SCORE_MANY_TASK,
    CachedScores,
    ContractError,
    ScoreJob,
    ScoreJobs,
    ScoreReplies,
    ServingModel,
    bulk_queue,
    cancelled_key,
    read_score,
    reply_key,
    serving_key,
)
from worker.contract.logs import Event
from worker.contract.traces import span, trace_headers

logger = logging.getLogger(__name__)

_REPLY_S = 20.0  # a message that is not answered in so long, and its work several times over, may be lost
_REPLY_TIMES = 10
_POP_S = 1.0
_MESSAGE_LIFE_S = 86_400.0
_CANCELLED_LIFE_S = 3_600
_TRIES = 3  # of texts that a model fails at
_POLICY = "(jobs)"


@dataclass(frozen=True)
class Asked:
    """One query and its passages."""

    query_text: str
    passages: tuple[str, ...]


@dataclass(frozen=True)
class Failed:
    """What was asked has no scores, and it is not the moment's fault."""

    reason: str


Logits = tuple[float, ...]


class BulkScorer:
    """Asks workers through the queue of bulk, and waits for as long as the job goes on.

    Redis gone, nobody serving the model, a worker killed: it tries again. Safe for many threads.
    """

    def __init__(self, redis: Redis, celery: Celery, control: Control, limiter: Limiter) -> None:
        self._redis = redis
        self._celery = celery
        self._control = control
        self._limiter = limiter

    def score(self, request: ScoreRequest) -> Scores:
        """See `gateway.scoring.Scorer`; the request's deadline is for those whom a person waits for.

        Raises:
            Stopped: the job goes no further.
            ScoringFailed: the model fails at these texts.
        """
        (found,) = self.score_many(request.model, [Asked(request.query_text, request.passages)])
        if isinstance(found, Failed):
            raise ScoringFailed(Reason.BACKEND_ERROR)
        return Scores(found)

    def find_served(self, models: object) -> frozenset[str]:
        """See `gateway.scoring.Scorer`; a job does not ask."""
        return frozenset()

    def observe(self, models: object) -> Sequence[Service]:
        """See `gateway.scoring.Scorer`; a job does not ask."""
        return ()

    def score_many(self, model: str, asked: Sequence[Asked]) -> list[Logits | Failed]:
        """Logits for all that is asked, in its order; those of one query by one version of the model.

        Raises:
            Stopped: the job goes no further.
        """
        self._limiter.take(sum(len(one.passages) for one in asked))
        found: dict[int, Logits | Failed] = {}
        tries = dict.fromkeys(range(len(asked)), 0)
        with self._control.patience() as patience:
            while len(found) < len(asked):
                left = [place for place in range(len(asked)) if place not in found]
                try:
                    answers = self._ask(model, [asked[place] for place in left])
                except (RedisError, OperationalError, ContractError) as error:
                    logger.warning(Event("score.failed", model=model, error=error))
                    patience.wait(f"Redis: {error}")
                    continue
                except _NotNow as error:
                    patience.wait(str(error))
                    continue
                failed = False
                for place, answer in zip(left, answers, strict=True):
                    tries[place] += isinstance(answer, Failed)
                    if not isinstance(answer, Failed) or tries[place] >= _TRIES:
                        found[place] = answer
                    else:
                        failed = True
                if failed:
                    patience.wait("a worker failed to score")
        return [found[place] for place in range(len(asked))]

    def _ask(self, model: str, asked: Sequence[Asked]) -> list[Logits | Failed]:
        serving, now = self._find_serving(model)
        if serving is None:
            raise _NotNow(_tell_unserved(model))
        cut = [
            Asked(one.query_text, tuple(cut_passage(passage, serving) for passage in one.passages))
            for one in asked
        ]
        known = self._look_up(serving.version, cut)
        missing = [
            [passage for passage in dict.fromkeys(one.passages) if passage not in scores]
            for one, scores in zip(cut, known, strict=True)
        ]
        message_id = uuid.uuid4().hex
        jobs = {
            place: ScoreJob(
                id=f"{message_id}-{place}",
                model=model,
                policy=_POLICY,
                bulk=True,
                query_text=one.query_text,
                passages=tuple(missing[place]),
                deadline=now + _MESSAGE_LIFE_S,
                sent=now,
            )
            for place, one in enumerate(cut)
            if missing[place]
        }
        failures: dict[int, Failed] = {}
        if jobs:
            message = ScoreJobs(id=message_id, jobs=tuple(jobs.values()))
            told = {"message": message_id, "model": model, "pairs": sum(map(len, missing))}
            with span("batch", "producer", {}, queue=bulk_queue(model), **told):
                replies = self._send(model, message, serving)
            for place, reply in zip(jobs, replies.replies, strict=True):
                if reply.scores is None or len(reply.scores) != len(missing[place]):
                    failures[place] = Failed(reply.error or "no scores")
                elif known[place] and reply.model_version != serving.version:
                    # versions are being exchanged, and scores of two are not to be mixed
                    raise _NotNow(f"model {model!r} is being exchanged")
                else:
                    known[place] |= zip(missing[place], reply.scores, strict=True)
        return [
            failures.get(place) or tuple(known[place][passage] for passage in one.passages)
            for place, one in enumerate(cut)
        ]

    def _look_up(self, version: str, asked: Sequence[Asked]) -> list[dict[str, float]]:
        """The scores that are known, by passage."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for one in asked:
                cached = CachedScores(version, one.query_text)
                pipeline.hmget(cached.key, [cached.field(passage) for passage in one.passages])
            answers = pipeline.execute()
        return [
            {
                passage: read_score(value)
                for passage, value in zip(one.passages, values, strict=True)
                if value is not None
            }
            for one, values in zip(asked, answers, strict=True)
        ]

    def _send(self, model: str, message: ScoreJobs, serving: ServingModel) -> ScoreReplies:
        self._celery.send_task(
            SCORE_MANY_TASK,
            args=[message.to_message()],
            headers=trace_headers(),
            argsrepr=f"(<{len(message.jobs)} jobs {message.id}>,)",  # monitors show this: no users' texts
            queue=bulk_queue(model),
            task_id=message.id,
            ignore_result=True,
            retry=False,
        )
        try:
            return self._wait(model, message, serving)
        except (Stopped, _NotNow):
            with suppress(RedisError):
                self._redis.set(cancelled_key(message.id), b"", ex=_CANCELLED_LIFE_S)
            raise

    def _wait(self, model: str, message: ScoreJobs, serving: ServingModel) -> ScoreReplies:
        cost = sum(job.cost for job in message.jobs)
        patience_s = _REPLY_S + (_REPLY_TIMES * cost / serving.speed if serving.speed else 0.0)
        waited_s = 0.0
        while waited_s < patience_s:
            self._control.check()
            popped = self._redis.blpop([reply_key(message.id)], timeout=_POP_S)
            if popped:
                replies = ScoreReplies.from_message(cast(Any, popped)[1])
                if replies.error or len(replies.replies) != len(message.jobs):
                    raise ContractError("replies", replies.error or "not one a job")
                return replies
            self._look_after(model)
            # searches go first: while messages wait for a worker, this one may be among them
            waited_s = 0.0 if self._redis.llen(f"{KEY_PREFIX}{bulk_queue(model)}") else waited_s + _POP_S
        raise _NotNow("workers have not answered; it is asked again")

    def _look_after(self, model: str) -> None:
        """Tell whether anybody is there who may answer."""
        if self._find_serving(model)[0]:
            self._control.forget()
        else:
            self._control.note(_tell_unserved(model))

    def _find_serving(self, model: str) -> tuple[ServingModel | None, float]:
        """Who serves the model, and Redis's clock."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hgetall(serving_key(model))
            time_, told = pipeline.execute()
        now = read_seconds(time_)
        return ServingModel.from_hash(told, now), now


def _tell_unserved(model: str) -> str:
    return f"no worker serves model {model!r}"


class _NotNow(Exception):
    """There will be scores later."""
