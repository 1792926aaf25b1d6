"""Measures rankings against the judged queries: nDCG@10 and MRR@10, and how sure a difference is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ir_measures
from ir_measures import RR, nDCG

from demo.judged import JudgedQuery

MEASURES = {"nDCG@10": nDCG @ 10, "MRR@10": RR @ 10}

Ranking = Sequence[str]
"""Document ids, best first."""


@dataclass(frozen=True)
class Comparison:
    """A ranking against another on the same queries, by nDCG@10."""

    wins: int
    losses: int
    p_value: float
    """Paired t-test, two-sided."""


def measure(queries: Sequence[JudgedQuery], rankings: Mapping[str, Ranking]) -> dict[str, list[float]]:
    """For each measure one value per query, in the order of the queries.

    Args:
        rankings: by the query's text; a query without hits counts 0.
    """
    judgments = [
        ir_measures.Qrel(query.text, id, grade) for query in queries for id, grade in query.grades.items()
    ]
    run = [
        ir_measures.ScoredDoc(text, id, -rank)  # ranks, not scores, so that ties keep their order
        for text, ranking in rankings.items()
        for rank, id in enumerate(ranking)
    ]
    values = {
        (str(metric.measure), metric.query_id): metric.value
        for metric in ir_measures.iter_calc(list(MEASURES.values()), judgments, run)
    }
    return {
        name: [values.get((str(wanted), query.text), 0.0) for query in queries]
        for name, wanted in MEASURES.items()
    }


def compare(values: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """Both hold one value per query, in the same order."""
    from scipy.stats import ttest_rel  # takes a second

    wins = sum(ours > theirs for ours, theirs in zip(values, baseline, strict=True))
    losses = sum(ours < theirs for ours, theirs in zip(values, baseline, strict=True))
    p_value = float(ttest_rel(values, baseline).pvalue) if wins or losses else 1.0
    return Comparison(wins, losses, p_value)
