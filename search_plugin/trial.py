"""One search's part in an experiment: the arm that it gets, pages drafted by two teams, what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from random import Random
from typing import NamedTuple

from search_plugin.blend import SMALLEST_RESCORED, Placed
from search_plugin.experiment import FIRST_STAGE_ARM, POLICY_ARM, Experiment
from search_plugin.first_stage import Hit
from search_plugin.paths import find_values
from search_plugin.plan import Plan
from search_plugin.policy import Policy
from search_plugin.rewrite import read_parameters

_MOST_UNIT_CHARS = 200
_OVERLAP_DEPTH = 10


@dataclass(frozen=True, slots=True)
class Trial:
    """A search that takes part.

    Attributes:
        unit: the session or user that it is of.
        plan: what the policy would do.
        arm: the number of the arm that is shown; None where both have a share in the page.
        shown: the rankings that make up the page, as the plans of their arms; None for the first stage.
        unshown: what is ranked for nobody.
    """

    experiment: Experiment
    unit: str
    plan: Plan
    arm: int | None
    shown: tuple[Plan | None, ...]
    unshown: tuple[Plan | None, ...] = ()

    @property
    def is_counted(self) -> bool:
        """It is a first page: further ones are ranked alike, and are no searches of their own."""
        return self.plan.page_from == 0

    @property
    def arm_name(self) -> str:
        """As answers tell it."""
        return "interleaved" if self.arm is None else self.experiment.arms[self.arm]


def find_experiments(
    plan: Plan, experiments: Sequence[Experiment], policies: Sequence[Policy]
) -> list[Experiment]:
    """Those that the search may take part in.

    None for one that has chosen a model for itself, or is not to be reranked.
    """
    as_configured = next((policy for policy in policies if policy.name == plan.policy.name), None)
    if as_configured is None or as_configured.model != plan.policy.model or plan.policy.mode != "on":
        return []
    return [one for one in experiments if one.policy == plan.policy.name]


def read_unit(experiment: Experiment, target: str, headers: Mapping[str, str]) -> str:
    """What names the session or user in a request; empty where nothing does.

    Args:
        headers: by lower-case name.
    """
    place, _, name = experiment.unit.partition(":")
    if place == "header":
        found = headers.get(name.lower(), "")
    elif place == "parameter":
        found = read_parameters(target).get(name, "")
    else:
        found = _read_cookie(headers.get("cookie", ""), name)
    return found.strip()[:_MOST_UNIT_CHARS]


def _read_cookie(header: str, name: str) -> str:
    """The standard library's reader gives up at the first odd cookie, which may be another's."""
    cookies = (cookie.strip().partition("=") for cookie in header.split(";"))
    return next((value.strip('"') for found, _, value in cookies if found == name), "")


def name_object(hit: Hit, field: str) -> str:
    """What events call a hit: its id, or what stands in a field of its source; empty where nothing does."""
    if field == "_id":
        return str(hit.value("_id") or "")
    values = (value for value in find_values(hit.source, field) if isinstance(value, str | int))
    return str(next(values, ""))


def enter(experiment: Experiment, unit: str, plan: Plan) -> Trial:
    """What the search gets, as a unit that takes part."""
    arms = tuple(_lay_arm(plan, arm) for arm in experiment.arms)
    if experiment.kind == "interleave":
        return Trial(experiment, unit, plan, None, arms)
    if experiment.kind == "shadow":
        return Trial(experiment, unit, plan, 0, arms[:1], arms[1:])
    arm = experiment.choose_arm(unit)
    return Trial(experiment, unit, plan, arm, (arms[arm],))


def _lay_arm(plan: Plan, arm: str) -> Plan | None:
    """The plan with the arm's model; None for the first stage, which needs none."""
    if arm == FIRST_STAGE_ARM:
        return None
    if arm == POLICY_ARM:
        return plan
    return replace(plan, policy=plan.policy.model_copy(update={"model": arm}))


class Drafted(NamedTuple):
    """A page of two rankings.

    Attributes:
        placed: all hits in the order that is shown.
        teams: by hit, the number of the arm that picked it; the tail is nobody's.
    """

    placed: list[Placed]
    teams: Mapping[int, int]


def interleave(trial: Trial, rankings: Sequence[Sequence[Placed] | None], n_window: int) -> Drafted:
    """Mix two rankings of the same window so that clicks tell which one is better.

    The same for all pages of a unit's search. Scores are those of the model's ranking by rank: they tell the
    order, not how good a hit is.

    Args:
        rankings: of each arm, as `place_hits` gives them; None for the first stage. At most one is.
        n_window: how many hits were scored.
    """
    by_model = next(ranking for ranking in rankings if ranking is not None)
    scored = [place for place in by_model if place.model_score is not None]
    orders = [
        range(n_window)
        if ranking is None
        else [place.hit for place in ranking if place.model_score is not None]
        for ranking in rankings
    ]
    seed = f"{trial.experiment.name}\0{trial.unit}\0{trial.plan.query_text}"
    teams = draft_teams(orders[0], orders[1], seed)
    model_scores = {place.hit: place.model_score for place in scored}
    shown = [place.score for place in scored] or [SMALLEST_RESCORED]
    placed = [
        Placed(hit, shown[min(rank, len(shown) - 1)], model_scores.get(hit)) for rank, hit in enumerate(teams)
    ]
    tail = [place for place in by_model if place.model_score is None]
    return Drafted(placed + tail, teams)


def draft_teams(first: Sequence[int], second: Sequence[int], seed: str) -> dict[int, int]:
    """Team draft: in each round both rankings pick their best hit that is left, a coin tells who begins.

    Returns:
        Hit → 0 or 1, who picked it, in the order of the picks. All hits of both, each once.
    """
    coins = Random(int.from_bytes(blake2b(seed.encode("utf-8", "surrogateescape")).digest()))
    teams: dict[int, int] = {}
    left = (_leave_out(first, teams), _leave_out(second, teams))
    while True:
        begins = coins.getrandbits(1)
        picks = 0
        for team in (begins, 1 - begins):
            if (hit := next(left[team], None)) is not None:
                teams[hit] = team
                picks += 1
        if not picks:
            return teams


def _leave_out(ranking: Sequence[int], picked: Mapping[int, int]) -> Iterator[int]:
    return (hit for hit in ranking if hit not in picked)


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an order is from another.

    Attributes:
        moved: of the page's places, at how many another hit stands.
        n_places: how many the page has.
        overlap: of the first ten (or fewer) hits of one, the share that is among those of the other.
        is_other_first: another hit is the first.
    """

    moved: int
    n_places: int
    overlap: float
    is_other_first: bool


def compare_orders(shown: Sequence[int], other: Sequence[int], page: range) -> Difference:
    """Hold an order against that which is shown, both of the same hits.

    Args:
        page: the ranks of the page that is shown, from 0.
    """
    ranks = [rank for rank in page if rank < len(shown)]
    moved = sum(rank >= len(other) or shown[rank] != other[rank] for rank in ranks)
    first = shown[:_OVERLAP_DEPTH]
    overlap = len(set(first) & set(other[:_OVERLAP_DEPTH])) / len(first) if first else 1.0
    return Difference(moved, len(ranks), overlap, list(shown[:1]) != list(other[:1]))
