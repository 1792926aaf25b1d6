"""Knows how to say what an experiment has shown so far, and that it has shown nothing yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from gateway.experiments.ledger import MILLION, UNIT_BITS, Tally
from gateway.experiments.statistics import (
    Estimate,
    count_units,
    estimate,
    estimate_ratio,
    find_sign_chance,
    find_split_chance,
)
from search_plugin import Experiment

LEAST_UNITS, LEAST_CLICKED = 100, 30
"""In each arm, before anything is said of a difference."""

_SUSPICIOUS = 0.001
_SURE = 0.05

# figure: over which one it is a ratio, in which unit, and what it is called
RATIOS: Mapping[str, tuple[str, str, float, str]] = {
    "ctr": ("clicks", "searches", 1.0, "clicks a search"),
    "mrr": ("reciprocal", "clicks", MILLION, "mean reciprocal rank of the clicks"),
    "abandonment": ("abandoned", "searches", 1.0, "searches without a click"),
}

_SHADOW_RATIOS: Mapping[str, tuple[str, str, float, str]] = {
    "overlap": ("overlap", "compared", MILLION, "the first ten hits that both have"),
    "moved": ("moved", "places", 1.0, "places of the page with another hit"),
    "other_first": ("other_first", "compared", 1.0, "searches with another first hit"),
}


def make_report(experiment: Experiment, tally: Tally) -> dict[str, Any]:
    """What was counted, and what that tells, as JSON.

    Shares of differences are absolute: 0.02 are two more of a hundred.
    """
    arms = range(1 if experiment.kind != "ab" else len(experiment.arms))
    shown = ["interleaved"] if experiment.kind == "interleave" else experiment.arms
    report = {
        "name": experiment.name,
        "kind": experiment.kind,
        "policy": experiment.policy,
        "share": experiment.share,
        "since": _tell_time(tally.started),
        "searches_without_unit": tally.n_without_unit,
        "arms": [_tell_arm(shown[arm], arm, tally) for arm in arms],
        **_PARTS[experiment.kind](experiment, tally),
    }
    early = _find_early(experiment, tally)
    return {**report, "too_early": early, "verdict": early or _judge(experiment, report)}


def _tell_time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


def _tell_arm(name: str, arm: int, tally: Tally) -> dict[str, Any]:
    return {
        "arm": name,
        "units": round(count_units(tally.unit_bits[arm], UNIT_BITS)),
        "searches": tally.total("searches", arm),
        "failed": tally.failed[arm],
        "clicks": tally.total("clicks", arm),
        **{
            figure: None if ratio is None else ratio / scale
            for figure, (top, bottom, scale, _) in RATIOS.items()
            for ratio in [estimate_ratio(_sums(tally, top, arm), _sums(tally, bottom, arm))]
        },
    }


def _sums(tally: Tally, figure: str, arm: int) -> Sequence[int]:
    if figure == "abandoned":
        return [
            searches - clicked
            for searches, clicked in zip(tally.sums["searches"][arm], tally.sums["clicked"][arm], strict=True)
        ]
    return tally.sums[figure][arm]


def _compare_arms(experiment: Experiment, tally: Tally) -> dict[str, Any]:
    differences = []
    for arm, name in list(enumerate(experiment.arms))[1:]:
        told: dict[str, Any] = {"arm": name, "against": experiment.arms[0]}
        for figure, (top, bottom, scale, _) in RATIOS.items():
            first, control = ((_sums(tally, top, one), _sums(tally, bottom, one)) for one in (arm, 0))
            told[figure] = _tell_estimate(estimate(*first, less=control), scale)
        differences.append(told)
    chance = find_split_chance(tally.unit_bits, UNIT_BITS)
    suspicious = chance is not None and chance < _SUSPICIOUS
    return {"differences": differences, "sample_ratio": {"p": chance, "is_suspicious": suspicious}}


def _compare_teams(experiment: Experiment, tally: Tally) -> dict[str, Any]:
    """How often clicks prefer the second arm: 0.5 where they prefer neither, ties counted as halves."""
    clicked, (losses, wins) = tally.sums["clicked"][0], (tally.sums[f"wins{team}"][0] for team in (0, 1))
    # twice the wins and the ties, over twice the answers with a click
    tops = [n + win - loss for n, win, loss in zip(clicked, wins, losses, strict=True)]
    preference = estimate(tops, [2 * n for n in clicked], less=0.5)
    if preference is not None:
        low, high = preference.low + 0.5, preference.high + 0.5
        preference = Estimate(preference.value + 0.5, low, high, preference.p)
    return {
        "preference": {
            "arm": experiment.arms[1],
            "against": experiment.arms[0],
            "wins": sum(wins),
            "losses": sum(losses),
            "ties": sum(clicked) - sum(wins) - sum(losses),
            "clicks": tally.total("team1", 0),
            "clicks_against": tally.total("team0", 0),
            "share": _tell_estimate(preference, 1.0),
            "sign_test_p": find_sign_chance(sum(wins), sum(losses)),
        }
    }


def _compare_unshown(experiment: Experiment, tally: Tally) -> dict[str, Any]:
    told = {
        figure: found and _tell_estimate(replace(found, p=None), scale)
        for figure, (top, bottom, scale, _) in _SHADOW_RATIOS.items()
        for found in [estimate(tally.sums[top][0], tally.sums[bottom][0])]
    }
    return {"shadow": {"arm": experiment.arms[1], "compared": tally.total("compared", 0), **told}}


_PARTS: Mapping[str, Callable[[Experiment, Tally], dict[str, Any]]] = {
    "ab": _compare_arms,
    "interleave": _compare_teams,
    "shadow": _compare_unshown,
}


def _tell_estimate(found: Estimate | None, scale: float) -> dict[str, Any] | None:
    if found is None:
        return None
    scaled = {name: getattr(found, name) / scale for name in ("value", "low", "high")}
    return asdict(found) | scaled


def _find_early(experiment: Experiment, tally: Tally) -> str | None:
    """Why nothing can be said of a difference yet."""
    if experiment.kind == "shadow":
        n = tally.total("compared", 0)
        return f"too early: {n} searches compared of at least {LEAST_UNITS}" if n < LEAST_UNITS else None
    for arm in range(len(experiment.arms) if experiment.kind == "ab" else 1):
        units, clicked = (
            round(count_units(tally.unit_bits[arm], UNIT_BITS)),
            tally.total("clicked", arm),
        )
        if units < LEAST_UNITS or clicked < LEAST_CLICKED:
            name = experiment.arms[arm] if experiment.kind == "ab" else "the mixed page"
            seen = f"{name} was shown to {units} sessions or users, and {clicked} searches have a click"
            return f"too early: {seen}; at least {LEAST_UNITS} and {LEAST_CLICKED} are needed"
    return None


def _judge(experiment: Experiment, report: Mapping[str, Any]) -> str:
    return _VERDICTS[experiment.kind](report)


def _judge_arms(report: Mapping[str, Any]) -> str:
    if report["sample_ratio"]["is_suspicious"]:
        return (
            f"not to be trusted: the arms have unequal shares of sessions or users (p = "
            f"{report['sample_ratio']['p']:.1g}); does one of them fail more, or lose its events?"
        )
    said = []
    for told in report["differences"]:
        found = told["ctr"]
        if found is None or found["p"] is None or found["p"] >= _SURE:
            said.append(f"{told['arm']}: no difference from {told['against']} is shown")
        else:
            word = "more" if found["value"] > 0 else "fewer"
            said.append(f"{told['arm']} gets {word} clicks a search than {told['against']}: {_tell(found)}")
    return "; ".join(said) or "one arm: nothing to compare it with"


def _judge_teams(report: Mapping[str, Any]) -> str:
    told = report["preference"]
    found = told["share"]
    if found is None or found["p"] is None or found["p"] >= _SURE:
        return f"no preference between {told['against']} and {told['arm']} is shown"
    better, worse = (told["arm"], told["against"])[:: 1 if found["value"] > 0.5 else -1]
    return f"clicks prefer {better} to {worse}: {told['arm']} wins {_tell(found)}"


def _judge_unshown(report: Mapping[str, Any]) -> str:
    told = report["shadow"]
    return f"{told['arm']} would show another first hit in {_tell(told['other_first'])} of the searches"


_VERDICTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "ab": _judge_arms,
    "interleave": _judge_teams,
    "shadow": _judge_unshown,
}


def _tell(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} (95 % CI {found['low']:.3f} to {found['high']:.3f})"


def write_lines(report: Mapping[str, Any]) -> list[str]:
    """The report for people, a line each."""
    lines = [
        f"{report['name']}: {report['kind']} on policy {report['policy']}, {report['share']:.0%} of all "
        f"sessions or users, since {report['since'] or 'nothing was shown yet'}",
        report["verdict"],
    ]
    for arm in report["arms"]:
        figures = [f"{name} {arm[name]:.4f}" for name in RATIOS if arm[name] is not None]
        counts = [f"{arm[name]} {name}" for name in ("units", "searches", "clicks", "failed")]
        lines.append(f"  {arm['arm']}: {', '.join(counts + figures)}")
    for told in report.get("differences", ()):
        for name, (_, _, _, words) in RATIOS.items():
            lines.append(_write_row(f"{told['arm']} - {told['against']}: {words}", told[name]))
    if told := report.get("preference"):
        counts = [f"{told[name]} {name}" for name in ("wins", "losses", "ties")]
        lines.append(f"  {told['arm']} against {told['against']}: {', '.join(counts)}")
        lines.append(_write_row("share of wins, ties as halves", told["share"]))
        if told["sign_test_p"] is not None:
            lines.append(f"  sign test: p = {told['sign_test_p']:.2g}")
    if told := report.get("shadow"):
        for name, (_, _, _, words) in _SHADOW_RATIOS.items():
            lines.append(_write_row(f"{told['arm']}: {words}", told[name]))
    if report["searches_without_unit"]:
        lines.append(f"  {report['searches_without_unit']} searches named no session or user")
    return lines


def _write_row(words: str, found: Mapping[str, Any] | None) -> str:
    if found is None:
        return f"  {words}: not enough"
    p = "" if found["p"] is None else f", p = {found['p']:.2g}"
    return f"  {words}: {_tell(found)}{p}"
