"""The first stage's hits and their passages, from files: a run's, or BM25's where there is none."""

from collections.abc import Collection, Sequence

from relevance.bm25 import rank_by_bm25
from relevance.collection import read_documents
from relevance.files import FilePath
from relevance.judgments import JudgedQuery
from relevance.runs import Run, read_run


def read_first_stage(
    run: FilePath | None,
    documents: FilePath,
    queries: Sequence[JudgedQuery],
    depth: int,
    judged: Collection[str] = (),
) -> tuple[Run, dict[str, str]]:
    """For each query at most ``depth`` hits, and passages by document id, those of all hits among them.

    Args:
        run: as TREC writes it; None computes BM25.
        judged: further documents whose passages are wanted.

    Raises:
        RelevanceError: a file can't be used, or `bm25s` is not installed.
    """
    if not run:
        passages = read_documents(documents)
        return rank_by_bm25(queries, passages, depth), passages
    ranked = read_run(run)
    hits = {query.id: ranked.get(query.id, [])[:depth] for query in queries}
    wanted = {document for of_query in hits.values() for document in of_query}
    return hits, read_documents(documents, wanted | {*judged})
