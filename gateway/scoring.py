"""Knows how passages get their scores: over the queue from a worker, or from a script in tests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from threading import BoundedSemaphore
from typing import Any, Protocol, cast

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.errors import ClientGone, GatewayError
from gateway.hangup import ANYBODY, Client
from search_plugin import Reason
from worker.contract import (
    SCORE_TASK,
    ContractError,
    ScoreJob,
    ScoreReply,
    cancelled_key,
    online_queue,
    reply_key,
    serving_key,
)

_CONNECT_TIMEOUT_S = 1.0
_SOCKET_TIMEOUT_S = 2.0
_POP_S = 1.0  # one BLPOP waits so long at most; below the socket's timeout
_CANCELLED_GRACE_S = 1.0  # two machines' clocks differ


class ScoringFailed(GatewayError):
    """There are no scores for this search (not the client's fault); ``reason`` says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Scorer(Protocol):
    """Where scores come from; used by all threads at once."""

    def score(
        self,
        model: str,
        query_text: str,
        passages: Sequence[str],
        deadline: float,
        client: Client = ANYBODY,
    ) -> ScoreReply:
        """One logit per passage, in their order.

        Args:
            deadline: of ``time.monotonic()``; the call ends by then, whatever happens.
            client: when it goes away, nobody's work is wasted on it.

        Raises:
            ScoringFailed: no_worker, timeout, overload or backend_error.
            ClientGone: the client went away.
        """
        ...

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """Those of ``models`` that a worker serves now.

        Raises:
            ScoringFailed: backend_error, nobody can be asked.
        """
        ...


class QueueScorer:
    """Sends jobs to Celery workers and waits for their replies on Redis lists.

    The socket timeouts of Celery's and our own connections bound each step, not their sum, and are longer
    than many deadlines. So a job's round trip runs in a helper thread, and the search waits for that no
    longer than its deadline. While Redis hangs, helpers stay behind for some seconds; when all are busy a
    search fails at once (overload): neither threads nor connections pile up.

    Args:
        max_waiting: how many searches may wait for scores at once.
    """

    def __init__(self, redis_url: str, *, max_waiting: int) -> None:
        timeouts = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _CONNECT_TIMEOUT_S}
        self._redis: Redis = Redis.from_url(redis_url, retry=Retry(NoBackoff(), 1), **timeouts)
        self._celery = _make_celery(redis_url, timeouts, max_waiting)
        self._helpers = ThreadPoolExecutor(max_waiting, thread_name_prefix="score")
        self._free_helpers = BoundedSemaphore(max_waiting)

    def score(
        self,
        model: str,
        query_text: str,
        passages: Sequence[str],
        deadline: float,
        client: Client = ANYBODY,
    ) -> ScoreReply:
        """See `Scorer.score`."""
        client.expect()
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            raise ScoringFailed(Reason.TIMEOUT)
        job = ScoreJob(
            id=uuid.uuid4().hex,
            model=model,
            query_text=query_text,
            passages=tuple(passages),
            deadline=time.time() + remaining_s,
        )
        if not self._free_helpers.acquire(blocking=False):
            raise ScoringFailed(Reason.OVERLOAD)
        round_trip = self._helpers.submit(self._send_and_wait, job, deadline, client)
        round_trip.add_done_callback(lambda _: self._free_helpers.release())
        left: Future[None] = Future()
        forget_client = client.when_gone(lambda: left.set_result(None))
        ends: list[Future[Any]] = [round_trip, left]
        wait(ends, remaining_s, FIRST_COMPLETED)
        forget_client()
        if left.done():
            self._cancel(job)
            raise ClientGone("the client has closed the connection")
        if round_trip.done():
            return round_trip.result()
        raise ScoringFailed(Reason.TIMEOUT)

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """See `Scorer.find_served`."""
        asked = list(models)
        try:
            if not asked:
                self._redis.ping()
                return frozenset()
            marks = self._redis.mget([serving_key(model) for model in asked])
        except RedisError as error:
            raise ScoringFailed(Reason.BACKEND_ERROR) from error
        return frozenset(model for model, mark in zip(asked, marks, strict=True) if mark)

    def close(self) -> None:
        """Close the connections; no search may be waiting."""
        self._helpers.shutdown()
        self._celery.close()
        self._redis.close()

    def _cancel(self, job: ScoreJob) -> None:
        life_s = max(job.deadline - time.time(), 0.0) + _CANCELLED_GRACE_S
        with suppress(RedisError):
            self._redis.set(cancelled_key(job.id), b"", px=int(life_s * 1000))

    def _send_and_wait(self, job: ScoreJob, deadline: float, client: Client) -> ScoreReply:
        if not self.find_served([job.model]):
            raise ScoringFailed(Reason.NO_WORKER)
        try:
            self._celery.send_task(
                SCORE_TASK,
                args=[job.to_message()],
                argsrepr=f"(<job {job.id}>,)",  # monitors show this: no users' texts
                queue=online_queue(job.model),
                task_id=job.id,
                expires=max(deadline - time.monotonic(), 0.001),
                ignore_result=True,
                retry=False,
            )
            return _check(self._wait(job, deadline, client), job)
        except (RedisError, OperationalError, ContractError) as error:
            raise ScoringFailed(Reason.BACKEND_ERROR) from error

    def _wait(self, job: ScoreJob, deadline: float, client: Client) -> ScoreReply:
        while (remaining_s := deadline - time.monotonic()) > 0:
            client.expect()
            popped = self._redis.blpop([reply_key(job.id)], timeout=min(max(remaining_s, 0.001), _POP_S))
            if popped:
                return ScoreReply.from_message(cast(bytes, popped[1]))
        raise ScoringFailed(Reason.TIMEOUT)


class ScriptedScorer:
    """A scorer for tests: ``script(query_text, passages)`` gives the logits or raises `ScoringFailed`.

    ``calls`` records (model, query_text, passages) of each call.
    """

    def __init__(self, script: Callable[[str, Sequence[str]], Sequence[float]]) -> None:
        self._script = script
        self.calls: list[tuple[str, str, list[str]]] = []

    def score(
        self,
        model: str,
        query_text: str,
        passages: Sequence[str],
        deadline: float,
        client: Client = ANYBODY,
    ) -> ScoreReply:
        """See `Scorer.score`."""
        self.calls.append((model, query_text, list(passages)))
        return ScoreReply(id=f"scripted-{len(self.calls)}", scores=tuple(self._script(query_text, passages)))

    def find_served(self, models: Iterable[str]) -> frozenset[str]:
        """All of them."""
        return frozenset(models)


def _make_celery(redis_url: str, timeouts: dict[str, float], connections: int) -> Celery:
    celery = Celery("gateway", broker=redis_url, set_as_current=False)
    celery.conf.update(
        broker_pool_limit=connections,
        broker_connection_timeout=_CONNECT_TIMEOUT_S,
        # max_retries: kombu's own loop around a first connection, which else goes on for long
        broker_transport_options={
            **timeouts,
            "max_retries": 1,
            "interval_start": 0,
            "retry_on_timeout": False,
        },
        task_serializer="json",
    )
    return celery


def _check(reply: ScoreReply, job: ScoreJob) -> ScoreReply:
    if reply.scores is None or len(reply.scores) != len(job.passages):
        raise ScoringFailed(Reason.BACKEND_ERROR)
    return reply
