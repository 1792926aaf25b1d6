"""Scores to the order and the scores that the client sees: numbers in, numbers out."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from search_plugin.first_stage import FirstStage
from search_plugin.plan import Plan
from search_plugin.policy import Policy

# Scores stay above 0 also as the 32-bit floats that typed clients read, and the tail's below the window's.
SMALLEST_RESCORED = 1e-30
_SMALLEST_TAIL = 1e-37
_LARGEST = 3e38
_TAIL_BELOW = 0.999


class Placed(NamedTuple):
    """A hit's place in the new order.

    Attributes:
        hit: its number in first-stage order, from 0.
        score: the `_score` that the client sees: finite, above 0, never above that of the hit before.
        model_score: what the model said, normalised; None in the tail, which it did not read.
    """

    hit: int
    score: float
    model_score: float | None


def place_hits(plan: Plan, first_stage: FirstStage, logits: Sequence[float]) -> list[Placed]:
    """Order all hits, the window's by the policy's blend of both scores and the tail behind them as it was.

    Args:
        logits: one for each hit of the window, in first-stage order.

    Raises:
        ValueError: not one finite logit for each hit of the window.
    """
    window = min(plan.policy.window, len(first_stage.hits))
    if len(logits) != window or not all(map(math.isfinite, logits)):
        raise ValueError(f"expected {window} finite scores, one for each hit of the window")
    if not window:
        return []
    first_stage_scores = [hit.first_stage_score or 0.0 for hit in first_stage.hits]
    normalise = elasticsearch_score if plan.scores_like_elasticsearch else probability
    model_scores = [normalise(logit) for logit in logits]
    # ranks come from the logits: probabilities of far apart logits may be equal
    by_model = sorted(range(len(logits)), key=logits.__getitem__, reverse=True)
    blended = _BLENDS[plan.policy.score_mode](
        plan.policy, model_scores, first_stage_scores[: len(logits)], by_model
    )
    order = by_model if plan.policy.score_mode == "replace" else _order(blended, by_model)
    kept = [i for i in order if plan.policy.min_score is None or blended[i] >= plan.policy.min_score]
    # the running minimum, so that no rounding error ever climbs
    shown = accumulate((min(max(blended[i], SMALLEST_RESCORED), _LARGEST) for i in kept), min)
    placed = [Placed(i, score, model_scores[i]) for i, score in zip(kept, shown, strict=True)]
    if plan.policy.min_score is not None or not placed:
        return placed  # no model has read the tail: it reaches nothing
    return placed + _place_tail(first_stage_scores, len(logits), below=placed[-1].score)


def probability(logit: float) -> float:
    """The logistic function."""
    odds = math.exp(-abs(logit))  # at most 1: no overflow
    return (odds if logit < 0 else 1.0) / (1.0 + odds)


def elasticsearch_score(logit: float) -> float:
    """What Elasticsearch makes of a reranker's score: above 0; a negative one below 1, others from 1 on."""
    return max(logit, 0.0) + min(math.exp(min(logit, 0.0)), 1.0)


Blend = Callable[[Policy, Sequence[float], Sequence[float], Sequence[int]], Sequence[float]]


def _replace(
    policy: Policy, model: Sequence[float], first_stage: Sequence[float], by_model: Sequence[int]
) -> Sequence[float]:
    return model


def _linear(
    policy: Policy, model: Sequence[float], first_stage: Sequence[float], by_model: Sequence[int]
) -> Sequence[float]:
    least, greatest = min(first_stage), max(first_stage)
    span = greatest - least
    return [
        policy.weight * score + (1 - policy.weight) * ((first - least) / span if span else 1.0)
        for score, first in zip(model, first_stage, strict=True)
    ]


def _rrf(
    policy: Policy, model: Sequence[float], first_stage: Sequence[float], by_model: Sequence[int]
) -> Sequence[float]:
    rank_by_model = {hit: rank for rank, hit in enumerate(by_model, start=1)}
    return [
        1 / (policy.rank_constant + rank_by_model[hit]) + 1 / (policy.rank_constant + hit + 1)
        for hit in range(len(model))
    ]


_BLENDS: Mapping[str, Blend] = {"replace": _replace, "linear": _linear, "rrf": _rrf}


def _order(blended: Sequence[float], by_model: Sequence[int]) -> list[int]:
    """By the blended score; of equal ones the model's better first."""
    return sorted(by_model, key=blended.__getitem__, reverse=True)


def _place_tail(first_stage_scores: Sequence[float], start: int, below: float) -> list[Placed]:
    # Scaled by the window's last hit and not the page's: a hit has the same score on whatever page it is.
    edge = first_stage_scores[start - 1]
    ratios = (min(score / edge, 1.0) if edge > 0 else 1.0 for score in first_stage_scores[start:])
    # the running minimum again: some clauses order by more than the score
    scores = accumulate((max(below * _TAIL_BELOW * ratio, _SMALLEST_TAIL) for ratio in ratios), min)
    return [Placed(i, score, None) for i, score in enumerate(scores, start=start)]
