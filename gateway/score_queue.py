"""Knows how scores are asked for over Redis: from the cache, and for the rest from Celery workers."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from threading import BoundedSemaphore
from typing import Any, cast

from celery import Celery
from kombu.exceptions import OperationalError
from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.breaker import Attempt, Breaker
from gateway.errors import ClientGone
from gateway.request_id import HelperPool
from gateway.scoring import ScoreRequest, Scores, ScoringFailed
from gateway.service import Service, read_services
from search_plugin import Reason
from worker.contract import (
    REQUEST_HEADER,
    SCORE_TASK,
    CachedScores,
    ContractError,
    Entry,
    Load,
    ScoreJob,
    ScoreReply,
    ServingModel,
    cancelled_key,
    load_key,
    online_queue,
    read_score,
    reply_key,
    serving_key,
)
from worker.contract.address import RedisAddress
from worker.contract.logs import REQUEST_ID, Event
from worker.contract.traces import span, trace_headers
from worker.contract.transport import note

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 1.0
_SOCKET_TIMEOUT_S = 2.0
_POP_S = 1.0  # one BLPOP waits so long at most; below the socket's timeout
_CANCELLED_GRACE_S = 1.0
_SPLIT_S = 0.2  # windows that one worker would be busy with for longer are split among several
_FAIR_S = 0.1  # who fails in less has shown nothing of Redis or the workers


@dataclass(frozen=True)
class _Look:
    """What one look into Redis showed.

    Attributes:
        now: on Redis's clock.
        known: cached scores by passage.
    """

    now: float
    model: ServingModel
    load: Load
    known: dict[str, float]


@dataclass
class _Fresh:
    """What workers answered: scores by passage, the slowest one's time, all tokens, and their versions."""

    scores: dict[str, float] = field(default_factory=dict)
    model_ms: float = 0.0
    n_tokens: int = 0
    versions: set[str] = field(default_factory=set)


