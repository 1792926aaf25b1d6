"""How sure a difference between two rankings of the same queries is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relevance.errors import MissingLibrary
from relevance.measures import needs_extra

RESAMPLES = 2000
SEED = 1


@dataclass(frozen=True)
class Comparison:
    """A ranking against another, by one measure.

    Attributes:
        difference: of the means; above 0 the ranking is better than the other.
        low, high: 95 % confidence interval of it, by resampling the queries.
        wins, losses, ties: queries where it is better, worse, and as good.
        p_value: of a paired t-test, two-sided.
    """

    difference: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    p_value: float


def compare(values: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """Compare two rankings; both hold one value per query, in the same order.

    Raises:
        ValueError: there are no queries, or the lengths differ.
    """
    ours, theirs = np.asarray(values, dtype=float), np.asarray(baseline, dtype=float)
    if ours.shape != theirs.shape or not ours.size:
        raise ValueError("expected one value per query of each ranking, and at least one query")
    differences = ours - theirs  # (Q,)
    chosen = np.random.default_rng(SEED).integers(0, ours.size, (RESAMPLES, ours.size))
    low, high = np.quantile(differences[chosen].mean(axis=1), (0.025, 0.975))
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        difference=float(differences.mean()),
        low=float(low),
        high=float(high),
        wins=wins,
        losses=losses,
        ties=ours.size - wins - losses,
        p_value=_test(differences, wins, losses),
    )


def adjust(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: what each p is worth where so many comparisons were made at once."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [1.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        highest = max(highest, min((len(p_values) - place) * p_values[index], 1.0))
        adjusted[index] = highest
    return adjusted


def _test(differences: "np.ndarray[tuple[int], np.dtype[np.float64]]", wins: int, losses: int) -> float:
    if not wins and not losses:
        return 1.0
    if np.ptp(differences) < 1e-9:  # a t-test divides by their spread: by a coin, so many times the same side
        return float(min(2 * 0.5**differences.size, 1.0))
    try:
        from scipy.stats import ttest_1samp  # takes a second
    except ImportError as error:
        raise MissingLibrary(needs_extra("scipy")) from error
    return float(ttest_1samp(differences, 0.0).pvalue)
