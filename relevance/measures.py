"""Measures rankings against judgments by `ir_measures`, a value for each judged query."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from relevance.errors import BadChoice, MissingLibrary
from relevance.judgments import JudgedQuery
from relevance.runs import Run

DEFAULT_MEASURES = ("nDCG@10", "MRR@10", "MAP@100", "Recall@10", "P@10")
"""The first one decides."""

_NAMES = {"MRR": "RR", "MAP": "AP", "Recall": "R"}
"""What `ir_measures` calls measures of which people take the mean."""


def measure(queries: Sequence[JudgedQuery], run: Run, names: Iterable[str]) -> dict[str, list[float]]:
    """By measure one value per query, in the order of the queries.

    Args:
        run: by the query's id; a query without a ranking counts 0. What is not judged counts as not relevant.

    Raises:
        BadChoice: a measure is unknown.
        MissingLibrary: `ir_measures` is not installed.
    """
    ir_measures = _load_library()
    wanted = {name: read_measure(name) for name in names}
    judgments = [
        ir_measures.Qrel(query.id, document, grade)
        for query in queries
        for document, grade in query.grades.items()
    ]
    ranked = [
        ir_measures.ScoredDoc(id, document, -float(rank))  # ranks, not scores, so that ties keep their order
        for id, ranking in run.items()
        for rank, document in enumerate(ranking)
    ]
    values = {
        (str(metric.measure), metric.query_id): float(metric.value)
        for metric in ir_measures.iter_calc(list(wanted.values()), judgments, ranked)
    }
    return {
        name: [values.get((str(known), query.id), 0.0) for query in queries] for name, known in wanted.items()
    }


def read_measure(name: str) -> Any:
    """A measure by its name: ``nDCG@10``, ``MRR@10``, ``MAP(rel=2)@100``, ``Recall@50``, ``P@5``.

    Raises:
        BadChoice: it is unknown.
        MissingLibrary: `ir_measures` is not installed.
    """
    ir_measures = _load_library()
    kind = name.partition("@")[0].partition("(")[0]
    try:
        return ir_measures.parse_measure(_NAMES.get(kind, kind) + name.removeprefix(kind))
    except (NameError, ValueError, TypeError, SyntaxError, AssertionError):
        raise BadChoice(
            f"measure: {name!r} is unknown; expected such as {', '.join(DEFAULT_MEASURES)}"
        ) from None


def take_means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """By measure the mean over all queries; 0 of none."""
    return {name: sum(of_each) / max(len(of_each), 1) for name, of_each in values.items()}


def _load_library() -> Any:
    try:
        import ir_measures  # takes a moment
    except ImportError as error:
        raise MissingLibrary(needs_extra("ir-measures")) from error
    return ir_measures


def needs_extra(library: str) -> str:
    """What to do where a library is not there."""
    return (
        f"{library} is not installed; the extra `evaluate` brings it: pip install 'rerank-sidecar[evaluate]'"
    )