class QueueScorer:
    """Sends jobs to Celery workers and waits for their replies on Redis lists.

    The socket timeouts of Celery's and our own connections bound each step, not their sum, and are longer
    than many deadlines. So a job's round trip runs in a helper thread, and the search waits for that no
    longer than its deadline. While Redis hangs, helpers stay behind for some seconds; when all are busy a
    search fails at once (overload): neither threads nor connections pile up.

    Args:
        max_waiting: how many searches may wait for scores at once.
        compress_above: jobs of more characters are compressed on their way; 0 compresses none.
    """

    def __init__(self, redis_url: str, *, max_waiting: int, compress_above: int = 0) -> None:
        timeouts = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _CONNECT_TIMEOUT_S}
        address = RedisAddress.from_url(redis_url)
        self._redis = address.connect(retry=Retry(NoBackoff(), 1), **timeouts)
        self._celery = make_sender(address, timeouts, max_waiting)
        self._compress_above = compress_above
        self._helpers = HelperPool(max_waiting, thread_name_prefix="score")
        self._free_helpers = BoundedSemaphore(max_waiting)
        self._redis_breaker = Breaker()
        self._model_breakers: defaultdict[str, Breaker] = defaultdict(Breaker)
        self._seen: dict[str, ServingModel] = {}  # by alias, at the last look

    def score(self, request: ScoreRequest) -> Scores:
        """See `Scorer.score`."""
        with span(
            "queue",
            "producer",
            queue=online_queue(request.model),
            model=request.model,
            policy=request.policy,
            pairs=len(request.passages),
        ) as waiting:
            try:
                scores = self._score(request)
            except ScoringFailed as failure:
                waiting.fail(failure.reason)
                raise
            waiting.set(cached=scores.n_cached, tokens=scores.n_tokens)
            return scores

    def _score(self, request: ScoreRequest) -> Scores:
        request.client.expect()
        remaining_s = request.deadline - time.monotonic()
        if remaining_s <= 0:
            raise ScoringFailed(Reason.TIMEOUT)
        attempt = Attempt()
        if not attempt.enter(self._redis_breaker):
            raise ScoringFailed(Reason.CIRCUIT_OPEN)
        try:
            scores = self._score_by_deadline(request, attempt)
        except ScoringFailed as failure:
            is_late = failure.reason == Reason.TIMEOUT and remaining_s > _FAIR_S
            if is_late or failure.reason == Reason.BACKEND_ERROR:
                attempt.fail()
            else:
                attempt.forget()
            raise
        except BaseException:
            attempt.forget()
            raise
        attempt.succeed()
        return scores

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """See `Scorer.find_served`."""
        return frozenset(service.alias for service in self.observe(models) if service.workers)

    def observe(self, models: Iterable[str]) -> Sequence[Service]:
        """See `Scorer.observe`."""
        try:
            return read_services(self._redis, models)
        except RedisError as error:
            raise ScoringFailed(Reason.BACKEND_ERROR) from error

    def close(self) -> None:
        """Close the connections; no search may be waiting."""
        self._helpers.shutdown()
        self._celery.close()
        self._redis.close()

    def _score_by_deadline(self, request: ScoreRequest, attempt: Attempt) -> Scores:
        if not self._free_helpers.acquire(blocking=False):
            raise ScoringFailed(Reason.OVERLOAD)
        job_id = uuid.uuid4().hex
        round_trip = self._helpers.submit(self._ask, request, job_id, attempt)
        round_trip.add_done_callback(lambda _: self._free_helpers.release())
        left: Future[None] = Future()
        forget_client = request.client.when_gone(lambda: left.set_result(None))
        ends: list[Future[Any]] = [round_trip, left]
        wait(ends, request.deadline - time.monotonic(), FIRST_COMPLETED)
        forget_client()
        if left.done():
            self._cancel(job_id, request.deadline)
            raise ClientGone("the client has closed the connection")
        if round_trip.done():
            return round_trip.result()
        raise ScoringFailed(Reason.TIMEOUT)

    def _cancel(self, job_id: str, deadline: float) -> None:
        life_s = max(deadline - time.monotonic(), 0.0) + _CANCELLED_GRACE_S
        with suppress(RedisError):
            self._redis.set(cancelled_key(job_id), b"", px=int(life_s * 1000))

    def _ask(self, request: ScoreRequest, job_id: str, attempt: Attempt) -> Scores:
        try:
            look = self._look(request)
            passages = [cut_passage(passage, look.model) for passage in request.passages]
            different = list(dict.fromkeys(passages))
            missing = [passage for passage in different if passage not in look.known]
            known = look.known
            if missing and not attempt.enter(self._model_breakers[request.model]):
                raise ScoringFailed(Reason.CIRCUIT_OPEN)
            fresh = self._ask_workers(request, look, missing, job_id) if missing else _Fresh()
            if len(fresh.versions | ({look.model.version} if known else set())) > 1:
                # versions are being exchanged, and scores of two make no order: all anew by one worker
                known = {}
                fresh = self._ask_workers(request, look, different, job_id + "-again", may_split=False)
            scores = known | fresh.scores
            n_cached = sum(passage in known for passage in passages)
            return Scores(
                tuple(scores[passage] for passage in passages), fresh.model_ms, n_cached, fresh.n_tokens
            )
        except (RedisError, OperationalError, ContractError) as error:
            logger.warning(Event("score.failed", model=request.model, error=error))
            raise ScoringFailed(Reason.BACKEND_ERROR) from error

    def _look(self, request: ScoreRequest) -> _Look:
        """All that is to be known before a job is sent, in one round trip.

        Cached scores are asked for by the model's version at the last look; where there is another one now,
        one more look.
        """
        alias = request.model
        seen = self._seen.get(alias)
        passages: list[str] = []
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.time()
            pipeline.hgetall(serving_key(alias))
            pipeline.zrange(load_key(alias), 0, -1, withscores=True)
            if seen:
                cached = CachedScores(seen.version, request.query_text)
                passages = list(dict.fromkeys(cut_passage(passage, seen) for passage in request.passages))
                pipeline.hmget(cached.key, [cached.field(passage) for passage in passages])
            time_, told, entries, *found = pipeline.execute()
        now = read_seconds(time_)
        model = ServingModel.from_hash(told, now)
        if model is None:
            self._seen.pop(alias, None)
            raise ScoringFailed(Reason.NO_WORKER)
        self._seen[alias] = model
        if not seen or (seen.version, seen.max_characters) != (model.version, model.max_characters):
            return self._look(request)
        values = zip(passages, found[0], strict=True)
        known = {passage: read_score(value) for passage, value in values if value is not None}
        return _Look(now, model, Load.from_entries(entries, now), known)

    def _ask_workers(
        self,
        request: ScoreRequest,
        look: _Look,
        passages: Sequence[str],
        job_id: str,
        *,
        may_split: bool = True,
    ) -> _Fresh:
        remaining_s = request.deadline - time.monotonic()
        job = ScoreJob(
            id=job_id,
            model=request.model,
            policy=request.policy,
            query_text=request.query_text,
            passages=tuple(passages),
            deadline=look.now + max(remaining_s, 0.001),
            sent=look.now,
        )
        speed = look.model.speed
        if speed and not look.load.admits(job.policy, job.cost, speed * remaining_s):
            raise ScoringFailed(Reason.OVERLOAD)
        parts = _split(job, look.model) if may_split else [job]
        for part in parts:
            self._send(part)
        fresh = _Fresh()
        for reply in self._wait(request, job_id, len(parts)):
            asked = parts[reply.part].passages if reply.part < len(parts) else ()
            if reply.scores is None or len(reply.scores) != len(asked):
                raise ScoringFailed(Reason.BACKEND_ERROR)
            fresh.scores |= zip(asked, reply.scores, strict=True)
            fresh.model_ms = max(fresh.model_ms, reply.model_ms)
            fresh.n_tokens += reply.n_tokens
            fresh.versions.add(reply.model_version)
        return fresh

    def _send(self, job: ScoreJob) -> None:
        compresses = 0 < self._compress_above < job.cost
        self._celery.send_task(
            SCORE_TASK,
            args=[job.to_message()],
            headers={
                **note(load_key(job.model), Entry.of(job).to_member(), job.deadline),
                REQUEST_HEADER: REQUEST_ID.get(),
                **trace_headers(),
            },
            argsrepr=f"(<job {job.id}>,)",  # monitors show this: no users' texts
            queue=online_queue(job.model),
            task_id=f"{job.id}.{job.part}",
            compression="zlib" if compresses else None,
            ignore_result=True,
            retry=False,
        )

    def _wait(self, request: ScoreRequest, job_id: str, n_parts: int) -> Iterable[ScoreReply]:
        """One reply a part, as they come."""
        parts_left = set(range(n_parts))
        while parts_left:
            remaining_s = request.deadline - time.monotonic()
            if remaining_s <= 0:
                raise ScoringFailed(Reason.TIMEOUT)
            request.client.expect()
            popped = self._redis.blpop([reply_key(job_id)], timeout=min(max(remaining_s, 0.001), _POP_S))
            if popped:
                reply = ScoreReply.from_message(cast(bytes, popped[1]))
                if reply.part in parts_left:  # a redelivered part is answered twice
                    parts_left.remove(reply.part)
                    yield reply


