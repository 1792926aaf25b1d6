"""Runs: for each query one ranked list, in TREC's format."""

import math
from collections.abc import Mapping, Sequence

from relevance.errors import BadFile
from relevance.files import FilePath, naming, read_lines, write_lines

Ranking = Sequence[str]
"""Document ids, best first."""

Run = Mapping[str, Ranking]
"""By the query's id."""


def read_run(path: FilePath) -> dict[str, list[str]]:
    """Read ``query Q0 document rank score tag`` a line; the score orders, equal ones keep the file's order.

    Raises:
        BadFile: a line is malformed, a document is ranked twice, or there are no lines.
    """
    scored: dict[str, dict[str, float]] = {}
    for number, line in read_lines(path):
        with naming(path, number):
            columns = line.split()
            if len(columns) != 6:
                raise ValueError(f"expected query Q0 document rank score tag, found {len(columns)} columns")
            query, _, document, _, text, _ = columns
            of_query = scored.setdefault(query, {})
            if document in of_query:
                raise ValueError(f"query {query!r}: document {document!r} is ranked twice")
            of_query[document] = _read_score(text)
    if not scored:
        raise BadFile(f"{path}: no ranking in it (query Q0 document rank score tag)")
    return {
        query: sorted(scores, key=scores.__getitem__, reverse=True) for query, scores in scored.items()
    }  # stable


def write_run(path: FilePath, run: Run, tag: str) -> None:
    """Write a run; scores only say the order.

    Raises:
        BadFile: it can't be written.
    """
    name = "-".join(tag.split()) or "run"
    write_lines(
        path,
        (
            f"{query} Q0 {document} {rank} {len(ranking) - rank + 1} {name}"
            for query, ranking in run.items()
            for rank, document in enumerate(ranking, start=1)
        ),
    )


def reorder(ranking: Ranking, scores: Sequence[float]) -> list[str]:
    """The same documents by score, best first; equal ones keep their order.

    Args:
        scores: ``scores[i]`` for ``ranking[i]``.
    """
    pairs = sorted(zip(scores, ranking, strict=True), key=lambda pair: -pair[0])
    return [document for _, document in pairs]


def _read_score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        raise ValueError(f"score: expected a number, found {text!r}") from None
    if math.isnan(score):
        raise ValueError("score: expected a number, found nan")
    return score
