"""Training rows: a query with relevant passages and negatives, in the JSONL format of FlagEmbedding."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from relevance.errors import BadFile
from relevance.files import FilePath, check_text, naming, read_objects, tell_kind, to_json

_PROMPTS = ("prompt", "query_prompt", "passage_prompt")


@dataclass(frozen=True)
class TrainingRow:
    """One query with what is relevant to it and what is not, and perhaps a teacher's scores of all.

    Attributes:
        prompt: what a language model is asked about query and passage, if not what it always is.
        query_prompt, passage_prompt: this row's instructions.
        source: file and line.
    """

    query: str
    pos: Sequence[str]
    neg: Sequence[str]
    pos_scores: Sequence[float] | None = None
    neg_scores: Sequence[float] | None = None
    prompt: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    source: str = field(default="", compare=False)

    @classmethod
    def read(cls, fields: dict[str, Any], source: str = "") -> Self:
        """Read a row from JSON; members of other names are left out.

        Raises:
            ValueError: it is none; the message names the member.
        """
        row = cls(
            query=check_text("query", fields.get("query")),
            pos=_read_texts(fields, "pos"),
            neg=_read_texts(fields, "neg"),
            pos_scores=_read_scores(fields, "pos"),
            neg_scores=_read_scores(fields, "neg"),
            **{name: check_text(name, fields[name]) for name in _PROMPTS if fields.get(name) is not None},
            source=source,
        )
        if (row.pos_scores is None) != (row.neg_scores is None):
            raise ValueError("expected both pos_scores and neg_scores, or neither")
        if both := set(row.pos) & set(row.neg):
            raise ValueError(f"pos and neg: both have {min(both)!r:.60}")
        return row

    def to_line(self) -> str:
        """As it stands in the file."""
        return to_json(
            {name: value for name, value in vars(self).items() if value is not None and name != "source"}
        )


def read_rows(path: FilePath) -> Iterator[TrainingRow]:
    """Read the rows of a file one by one.

    Raises:
        BadFile: a line is no row (named by file and line), or there are none.
    """
    number = 0
    for number, fields in read_objects(path):
        with naming(path, number):
            row = TrainingRow.read(fields, f"{path}:{number}")
        yield row
    if not number:
        raise BadFile(f"{path}: no training rows in it")


def _read_texts(fields: dict[str, Any], name: str) -> tuple[str, ...]:
    texts = fields.get(name)
    if not isinstance(texts, list) or not texts:
        raise ValueError(f"{name}: expected a list of at least one text, found {tell_kind(texts)}")
    for place, text in enumerate(texts):
        check_text(f"{name}[{place}]", text)
    return tuple(texts)


def _read_scores(fields: dict[str, Any], side: str) -> tuple[float, ...] | None:
    name = f"{side}_scores"
    scores = fields.get(name)
    if scores is None:
        return None
    if not isinstance(scores, list) or not all(_is_number(score) for score in scores):
        raise ValueError(f"{name}: expected a list of numbers, found {tell_kind(scores)}")
    if len(scores) != len(fields[side]):
        raise ValueError(f"{name}: {len(scores)} scores for {len(fields[side])} passages")
    return tuple(map(float, scores))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