def read_seconds(time_: tuple[int, int]) -> float:
    """What Redis's ``TIME`` says, in seconds."""
    return time_[0] + time_[1] / 1e6


def cut_passage(passage: str, model: ServingModel) -> str:
    """The passage without what the model would not read."""
    return passage[: model.max_characters] if model.max_characters else passage


def _split(job: ScoreJob, model: ServingModel) -> list[ScoreJob]:
    """The job as it is, or in parts of like cost where several workers are sooner done."""
    speed_of_one = model.speed / model.n_workers
    n_parts = min(model.n_workers, math.ceil(job.cost / (speed_of_one * _SPLIT_S))) if speed_of_one else 1
    if n_parts < 2:
        return [job]
    longest_first = sorted(job.passages, key=len, reverse=True)
    shares = [tuple(longest_first[part::n_parts]) for part in range(n_parts)]
    return [
        job.model_copy(update={"part": part, "passages": share}) for part, share in enumerate(shares) if share
    ]


def make_sender(address: RedisAddress, timeouts: dict[str, float], connections: int) -> Celery:
    """A Celery app that sends messages and does nothing else."""
    celery = Celery("gateway", set_as_current=False)
    # max_retries: kombu's own loop around a first connection, which else goes on for long
    broker = address.configure_celery(max_retries=1, interval_start=0, retry_on_timeout=False, **timeouts)
    celery.conf.update(
        broker,
        broker_pool_limit=connections,
        broker_connection_timeout=_CONNECT_TIMEOUT_S,
        task_serializer="json",
    )
    return celery
