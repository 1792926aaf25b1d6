"""A teacher where there is no larger reranker: an embedding model's cosine, its vectors turned by judgments.

The model itself stays as it is. Two matrices are learned, one that turns the vectors of queries and one that
turns those of passages; vectors are computed once, so this takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch.nn import functional

COSINE_SCALE = 20.0
"""What cosines are multiplied by to be logits, here and where a student learns from them."""
STEPS, BATCH_QUERIES = 150, 256
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 5e-4, 1e-2, 0.3

Weights = Mapping[int, float]
"""How much each relevant passage counts, by its place among all."""


@dataclass(frozen=True)
class Teacher:
    """Turns vectors (N, D) into others of length 1, whose products are the teacher's cosines."""

    query_matrix: torch.Tensor  # (D, D)
    passage_matrix: torch.Tensor  # (D, D)

    @classmethod
    def untrained(cls, n_dimensions: int) -> Self:
        """The one whose cosines are the embedding model's own."""
        return cls(torch.zeros(n_dimensions, n_dimensions), torch.zeros(n_dimensions, n_dimensions))

    def turn_queries(self, vectors: torch.Tensor) -> torch.Tensor:
        return _turn(vectors, self.query_matrix)

    def turn_passages(self, vectors: torch.Tensor) -> torch.Tensor:
        return _turn(vectors, self.passage_matrix)


def fit_teacher(
    queries: torch.Tensor, passages: torch.Tensor, relevant: Sequence[Weights], seed: int
) -> Teacher:
    """Learn the matrices by which each query finds its relevant passages among all.

    Args:
        queries: (Q, D), rows of length 1.
        passages: (P, D), likewise.
        relevant: of each query, at least one.
    """
    n_dimensions = queries.shape[1]
    matrices = [torch.zeros(n_dimensions, n_dimensions, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.AdamW(matrices, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(STEPS):
            batch = torch.randint(len(queries), (BATCH_QUERIES,))
            asked = _turn(queries[batch], matrices[0], DROPOUT)
            cosines = asked @ _turn(passages, matrices[1], DROPOUT).T  # (B, P)
            wanted = _spread([relevant[place] for place in batch.tolist()], len(passages))
            loss = functional.cross_entropy(COSINE_SCALE * cosines, wanted)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return Teacher(*(matrix.detach() for matrix in matrices))


def _spread(relevant: Sequence[Weights], n_passages: int) -> torch.Tensor:
    """The share of each passage in what each query wants: (B, P), rows of sum 1."""
    shares = torch.zeros(len(relevant), n_passages)
    for row, weights in zip(shares, relevant, strict=True):
        row[list(weights)] = torch.tensor([*weights.values()])
    return shares / shares.sum(dim=1, keepdim=True)


def _turn(vectors: torch.Tensor, matrix: torch.Tensor, dropout: float = 0.0) -> torch.Tensor:
    """What is learned is added to the vectors, so that the untrained cosine is where it starts."""
    return functional.normalize(vectors + functional.dropout(vectors, dropout) @ matrix, dim=-1)
