"""The client's page cut out of the enlarged answer: rescored, or as it would have been without us."""

import math
from collections.abc import Sequence
from itertools import accumulate

from search_plugin.first_stage import FirstStage, Hit
from search_plugin.plan import Plan

# Scores stay above 0 also as the 32-bit floats that typed clients read, and the tail's below the window's.
_SMALLEST_RESCORED = 1e-30
_SMALLEST_TAIL = 1e-37
_TAIL_BELOW = 0.999


def merge(plan: Plan, first_stage: FirstStage, scores: Sequence[float]) -> bytes:
    """Put the model's scores on the window, order it by them and cut the client's page.

    Args:
        first_stage: the enlarged answer; not changed.
        scores: logits, ``scores[i]`` for hit ``i`` of the window, as many as ``read_passages`` gave passages.

    Returns:
        The answer's bytes with only the page in ``hits.hits``, best first; equal scores keep their order.
        ``_score`` is the logistic probability, above 0; ``max_score`` is that of the window's best hit. Hits
        behind the window follow in first-stage order, their scores scaled to lie below.

    Raises:
        ValueError: not one finite score for each hit of the window.
    """
    window = first_stage.hits[: plan.policy.window]
    if len(scores) != len(window) or not all(map(math.isfinite, scores)):
        raise ValueError(f"expected {len(window)} finite scores, one for each hit of the window")
    if not window:
        return restore(plan, first_stage)
    order = sorted(range(len(window)), key=scores.__getitem__, reverse=True)  # still stable
    # the running minimum, so that no rounding error ever climbs
    probabilities = accumulate((_probability(scores[i]) for i in order), min)
    placed = [(window[i], probability) for i, probability in zip(order, probabilities, strict=True)]
    placed += _scale_tail(first_stage.hits[plan.policy.window :], window[-1], below=placed[-1][1])
    page = placed[plan.page_from : plan.page_from + plan.page_size]
    hits = [_write_hit(first_stage, hit, _write_score(score)) for hit, score in page]
    return _write_answer(first_stage, hits, max_score=_write_score(placed[0][1]))


def restore(plan: Plan, first_stage: FirstStage) -> bytes:
    """Cut the client's page out of the enlarged answer, scores and order as the cluster sent them."""
    page = first_stage.hits[plan.page_from : plan.page_from + plan.page_size]
    return _write_answer(first_stage, [first_stage.text[hit.start : hit.end] for hit in page])


def _probability(logit: float) -> float:
    odds = math.exp(-abs(logit))  # at most 1: no overflow
    return max((odds if logit < 0 else 1.0) / (1.0 + odds), _SMALLEST_RESCORED)


def _scale_tail(tail: Sequence[Hit], last_of_window: Hit, below: float) -> list[tuple[Hit, float]]:
    # Scaled by the window's last hit and not the page's: a hit has the same score on whatever page it is.
    edge = last_of_window.first_stage_score or 0.0
    ratios = [min((hit.first_stage_score or 0.0) / edge, 1.0) if edge > 0 else 1.0 for hit in tail]
    scores = [max(below * _TAIL_BELOW * ratio, _SMALLEST_TAIL) for ratio in ratios]
    return list(zip(tail, scores, strict=True))


def _write_score(score: float) -> str:
    """Write 7 digits (what a 32-bit float holds) and always a fraction: no client reads an integer."""
    digits, exponent_mark, exponent = f"{score:.7g}".partition("e")
    return f"{digits if '.' in digits else digits + '.0'}{exponent_mark}{exponent}"


def _write_hit(first_stage: FirstStage, hit: Hit, score: str) -> str:
    if hit.score is None:
        return first_stage.text[hit.start : hit.end]
    return first_stage.text[hit.start : hit.score.start] + score + first_stage.text[hit.score.end : hit.end]


def _write_answer(first_stage: FirstStage, hits: Sequence[str], max_score: str | None = None) -> bytes:
    edits = [(first_stage.start, first_stage.end, _write_array(first_stage, hits))]
    if max_score is not None and first_stage.max_score is not None:
        edits.append((first_stage.max_score.start, first_stage.max_score.end, max_score))
    pieces, position = [], 0
    for start, end, replacement in sorted(edits):
        pieces += [first_stage.text[position:start], replacement]
        position = end
    pieces.append(first_stage.text[position:])
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _write_array(first_stage: FirstStage, hits: Sequence[str]) -> str:
    """Write ``hits.hits`` with the blanks that the cluster put before, between and behind its hits."""
    text, old = first_stage.text, first_stage.hits
    if not old:
        return text[first_stage.start : first_stage.end]
    opening = text[first_stage.start : old[0].start]
    if not hits:
        return "[]" if opening == "[" else "[ ]"  # as both engines print an empty pretty array
    comma = text[old[0].end : old[1].start] if len(old) > 1 else ","
    return opening + comma.join(hits) + text[old[-1].end : first_stage.end]
