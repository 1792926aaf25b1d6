"""Long texts to chunks, and the chunks' scores to one: numbers and words, nothing of hits."""

import re
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from search_plugin.policy import Chunking

_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"""[.!?\u2026]["'\u201d\u2019)\]]*$|[\u3002\uff01\uff1f]$""")
_LETTERS = re.compile(r"\w+")
_COMBINATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "first": max,  # of the one that is scored
    "mean": fmean,
}


def cut(text: str, chunking: Chunking, query_text: str) -> list[str]:
    """Cut a text into chunks, in its order: the first one, or those that share most words with the query.

    Returns:
        At most ``chunking.most``; none of a blank text.
    """
    words = [found.span() for found in _WORD.finditer(text)]
    spans = list(_cut_words(text, words, chunking))
    if chunking.score == "first":
        spans = spans[:1]
    chunks = [text[words[start][0] : words[end - 1][1]] for start, end in spans]
    if len(chunks) <= chunking.most:
        return chunks
    asked = _word_set(query_text)
    shared = [len(asked & _word_set(chunk)) for chunk in chunks]
    best = sorted(range(len(chunks)), key=shared.__getitem__, reverse=True)[: chunking.most]
    return [chunks[i] for i in sorted(best)]


def combine(scores: Sequence[float], how: str) -> float:
    """The score of a hit from those of its chunks."""
    return _COMBINATIONS[how](scores)


def _cut_words(text: str, words: Sequence[tuple[int, int]], chunking: Chunking) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start = 0
    while start < len(words):
        end = min(start + chunking.words, len(words))
        if chunking.by == "sentence" and end < len(words):
            end = _last_sentence_end(text, words, start, end)
        spans.append((start, end))
        if end == len(words):
            break
        start = max(end - chunking.overlap, start + 1)
    return spans


def _last_sentence_end(text: str, words: Sequence[tuple[int, int]], start: int, end: int) -> int:
    """Behind the last sentence that ends inside; the given end where none does."""
    inside = range(end, start, -1)
    return next((at for at in inside if _SENTENCE_END.search(text, words[at - 1][0], words[at - 1][1])), end)


def _word_set(text: str) -> frozenset[str]:
    return frozenset(_LETTERS.findall(text.casefold()))
