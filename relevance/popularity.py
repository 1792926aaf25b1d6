"""A control that does not read the query: documents that were often relevant in training come first.

What does not beat it may only have learned which documents are asked for.
"""

from collections import Counter
from collections.abc import Iterable

from relevance.judgments import JudgedQuery
from relevance.runs import Run, reorder


def count_popularity(training: Iterable[JudgedQuery]) -> Counter[str]:
    """The sum of each document's grades over the training queries."""
    popularity: Counter[str] = Counter()
    for query in training:
        popularity.update(query.grades)
    return popularity


def rank_by_popularity(candidates: Run, popularity: Counter[str]) -> dict[str, list[str]]:
    """The same candidates by popularity; equal ones keep their order."""
    return {
        id: reorder(ranking, [popularity[document] for document in ranking])
        for id, ranking in candidates.items()
    }
