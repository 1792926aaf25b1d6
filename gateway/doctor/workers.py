"""Knows how to tell whether workers serve what policies need, alike and in time, and what waits for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from search_plugin import Policy
from worker.contract import KEY_PREFIX, MARK_LIFE_S, Load, Serving, bulk_queue, load_key, serving_key


@dataclass(frozen=True)
class Service:
    """What is so of one model now.

    Attributes:
        workers: by their ids, those that live.
        load: the jobs that searches wait for.
        n_bulk: jobs that no search waits for, not yet taken by a worker.
    """

    alias: str
    workers: Mapping[str, Serving]
    load: Load
    n_bulk: int

    @property
    def speed(self) -> float:
        """Characters a second, of all workers."""
        return sum(worker.speed for worker in self.workers.values())

    @property
    def max_characters(self) -> int:
        """Of a text, what the model reads; 0: not known."""
        return min((worker.max_characters for worker in self.workers.values()), default=0)


def check_workers(around: Surroundings) -> Iterator[Finding]:
    """Each declared model: who serves it, which versions, how fast, what waits."""
    for alias in around.config.models:
        service = read_service(around, alias)
        policies = [policy for policy in around.config.policies if policy.model == alias]
        yield judge_serving(service, policies)
        if service.workers:
            yield judge_versions(service)
            yield from (judge_speed(service, policy) for policy in policies)
        yield judge_load(service)


def read_service(around: Surroundings, alias: str) -> Service:
    """Ask Redis.

    Raises:
        RedisError: it can't be asked.
    """
    with around.redis.pipeline(transaction=False) as pipeline:
        pipeline.time()
        pipeline.hgetall(serving_key(alias))
        pipeline.zrange(load_key(alias), 0, -1, withscores=True)
        pipeline.llen(f"{KEY_PREFIX}{bulk_queue(alias)}")
        (seconds, microseconds), told, entries, n_bulk = pipeline.execute()
    now = seconds + microseconds / 1e6
    marks = {name.decode(): Serving.from_field(field) for name, field in told.items()}
    alive = {name: mark for name, mark in marks.items() if mark.renewed > now - MARK_LIFE_S}
    return Service(alias, alive, Load.from_entries(entries, now), n_bulk)


def judge_serving(service: Service, policies: Sequence[Policy]) -> Finding:
    """Does anybody serve it?"""
    if service.workers:
        who = ", ".join(sorted(service.workers))
        return ok("workers.serving", f"model {service.alias}: {len(service.workers)} serve it: {who}")
    what = f"model {service.alias}: no worker serves it"
    if not policies:
        return hint("workers.serving", f"{what}; no policy needs it", "take it out, or start a worker")
    mend = f"start python -m worker --models {service.alias} with the same --redis-url; its log says why not"
    return problem("workers.serving", f"{what}: searches get the cluster's order (no_worker)", mend)


def judge_versions(service: Service) -> Finding:
    """Scores of two versions make no order."""
    versions = sorted({worker.version for worker in service.workers.values()})
    if len(versions) == 1:
        return ok("workers.versions", f"model {service.alias}: version {versions[0]}")
    what = f"model {service.alias}: workers serve the versions {', '.join(versions)}"
    mend = "fine while they exchange a model; else give all the same files and rerank.toml"
    return hint("workers.versions", what, mend)


def judge_speed(service: Service, policy: Policy) -> Finding:
    """Would a window of the longest passages be scored in time, with nothing else to do?"""
    subject, told = "workers.speed", f"policy {policy.name}: {service.speed:,.0f} characters a second"
    if not service.speed:
        return ok(subject, f"policy {policy.name}: not measured yet")
    longest = min(policy.max_passage_chars, service.max_characters or policy.max_passage_chars)
    chunks = policy.chunks.most if policy.chunks else 1
    needed_ms = policy.window * chunks * longest / service.speed * 1000
    told = (
        f"{told}, a full window of the longest passages takes {needed_ms:,.0f} of {policy.deadline_ms:,} ms"
    )
    if needed_ms <= policy.deadline_ms:
        return ok(subject, told)
    return hint(subject, told, "more workers, a smaller window or max_passage_chars, or a longer deadline_ms")


def judge_load(service: Service) -> Finding:
    """How long the workers need for what waits."""
    total, told = service.load.total, f"model {service.alias}: {service.n_bulk} bulk jobs wait"
    if not total:
        return ok("workers.load", f"{told}, no search's")
    seconds = total / service.speed if service.speed else 0.0
    told = f"{told}, and {total:,} characters of searches, {seconds:.1f} s of work"
    if seconds < 1:
        return ok("workers.load", told)
    return hint("workers.load", told, "if it stays so: more workers, or smaller windows")
