"""How well evaluation rows are ranked: all their passages scored, nDCG@10 of the order."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from relevance.rows import TrainingRow
from rerankers.finetune.groups import EncodePairs, Texts
from rerankers.sequences import Row

DEPTH = 10
NDCG = f"ndcg@{DEPTH}"
PAIRS_AT_ONCE = 512


@dataclass(frozen=True)
class Candidates:
    """One query's passages as rows of ids, the relevant ones first."""

    rows: list[Row]
    n_relevant: int


def encode_candidates(rows: Sequence[TrainingRow], encode: EncodePairs, texts: Texts) -> Iterator[Candidates]:
    """Every passage of each row."""
    for row in rows:
        pairs = texts.pair(row, [*row.pos, *row.neg])
        yield Candidates(encode(pairs, row.prompt), len(row.pos))


def measure_ranking(
    candidates: Sequence[Candidates], score: Callable[[Sequence[Row]], torch.Tensor]
) -> list[float]:
    """The nDCG@10 of each query.

    Args:
        score: the scores (P,) of P rows.
    """
    rows = [row for query in candidates for row in query.rows]
    starts = range(0, len(rows), PAIRS_AT_ONCE)
    scores = [number for start in starts for number in score(rows[start : start + PAIRS_AT_ONCE]).tolist()]
    found = []
    for query in candidates:
        own, scores = scores[: len(query.rows)], scores[len(query.rows) :]
        found.append(compute_ndcg(own, query.n_relevant))
    return found


def compute_ndcg(scores: Sequence[float], n_relevant: int) -> float:
    """Of the order by score, where the first passages are the relevant ones; they lose every tie."""
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], -place))
    gained = sum(1 / math.log2(rank + 2) for rank, place in enumerate(order[:DEPTH]) if place < n_relevant)
    return gained / sum(1 / math.log2(rank + 2) for rank in range(min(n_relevant, DEPTH)))
