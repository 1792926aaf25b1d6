"""Knows how to tell whether experiments get what they need: searches that name a session, equal shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.doctor.finding import Finding, hint, ok
from gateway.doctor.surroundings import Surroundings
from gateway.experiments.ledger import Ledger
from gateway.experiments.report import make_report
from search_plugin import Experiment, Policy

_MOST_WITHOUT_UNIT = 0.2


def check_experiments(around: Surroundings) -> Iterator[Finding]:
    """Each that is declared: can it count, and what has it counted?"""
    policies = {policy.name: policy for policy in around.config.policies}
    ledger = Ledger(around.redis, around.settings.events_life_s)
    for experiment in around.config.experiments:
        yield judge_policy(experiment, policies[experiment.policy])
        report = make_report(experiment, ledger.read(experiment))
        yield judge_unit(experiment, report)
        yield judge_split(report)


def judge_policy(experiment: Experiment, policy: Policy) -> Finding:
    """Does its policy rerank, so that there is something to compare?"""
    named = f"experiment {experiment.name}"
    if policy.mode == "on" and experiment.share:
        return ok("experiments.policy", f"{named}: {experiment.share:.0%} of policy {policy.name}")
    if not experiment.share:
        return hint(
            "experiments.policy", f"{named}: share is 0", "nobody takes part; take it out if it has ended"
        )
    what = f"{named}: policy {policy.name} has mode {policy.mode}"
    return hint("experiments.policy", what, "only searches that ask to be reranked take part")


def judge_unit(experiment: Experiment, report: Mapping[str, Any]) -> Finding:
    """Do searches name their session or user?"""
    named, without = sum(arm["searches"] for arm in report["arms"]), report["searches_without_unit"]
    what = f"experiment {experiment.name}: {without} of {named + without} searches have no {experiment.unit}"
    if not named + without:
        return ok("experiments.unit", f"experiment {experiment.name}: no searches yet")
    if without <= _MOST_WITHOUT_UNIT * (named + without):
        return ok("experiments.unit", what)
    return hint("experiments.unit", what, "have the application send it: searches without take no part")


def judge_split(report: Mapping[str, Any]) -> Finding:
    """Have the arms the shares that they should have?"""
    what = f"experiment {report['name']}: {report['verdict']}"
    if not report.get("sample_ratio", {}).get("is_suspicious"):
        return ok("experiments.split", what)
    mend = "compare failed and searches of the arms: python -m gateway experiments report"
    return hint("experiments.split", what, mend)
