"""The training data: JSON lines checked once, groups drawn from them, groups put into one batch."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch.utils.data import Dataset

from rerankers.errors import BadTrainingFile
from rerankers.sequences import Batch, Limits, PairEncoder, Row, pad_rows

DATA_SUFFIXES = (".jsonl", ".json")


@dataclass(frozen=True)
class TrainingRow:
    """One query with its relevant passages, others, and perhaps a teacher's scores for all of them."""

    query: str
    pos: list[str]
    neg: list[str]
    pos_scores: list[float] | None = None
    neg_scores: list[float] | None = None

    @classmethod
    def parse(cls, line: str, needs_scores: bool) -> Self:
        """Read one JSON line.

        Raises:
            ValueError: the line is not such a row; the message names the field.
        """
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("expected an object")
        return cls(
            query=_read_text(fields, "query"),
            pos=_read_texts(fields, "pos"),
            neg=_read_texts(fields, "neg"),
            pos_scores=_read_scores(fields, "pos", needs_scores),
            neg_scores=_read_scores(fields, "neg", needs_scores),
        )


@dataclass(frozen=True)
class Group:
    """One query with G passages as rows of ids, the relevant one first, and the teacher's score of each."""

    rows: list[Row]
    teacher_scores: list[float] | None


class GroupDataset(Dataset[Group]):
    """Draws a fresh group from a row each time: one relevant passage and ``group_size - 1`` negatives.

    Draws from the global ``random``, which the trainer seeds and keeps with its checkpoints.
    """

    def __init__(
        self,
        rows: Sequence[TrainingRow],
        encoder: PairEncoder,
        limits: Limits,
        group_size: int,
        distil: bool,
    ) -> None:
        self._rows = rows
        self._encoder = encoder
        self._limits = limits
        self._n_negatives = group_size - 1
        self._distil = distil

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Group:
        row = self._rows[index]
        positive = random.randrange(len(row.pos))
        negatives = draw_negatives(len(row.neg), self._n_negatives)
        passages = [row.pos[positive], *(row.neg[i] for i in negatives)]
        teacher_scores = None
        if self._distil and row.pos_scores is not None and row.neg_scores is not None:
            teacher_scores = [row.pos_scores[positive], *(row.neg_scores[i] for i in negatives)]
        pairs = [(row.query, passage) for passage in passages]
        return Group(self._encoder.encode(pairs, self._limits), teacher_scores)


class GroupCollator:
    """Puts groups of G rows into one batch (groups * G, T), group after group, padded to its longest row."""

    def __init__(self, pad_token_id: int, padding_side: str = "right") -> None:
        self._pad_token_id = pad_token_id
        self._padding_side = padding_side

    def __call__(self, groups: Sequence[Group]) -> Batch:
        rows = [row for group in groups for row in group.rows]
        batch = pad_rows(rows, self._pad_token_id, self._padding_side)
        scores = [group.teacher_scores for group in groups]
        if scores[0] is not None:
            batch["teacher_scores"] = torch.tensor(scores, dtype=torch.float32)  # (groups, G)
        return batch


def read_rows(paths: Iterable[str], needs_scores: bool) -> list[TrainingRow]:
    """Read every row of the files, and of the ``.jsonl`` and ``.json`` files in the folders, given.

    Raises:
        BadTrainingFile: no such file, no rows at all, or a line that is not a row (named by file and line).
    """
    rows = [row for path in paths for file in _find_files(path) for row in _read_file(file, needs_scores)]
    if not rows:
        raise BadTrainingFile(f"no training rows in {', '.join(paths)}")
    return rows


def draw_negatives(n_available: int, n_wanted: int) -> list[int]:
    """Draw indices without repeating one before all were drawn."""
    pool = list(range(n_available)) * math.ceil(n_wanted / n_available)
    return random.sample(pool, n_wanted)


def _find_files(path: str) -> list[Path]:
    found = Path(path)
    if found.is_dir():
        return sorted(file for file in found.iterdir() if file.suffix in DATA_SUFFIXES)
    if not found.is_file():
        raise BadTrainingFile(f"cannot find file: {path}")
    return [found]


def _read_file(file: Path, needs_scores: bool) -> Iterator[TrainingRow]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield TrainingRow.parse(line, needs_scores)
            except ValueError as error:
                raise BadTrainingFile(f"{file}:{number}: {error}") from error


def _read_text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected a text, found {_name_kind(text)}")
    return text


def _read_texts(fields: dict[str, Any], name: str) -> list[str]:
    texts = fields.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}: expected a list of at least one text, found {_name_kind(texts)}")
    return texts


def _read_scores(fields: dict[str, Any], side: str, needed: bool) -> list[float] | None:
    name = f"{side}_scores"
    scores = fields.get(name)
    if scores is None:
        if needed:
            raise ValueError(f"{name}: missing, and --knowledge_distillation learns from it")
        return None
    if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
        raise ValueError(f"{name}: expected a list of finite numbers, found {_name_kind(scores)}")
    if len(scores) != len(fields[side]):
        raise ValueError(f"{name}: {len(scores)} scores for {len(fields[side])} passages")
    return [float(score) for score in scores]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _name_kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "an unfit list" if isinstance(value, list) and value else f"{type(value).__name__} {value!r:.40}"
