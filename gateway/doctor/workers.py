"""Knows how to tell whether workers serve what policies need, alike and in time, and what waits for them."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.doctor.finding import Finding, hint, ok, problem
from gateway.doctor.surroundings import Surroundings
from gateway.service import Service, read_services
from search_plugin import Policy


def check_workers(around: Surroundings) -> Iterator[Finding]:
    """Each declared model: who serves it, which versions, how fast, what waits."""
    for service in read_services(around.redis, around.config.models):
        policies = [policy for policy in around.config.policies if policy.model == service.alias]
        is_in_arm = any(service.alias in experiment.models for experiment in around.config.experiments)
        yield judge_serving(service, is_needed=bool(policies) or is_in_arm)
        if service.workers:
            yield judge_versions(service)
            yield from (judge_kept(service, error) for error in sorted(service.problems))
            yield from (judge_speed(service, policy) for policy in policies)
        yield judge_load(service)


def judge_serving(service: Service, *, is_needed: bool) -> Finding:
    """Does anybody serve it?"""
    if service.workers:
        who = ", ".join(sorted(service.workers))
        return ok("workers.serving", f"model {service.alias}: {len(service.workers)} serve it: {who}")
    what = f"model {service.alias}: no worker serves it"
    if not is_needed:
        return hint("workers.serving", f"{what}; nothing needs it", "take it out, or start a worker")
    mend = f"start python -m worker --models {service.alias} with the same --redis-url; its log says why not"
    return problem("workers.serving", f"{what}: searches get the cluster's order (no_worker)", mend)


def judge_versions(service: Service) -> Finding:
    """Scores of two versions make no order."""
    versions = sorted(service.versions)
    if len(versions) == 1:
        named = f" ({', '.join(sorted(service.releases))})" if service.releases else ""
        return ok("workers.versions", f"model {service.alias}: version {versions[0]}{named}")
    what = f"model {service.alias}: workers serve the versions {', '.join(versions)}"
    mend = "fine while they exchange a model; else give all the same files and rerank.toml"
    return hint("workers.versions", what, mend)


def judge_kept(service: Service, error: str) -> Finding:
    """What is wanted could not be loaded, so that an older version is served."""
    mend = (
        "mend the files, or python -m rerankers versions rollback; it is tried again when something changes"
    )
    return problem("workers.kept", f"model {service.alias}: an older version stays: {error}", mend)


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
    told = f"{told}, and {total:,} characters of searches, {service.load_s:.1f} s of work"
    if service.load_s < 1:
        return ok("workers.load", told)
    return hint("workers.load", told, "if it stays so: more workers, or smaller windows")
