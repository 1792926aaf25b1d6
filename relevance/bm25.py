"""A first stage where there is none: BM25 over a file of documents, in memory, by `bm25s`."""

from collections.abc import Iterable, Mapping

from relevance.errors import MissingLibrary
from relevance.judgments import JudgedQuery
from relevance.measures import needs_extra


def rank_by_bm25(
    queries: Iterable[JudgedQuery], documents: Mapping[str, str], depth: int
) -> dict[str, list[str]]:
    """For each query the best documents, at most ``depth``; those without a word of the query are no hits.

    Raises:
        MissingLibrary: `bm25s` is not installed.
    """
    try:
        import bm25s
    except ImportError as error:
        raise MissingLibrary(needs_extra("bm25s")) from error
    asked, ids = list(queries), list(documents)
    index = bm25s.BM25()

    def tokenize(texts: Iterable[str]) -> object:
        return bm25s.tokenize(list(texts), stopwords="en", show_progress=False)

    index.index(tokenize(documents.values()), show_progress=False)
    words = tokenize(query.text for query in asked)
    found, scores = index.retrieve(words, k=min(depth, len(ids)), show_progress=False)
    return {
        query.id: [ids[place] for place, score in zip(places, of_query, strict=True) if score > 0]
        for query, places, of_query in zip(asked, found, scores, strict=True)
    }
