"""Groups drawn from rows, and the batches that they make; a draw depends on seed, epoch and row alone."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from relevance.rows import TrainingRow
from rerankers.base import Instruction
from rerankers.sequences import Batch, Pair, Row, split_rows

SHUFFLED_FROM = 101
"""Characters from which on a relevant passage is long enough to be cut and put together in another order."""

Draw = tuple[int, int]
"""An epoch, and a row's place."""
EncodePairs = Callable[[Sequence[Pair], str | None], list[Row]]
"""Pairs with instructions applied, and the prompt that is their rows' own, to rows of ids."""


@dataclass(frozen=True)
class Group:
    """One query with each of G passages, the relevant one first.

    Args:
        prompt: the row's own.
        teacher_scores: of each passage.
    """

    pairs: list[Pair]
    prompt: str | None = None
    teacher_scores: Sequence[float] | None = None


@dataclass(frozen=True)
class Texts:
    """How a row's texts become pairs: the instructions around them; a row's own overrule these."""

    query: Instruction
    passage: Instruction

    def pair(self, row: TrainingRow, passages: Sequence[str]) -> list[Pair]:
        """The query with each of these passages."""
        for_query = _overrule(self.query, row.query_prompt)
        for_passage = _overrule(self.passage, row.passage_prompt)
        query = for_query.apply(row.query)
        return [(query, for_passage.apply(passage)) for passage in passages]


def _overrule(instruction: Instruction, own: str | None) -> Instruction:
    """As the published code does: only where there is an instruction to overrule."""
    if own is None or instruction.text is None:
        return instruction
    return Instruction(own, instruction.format)


class DrawSampler(Sampler[Draw]):
    """The rows of an epoch in random order, each with the epoch's number.

    The trainer's own samplers draw from a state; several processes and a resumed training would each have to
    bring theirs to the same point.
    """

    def __init__(self, n_rows: int, seed: int) -> None:
        self.epoch = 0
        self._n_rows = n_rows
        self._seed = seed

    def __len__(self) -> int:
        return self._n_rows

    def __iter__(self) -> Iterator[Draw]:
        order = list(range(self._n_rows))
        random.Random(f"{self._seed} order {self.epoch}").shuffle(order)
        return iter([(self.epoch, place) for place in order])


class GroupDataset(Dataset[Group]):
    """Draws a group from a row: one relevant passage and ``group_size - 1`` negatives.

    Args:
        shuffle_ratio: how often a long relevant passage is cut in three and put together in another order.
        distil: groups bring the teacher's scores.
    """

    def __init__(
        self,
        rows: Sequence[TrainingRow],
        texts: Texts,
        *,
        group_size: int,
        shuffle_ratio: float,
        distil: bool,
        seed: int,
    ) -> None:
        self._rows = rows
        self._texts = texts
        self.group_size = group_size
        self._shuffle_ratio = shuffle_ratio
        self._distil = distil
        self._seed = seed

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, draw: Draw) -> Group:
        epoch, place = draw
        row = self._rows[place]
        rng = random.Random(f"{self._seed} group {epoch} {place}")
        positive = rng.randrange(len(row.pos))
        negatives = draw_negatives(len(row.neg), self.group_size - 1, rng)
        relevant = shuffle_text(row.pos[positive], self._shuffle_ratio, rng)
        passages = [relevant, *(row.neg[i] for i in negatives)]
        teacher_scores = None
        if self._distil and row.pos_scores is not None and row.neg_scores is not None:
            teacher_scores = [row.pos_scores[positive], *(row.neg_scores[i] for i in negatives)]
        return Group(self._texts.pair(row, passages), row.prompt, teacher_scores)


def draw_negatives(n_available: int, n_wanted: int, rng: random.Random) -> list[int]:
    """Draw indices without repeating one before all were drawn."""
    pool = list(range(n_available)) * math.ceil(n_wanted / n_available)
    return rng.sample(pool, n_wanted)


def shuffle_text(text: str, ratio: float, rng: random.Random) -> str:
    """With that probability, put a long text's thirds in another order."""
    if len(text) < SHUFFLED_FROM or rng.random() >= ratio:
        return text
    third = len(text) // 3 + 1
    parts = [text[start : start + third] for start in range(0, len(text), third)]
    rng.shuffle(parts)
    return " ".join(parts)


class GroupCollator:
    """Puts groups into one batch, cut into slices of like length that are a forward pass each.

    The batch has ``slices``, the batches of these passes; ``places``, where each of their rows belongs among
    all, group after group; and ``teacher_scores`` (groups, G).

    Args:
        make_batch: see ``AbsReranker``.
        token_budget: padded tokens a slice may hold; None is one slice.
    """

    def __init__(
        self, encode: EncodePairs, make_batch: Callable[[Sequence[Row]], Batch], token_budget: int | None
    ) -> None:
        self._encode = encode
        self._make_batch = make_batch
        self._token_budget = token_budget

    def __call__(self, groups: Sequence[Group]) -> dict[str, Any]:
        batch = self.cut(self._encode_groups(groups))
        scores = [group.teacher_scores for group in groups]
        if scores[0] is not None:
            batch["teacher_scores"] = torch.tensor(scores, dtype=torch.float32)
        return batch

    def _encode_groups(self, groups: Sequence[Group]) -> list[Row]:
        """All groups in one go, but for those with prompts of their own; group after group."""
        pairs = [(group.prompt, pair) for group in groups for pair in group.pairs]
        rows: dict[tuple[str | None, Pair], Row] = {}
        for prompt in {group.prompt for group in groups}:
            asked = [pair for own, pair in pairs if own == prompt]
            rows |= zip(((prompt, pair) for pair in asked), self._encode(asked, prompt), strict=True)
        return [rows[pair] for pair in pairs]

    def cut(self, rows: Sequence[Row]) -> dict[str, Any]:
        """``slices`` and ``places`` of these rows."""
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]["input_ids"]))
        longest_first = [rows[place] for place in order]
        budget = self._token_budget or len(rows) * len(longest_first[0]["input_ids"])
        return {
            "slices": [self._make_batch(part) for part in split_rows(longest_first, budget, len(rows))],
            "places": torch.tensor(order).argsort(),
        }
