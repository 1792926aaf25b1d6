"""Knows the teacher of the demo's adapter: the untrained model's cosine, after judgments turned its vectors.

The model itself stays as it is. Two matrices are learnt, one that turns the vectors of queries and one that
turns those of passages; vectors are computed once, so this takes seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

COSINE_SCALE = 20.0
"""What cosines are multiplied by to be logits, here and where the adapter learns from them."""
STEPS, BATCH_QUERIES = 150, 256
LEARNING_RATE, WEIGHT_DECAY, DROPOUT = 5e-4, 1e-2, 0.3
GRADE_WEIGHTS = {1: 1.0, 2: 2.8, 3: 5.2}


@dataclass(frozen=True)
class Teacher:
    """Turns vectors (N, D) into others of length 1, whose products are the teacher's cosines."""

    query_matrix: "torch.Tensor"  # (D, D)
    passage_matrix: "torch.Tensor"  # (D, D)

    def turn_queries(self, vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        return _turn_array(vectors, self.query_matrix)

    def turn_passages(self, vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
        return _turn_array(vectors, self.passage_matrix)


def fit_teacher(
    queries: "NDArray[np.float32]",
    passages: "NDArray[np.float32]",
    grades: Sequence[Mapping[int, int]],
    seed: int,
) -> Teacher:
    """Learn the matrices by which each query finds its judged passages among all.

    Args:
        queries: (Q, D), rows of length 1.
        passages: (P, D), likewise.
        grades: for each query the grades of its judged passages, by their position.
    """
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    asked, pool = torch.from_numpy(queries), torch.from_numpy(passages)
    wanted = torch.zeros(len(queries), len(passages))
    for row, judged in zip(wanted, grades, strict=True):
        for position, grade in judged.items():
            row[position] = GRADE_WEIGHTS[grade]
    wanted /= wanted.sum(dim=1, keepdim=True)

    n_dimensions = asked.shape[1]
    matrices = [torch.zeros(n_dimensions, n_dimensions, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.AdamW(matrices, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    for _ in range(STEPS):
        batch = torch.randint(len(queries), (BATCH_QUERIES,))
        cosines = _turn(asked[batch], matrices[0], DROPOUT) @ _turn(pool, matrices[1]).T  # (B, P)
        loss = functional.cross_entropy(COSINE_SCALE * cosines, wanted[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    query_matrix, passage_matrix = (matrix.detach() for matrix in matrices)
    return Teacher(query_matrix, passage_matrix)


def _turn(vectors: "torch.Tensor", matrix: "torch.Tensor", dropout: float = 0.0) -> "torch.Tensor":
    """What is learnt is added to the vectors, so that the untrained cosine is where it starts."""
    from torch.nn import functional

    return functional.normalize(vectors + functional.dropout(vectors, dropout) @ matrix, dim=-1)


def _turn_array(vectors: "NDArray[np.float32]", matrix: "torch.Tensor") -> "NDArray[np.float32]":
    import torch

    turned: NDArray[np.float32] = _turn(torch.from_numpy(vectors), matrix).numpy()
    return turned
