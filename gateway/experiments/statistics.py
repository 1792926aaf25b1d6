"""Knows what sums by parts of the units tell: estimates, intervals, tests; numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

_NORMAL = NormalDist()
_Z = _NORMAL.inv_cdf(0.975)
_EXACT_SIGNS = 1_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % confidence interval, and how likely one so far from 0 is where there is none.

    ``p`` is None where the spread is not known.
    """

    value: float
    low: float
    high: float
    p: float | None


def estimate_ratio(tops: Sequence[int], bottoms: Sequence[int]) -> float | None:
    """All of one over all of the other; None over nothing."""
    return sum(tops) / sum(bottoms) if sum(bottoms) else None


def estimate(
    tops: Sequence[int], bottoms: Sequence[int], less: tuple[Sequence[int], Sequence[int]] | float = 0.0
) -> Estimate | None:
    """A ratio of sums, less another one or a number, with the jackknife's standard error.

    Each part of the units is left out once: what searches of one user have in common does no harm then.

    Args:
        tops, bottoms: by part; those of the other ratio in the same parts.

    Returns:
        None where a ratio is over nothing, or all of it comes from one part.
    """
    first = _leave_each_out(tops, bottoms)
    second = (less, [less] * len(tops)) if isinstance(less, float) else _leave_each_out(*less)
    if first is None or second is None:
        return None
    value = first[0] - second[0]
    left = [mine - theirs for mine, theirs in zip(first[1], second[1], strict=True)]
    n, mean = len(left), math.fsum(left) / len(left)
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in left) * (n - 1) / n)
    if error < _ROUNDING:
        return Estimate(value, value, value, None)
    return Estimate(value, value - _Z * error, value + _Z * error, 2 * _NORMAL.cdf(-abs(value) / error))


def _leave_each_out(tops: Sequence[int], bottoms: Sequence[int]) -> tuple[float, list[float]] | None:
    """The ratio, and what it is without each part; None where it is over nothing then."""
    top, bottom = sum(tops), sum(bottoms)
    if not bottom or any(bottom == one for one in bottoms):
        return None
    return top / bottom, [(top - one) / (bottom - its) for one, its in zip(tops, bottoms, strict=True)]


def count_units(bits: int, size: int) -> float:
    """How many different units have set so many bits of a bitmap (linear counting)."""
    return -size * math.log1p(-min(bits, size - 1) / size)


def find_split_chance(bits: Sequence[int], size: int) -> float | None:
    """How likely it is that equal shares differ so much: the least of all arms, times their number.

    Args:
        bits: by arm; None comes of fewer than two arms or no units.
    """
    units = [count_units(one, size) for one in bits]
    total, share = sum(units), 1 / len(units)
    if len(units) < 2 or not total:
        return None
    by_chance = total * share * (1 - share)
    least = 1.0
    for count in units:
        load = count / size
        by_counting = size * (math.expm1(load) - load)
        z = (count - total * share) / math.sqrt(by_chance + by_counting)
        least = min(least, 2 * _NORMAL.cdf(-abs(z)))
    return min(1.0, least * len(units))


def find_sign_chance(wins: int, losses: int) -> float | None:
    """The sign test: how likely wins and losses so unequal are where both are equally likely."""
    n, most = wins + losses, max(wins, losses)
    if not n:
        return None
    if n > _EXACT_SIGNS:
        return min(1.0, 2 * _NORMAL.cdf(-(most - n / 2 - 0.5) / math.sqrt(n / 4)))
    tail = sum(math.comb(n, k) for k in range(most, n + 1))
    return min(1.0, float(2 * tail / 2**n))
