"""Knows what is written to Redis when a job is done: the reply, its scores for the next time."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import Redis, RedisError
from redis.client import Pipeline

from worker.clock import RedisClock
from worker.contract import (
    CACHED_QUERIES_KEY,
    CachedScores,
    Entry,
    ScoreJob,
    ScoreJobs,
    ScoreReplies,
    ScoreReply,
    load_key,
    reply_key,
    write_score,
)
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

_REPLY_GRACE_MS = 1_000  # a reply outlives its deadline by this
_REPLY_LIFE_MAX_MS = 300_000


class Outbox:
    """Sends replies; a reply is lost where Redis can't be reached, and the gateway's deadline ends the wait.

    Args:
        cache_ttl_s: how long scores are kept after a query's last write; 0 keeps none.
        cache_queries: of how many queries scores are kept at most; those written longest ago go first.
    """

    def __init__(self, redis: Redis, clock: RedisClock, *, cache_ttl_s: int, cache_queries: int) -> None:
        self._redis = redis
        self._clock = clock
        self._cache_ttl_s = cache_ttl_s
        self._cache_queries = cache_queries

    def refuse(self, reply: ScoreReply | ScoreReplies) -> None:
        """Answer a message that is no job."""
        self._send(reply, math.inf)

    def answer(self, job: ScoreJob, reply: ScoreReply) -> None:
        """Answer a job, keep its scores, and take it off those under way."""
        self._send(reply, job.deadline, [(job, reply)])

    def answer_many(self, jobs: ScoreJobs, replies: ScoreReplies) -> None:
        """The same for jobs that came together."""
        deadline = max(job.deadline for job in jobs.jobs)
        self._send(replies, deadline, list(zip(jobs.jobs, replies.replies, strict=True)))

    def forget(self, job: ScoreJob) -> None:
        """Take a job off those under way that nobody waits for."""
        with suppress(RedisError):
            self._redis.zrem(load_key(job.model), Entry.of(job).to_member())

    def _send(
        self,
        reply: ScoreReply | ScoreReplies,
        deadline: float,
        done: Sequence[tuple[ScoreJob, ScoreReply]] = (),
    ) -> None:
        remaining_ms = max(0.0, deadline - self._clock.now()) * 1000
        life_ms = int(min(remaining_ms, _REPLY_LIFE_MAX_MS)) + _REPLY_GRACE_MS
        n_cached = None
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for job, its_reply in done:
                    pipeline.zrem(load_key(job.model), Entry.of(job).to_member())
                    n_cached = self._keep(pipeline, job, its_reply) or n_cached
                # last: who has the reply may ask again at once, and finds the scores known
                pipeline.rpush(reply_key(reply.id), reply.to_message())
                pipeline.pexpire(reply_key(reply.id), life_ms)
                answers = pipeline.execute()
            if n_cached is not None and answers[n_cached] > self._cache_queries:
                self._trim(answers[n_cached] - self._cache_queries)
        except RedisError as error:
            logger.warning(Event("reply.lost", id=reply.id, error=error))

    def _keep(self, pipeline: Pipeline, job: ScoreJob, reply: ScoreReply) -> int | None:
        """Write the scores into the cache; the place of the number of cached queries among the answers."""
        if not self._cache_ttl_s or reply.scores is None:
            return None
        cached = CachedScores(reply.model_version, job.query_text)
        fields: dict[Any, Any] = {
            cached.field(passage): write_score(score)
            for passage, score in zip(job.passages, reply.scores, strict=True)
        }
        pipeline.hset(cached.key, mapping=fields)
        pipeline.expire(cached.key, self._cache_ttl_s)
        now = self._clock.now()
        pipeline.zadd(CACHED_QUERIES_KEY, {cached.key: now})
        pipeline.zremrangebyscore(CACHED_QUERIES_KEY, "-inf", now - self._cache_ttl_s)  # gone by themselves
        pipeline.zcard(CACHED_QUERIES_KEY)
        return len(pipeline) - 1

    def _trim(self, surplus: int) -> None:
        popped: list[Any] = self._redis.zpopmin(CACHED_QUERIES_KEY, surplus)
        oldest = [name for name, _ in popped]
        if oldest:
            self._redis.unlink(*oldest)
