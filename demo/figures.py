"""Measures rankings against the demo's judged queries: nDCG@10 and MRR@10."""

from collections.abc import Mapping, Sequence

from demo.judged import JudgedQuery
from relevance import judgments, measures
from relevance.comparison import compare
from relevance.runs import Ranking

__all__ = ["MEASURES", "compare", "measure"]

MEASURES = ("nDCG@10", "MRR@10")


def measure(queries: Sequence[JudgedQuery], rankings: Mapping[str, Ranking]) -> dict[str, list[float]]:
    """For each measure one value per query, in the order of the queries.

    Args:
        rankings: by the query's text; a query without hits counts 0.
    """
    judged = [judgments.JudgedQuery(query.text, query.text, query.grades) for query in queries]
    return measures.measure(judged, rankings, MEASURES)
