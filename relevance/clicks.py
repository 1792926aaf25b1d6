"""Clicks to judgments without the bias of positions: clicks over expected clicks, until both sides agree.

What stands on top is clicked because it stands there. So a document's clicks are held against those that an
average document would have had at the same positions (COEC). But what stands on top is also better than the
average, which makes that expectation unfair: so positions are judged anew by what stood there, documents by
the new expectation, and so on. Documents that stood at several positions tell the two apart; where none did,
it stays with plain COEC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from relevance.errors import BadChoice
from relevance.judgments import JudgedQuery, read_grade
from relevance.ubi import View

MAX_POSITION = 20
LEAST_VIEWS = 10
SMOOTHING = 10.0
CUTS = (1.0, 2.0, 4.0)
ROUNDS = 500
_TOLERANCE = 1e-6

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Rating:
    """How a document did for a query.

    Attributes:
        lift: how often it was clicked, in proportion to an average document at the same positions.
    """

    query: str
    document: str
    n_views: int
    n_clicks: int
    lift: float


@dataclass(frozen=True)
class ClickModel:
    """What a log says.

    Attributes:
        propensities: by position, how often people look there; 1 where they look most.
    """

    propensities: Mapping[int, float]
    ratings: Sequence[Rating] = field(repr=False)


def fit_clicks(
    views: Sequence[View], *, max_position: int = MAX_POSITION, smoothing: float = SMOOTHING
) -> ClickModel:
    """Estimate who looks where, and what attracts whom.

    Args:
        max_position: what stood further down tells nothing.
        smoothing: so many views of an average document are added to each: few views say little.

    Raises:
        BadChoice: nothing is left to learn from, or the smoothing is not positive.
    """
    if smoothing <= 0:
        raise BadChoice(f"smoothing: expected a positive number, found {smoothing:g}")
    seen = [view for view in views if view.position <= max_position]
    if not any(view.is_clicked for view in seen):
        raise BadChoice(f"max_position: no click at position {max_position} or above it")
    pairs = list(dict.fromkeys((view.query, view.document) for view in seen))
    positions = sorted({view.position for view in seen})
    cells = _Cells.count(seen, pairs, positions)
    rates, lifts = _estimate(cells, len(pairs), len(positions), smoothing)
    n_views = np.bincount(cells.pair, cells.views, len(pairs))
    n_clicks = np.bincount(cells.pair, cells.clicks, len(pairs))
    return ClickModel(
        propensities=dict(zip(positions, (rates / rates.max()).tolist(), strict=True)),
        ratings=[
            Rating(*pair, int(n_views[place]), int(n_clicks[place]), float(lifts[place]))
            for place, pair in enumerate(pairs)
        ],
    )


def judge_by_clicks(
    model: ClickModel,
    texts: Mapping[str, str],
    *,
    cuts: Sequence[float] = CUTS,
    least_views: int = LEAST_VIEWS,
) -> list[JudgedQuery]:
    """Judgments of what was seen often enough; queries for which nothing is relevant are left out.

    Args:
        texts: by a query's words, as it is spelt.
        cuts: a document's grade is how many of these its lift reaches.
    """
    grades: dict[str, dict[str, int]] = {}
    for rating in model.ratings:
        if rating.n_views >= least_views:
            grades.setdefault(rating.query, {})[rating.document] = read_grade(rating.lift, cuts)
    return [
        JudgedQuery(texts[query], texts[query], of_query)
        for query, of_query in grades.items()
        if any(of_query.values())
    ]


@dataclass(frozen=True)
class _Cells:
    """Views and clicks of each pair of query and document at each position; C cells."""

    pair: Ints  # (C,)
    position: Ints  # (C,)
    views: Floats  # (C,)
    clicks: Floats  # (C,)

    @classmethod
    def count(
        cls, seen: Sequence[View], pairs: Sequence[tuple[str, str]], positions: Sequence[int]
    ) -> "_Cells":
        of_pair = {pair: place for place, pair in enumerate(pairs)}
        of_position = {position: place for place, position in enumerate(positions)}
        counts: dict[tuple[int, int], list[int]] = {}
        for view in seen:
            cell = of_pair[view.query, view.document], of_position[view.position]
            count = counts.setdefault(cell, [0, 0])
            count[0] += 1
            count[1] += view.is_clicked
        places = np.array(list(counts), dtype=np.int64)
        amounts = np.array(list(counts.values()), dtype=float)
        return cls(places[:, 0], places[:, 1], amounts[:, 0], amounts[:, 1])


def _estimate(cells: _Cells, n_pairs: int, n_positions: int, smoothing: float) -> tuple[Floats, Floats]:
    """How often an average document is clicked, by position, and how much oftener each one is, by pair.

    Fits ``clicks = views * rate of the position * lift of the pair`` by turns, which converges from COEC.
    """
    position_clicks = np.bincount(cells.position, cells.clicks, n_positions)
    pair_clicks = np.bincount(cells.pair, cells.clicks, n_pairs)
    added = (
        smoothing * cells.clicks.sum() / cells.views.sum()
    )  # clicks of so many views of an average document
    rates = position_clicks / np.bincount(cells.position, cells.views, n_positions)
    for _ in range(ROUNDS):
        expected = np.bincount(cells.pair, cells.views * rates[cells.position], n_pairs)
        lifts = (pair_clicks + added) / (expected + added)
        before = rates
        seen = np.bincount(cells.position, cells.views * lifts[cells.pair], n_positions)
        rates = position_clicks / seen
        if np.abs(rates - before).max() < _TOLERANCE:
            break
    return rates, lifts
