"""A first stage where there is none."""

from relevance.bm25 import rank_by_bm25
from relevance.judgments import JudgedQuery

DOCUMENTS = {
    "tree": "Recursively delete a directory tree",
    "sort": "Sort the list in ascending order",
    "files": "Delete files",
    "json": "Parse a JSON document",
}


def test_documents_are_ranked_by_the_words_of_the_query():
    queries = [JudgedQuery("1", "delete a tree", {}), JudgedQuery("2", "nothing like it", {})]
    assert rank_by_bm25(queries, DOCUMENTS, 10) == {"1": ["tree", "files"], "2": []}
    assert rank_by_bm25(queries, DOCUMENTS, 1)["1"] == ["tree"]
