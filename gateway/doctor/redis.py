"""Knows how to tell whether a Redis will hold the queues: version, memory, what it evicts, its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any, cast

from redis import Redis, RedisError
from redis.exceptions import NoPermissionError

from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from worker.contract import cancelled_key

OLDEST = (6, 2)
"""The oldest version that is tested."""

FULL, NEARLY_FULL = 0.9, 0.75
CLOCK_DIFFERENCE_S = 5.0


def check_redis(around: Surroundings) -> Iterator[Finding]:
    """Reachable, writable, and configured for queues.

    What is read is INFO alone: it is allowed where CONFIG is not, by managed Redis and by our own ACL rule.
    """
    redis = around.redis
    try:
        redis.ping()
    except RedisError as error:
        mend = "does it run, is --redis-url right, with user and password?"
        yield problem("redis.reachable", f"Redis does not answer: {error}", mend)
        return
    yield _check_writing(redis)
    try:
        info = cast("Mapping[str, Any]", redis.info())
    except NoPermissionError:
        yield hint("redis.version", "INFO is not allowed here, so little is known", "allow it: +info")
    else:
        yield judge_version(info)
        yield judge_cluster_mode(info)
        yield judge_eviction(info)
        yield judge_memory(info)
        yield judge_persistence(info)
    before = time.time()
    seconds, microseconds = redis.time()
    yield judge_clock(seconds + microseconds / 1e6 - (before + time.time()) / 2)


def judge_version(info: Mapping[str, Any]) -> Finding:
    """New enough?"""
    told = str(info.get("redis_version", "?"))
    numbers = [int(part) for part in told.split(".")[:2] if part.isdecimal()]
    if tuple(numbers) >= OLDEST:
        return ok("redis.version", f"Redis {told}")
    return hint("redis.version", f"Redis {told}", "tested is {}.{} and later".format(*OLDEST))


def judge_cluster_mode(info: Mapping[str, Any]) -> Finding:
    """Celery's transport reads several keys at once, which Redis Cluster spreads over nodes."""
    if info.get("cluster_enabled"):
        return problem(
            "redis.mode", "this is Redis Cluster, which Celery cannot use", "a plain Redis, or Sentinels"
        )
    return ok("redis.mode", f"mode {info.get('redis_mode', 'standalone')}")


def judge_eviction(info: Mapping[str, Any]) -> Finding:
    """Queues must not be thrown away."""
    policy = info.get("maxmemory_policy")
    if policy is None:
        return hint("redis.eviction", "maxmemory-policy is not told", "make sure that it is noeviction")
    if policy == "noeviction":
        return ok("redis.eviction", "maxmemory-policy noeviction")
    what = f"maxmemory-policy {policy}: a full Redis throws queues away"
    return problem("redis.eviction", what, "set maxmemory-policy noeviction")


def judge_memory(info: Mapping[str, Any]) -> Finding:
    """How much of the limit is taken."""
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    told = f"{used / 2**20:.1f} MiB used"
    if not limit:
        return ok("redis.memory", f"{told}, no limit of its own")
    told = f"{told} of {limit / 2**20:.1f} MiB"
    mend = "raise maxmemory, or keep fewer scores: --cache-queries, --cache-ttl-s of the workers"
    if used > FULL * limit:
        return problem("redis.memory", told, mend)
    if used > NEARLY_FULL * limit:
        return hint("redis.memory", told, mend)
    return ok("redis.memory", told)


def judge_persistence(info: Mapping[str, Any]) -> Finding:
    """Searches lose nothing with Redis; jobs that nobody waits for do."""
    if info.get("aof_enabled"):
        return ok("redis.persistence", "append-only file on")
    what = "append-only file off: a restart of Redis loses jobs that no search waits for"
    return hint("redis.persistence", what, "nothing for searches; for bulk jobs: appendonly yes")


def judge_clock(ahead_s: float) -> Finding:
    """Of Redis's clock, seconds ahead of this host's."""
    if abs(ahead_s) <= CLOCK_DIFFERENCE_S:
        return ok("redis.clock", f"this host's clock and Redis's differ by {abs(ahead_s):.3f} s")
    what = f"Redis's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} this host's"
    return hint(
        "redis.clock", what, "searches don't mind; for workers' redelivery of bulk keep clocks together (NTP)"
    )


def _check_writing(redis: Redis) -> Finding:
    """A replica, a full Redis or an ACL without our keys answers pings too."""
    try:
        redis.set(cancelled_key("doctor"), b"", px=1)
    except RedisError as error:
        mend = "the master's address, memory, and an ACL rule that lets rerank:* be written"
        return problem("redis.writable", f"takes no writes: {error}", mend)
    return ok("redis.writable", "reachable, takes writes")
