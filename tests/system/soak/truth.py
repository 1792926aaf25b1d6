"""Knows what is right: each query's page as the cluster has it, and as the model orders it."""

import re
from dataclasses import dataclass
from itertools import product

import urllib3

from tests.system.conftest import match

INDEX = "pages"
WINDOW = 10
PAGES = ((0, WINDOW), (0, 4), (4, 6))  # from and size
REASONS = {"no_worker", "overload", "circuit_open", "timeout", "backend_error"}
TOLERANCE = 1e-3

VERBS = ("delete", "list", "sort", "create", "read", "rename")
THINGS = ("a directory", "the names of all files", "an iterable", "a JSON document", "a path", "its contents")
QUERIES = tuple(f"{verb} {thing} in an archive" for verb, thing in product(VERBS, THINGS))


@dataclass(frozen=True)
class Search:
    """What a client asks.

    ``salt`` is a word that no document holds: such a search finds the same, and nobody knows its scores yet.
    """

    query: str
    start: int = 0
    size: int = WINDOW
    salt: str = ""

    @property
    def text(self):
        return f"{self.query} {self.salt}".rstrip()

    @property
    def body(self):
        return match(self.text, **{"from": self.start, "size": self.size})


class Truth:
    """The pages of all queries, asked of the cluster directly and ordered by a model of our own."""

    def __init__(self, url, reranker):
        self._reranker = reranker
        self._pages, self._windows = {}, {}
        for query in QUERIES:
            for start, size in PAGES:
                answer = urllib3.request(
                    "POST", f"{url}/{INDEX}/_search", json=Search(query, start, size).body
                )
                self._pages[query, start, size] = without_took(answer.data)
                if size == WINDOW:
                    hits = answer.json()["hits"]["hits"]
                    assert len(hits) == WINDOW, f"{query!r} finds too little"
                    self._windows[query] = {hit["_id"]: hit for hit in hits}
        self._scores = {query: self._score(Search(query)) for query in QUERIES}

    def find_fault(self, search, answer):
        """What is wrong with an answer of the gateway's; nothing if it is right.

        Of a salted search's scores only the order is looked at: see `find_wrong_scores`.
        """
        status, reason = (answer.headers.get(f"X-Rerank-{name}") for name in ("Status", "Reason"))
        if answer.status != 200:
            return f"HTTP {answer.status}"
        if status == "applied":
            return self._find_fault_of_order(search, answer.json()["hits"])
        if status != "failed" or reason not in REASONS:
            return f"{status}, {reason}"
        if without_took(answer.data) != self._pages[search.query, search.start, search.size]:
            return f"{reason}, and not the cluster's page"
        return ""

    def find_wrong_scores(self, search, hits):
        """As `find_fault`, for the scores of the hits, compared with the model's own."""
        expected = self._score(search) if search.salt else self._scores[search.query]
        best = sorted(expected.values(), reverse=True)[search.start : search.start + search.size]
        for hit, score in zip(hits, best, strict=True):
            if not abs(hit["_score"] - score) < TOLERANCE > abs(hit["_score"] - expected[hit["_id"]]):
                return f"{hit['_id']} has {hit['_score']}, should have {expected[hit['_id']]}, there {score}"
        return ""

    def _find_fault_of_order(self, search, found):
        hits, window = found["hits"], self._windows[search.query]
        scores = [hit["_score"] for hit in hits]
        if len({hit["_id"] for hit in hits}) != search.size:
            return "hits are missing, or twice there"
        highest = found["max_score"]
        if scores != sorted(scores, reverse=True) or not 0 < scores[-1] <= scores[0] <= highest <= 1:
            return f"scores {scores}, the highest said to be {highest}"
        for hit in hits:
            if hit | {"_score": 0} != window.get(hit["_id"], {}) | {"_score": 0}:
                return f"another hit than the cluster's: {hit}"
        return "" if search.salt else self.find_wrong_scores(search, hits)

    def _score(self, search):
        """The model's probability of each hit of the window, by id."""
        window = self._windows[search.query]
        passages = [f"{hit['_source']['title']}\n{hit['_source']['body']}" for hit in window.values()]
        scores = self._reranker.compute_score([(search.text, text) for text in passages], normalize=True)
        return dict(zip(window, scores, strict=True))


def without_took(body):
    return re.sub(rb'"took":\d+', b'"took":0', body, count=1)
