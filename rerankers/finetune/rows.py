"""The training data: JSON lines read and checked, before any model is loaded; knows no tokenizer."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rerankers.errors import BadTrainingFile

DATA_SUFFIXES = (".jsonl", ".json")


@dataclass(frozen=True)
class TrainingRow:
    """One query with its relevant passages, others, and perhaps a teacher's scores for all of them.

    Args:
        prompt: the question that a language model is asked about this row's pairs.
        query_prompt, passage_prompt: this row's instructions.
        source: file and line.
    """

    query: str
    pos: list[str]
    neg: list[str]
    pos_scores: list[float] | None = None
    neg_scores: list[float] | None = None
    prompt: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    source: str = field(default="", compare=False)

    @classmethod
    def parse(cls, line: str, needs_scores: bool, source: str = "") -> Self:
        """Read one JSON line.

        Raises:
            ValueError: the line is not such a row; the message names the field.
        """
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("expected an object")
        row = cls(
            query=_read_text(fields, "query"),
            pos=_read_texts(fields, "pos"),
            neg=_read_texts(fields, "neg"),
            pos_scores=_read_scores(fields, "pos", needs_scores),
            neg_scores=_read_scores(fields, "neg", needs_scores),
            **{
                name: _read_optional_text(fields, name)
                for name in ("prompt", "query_prompt", "passage_prompt")
            },
            source=source,
        )
        both = set(row.pos) & set(row.neg)
        if both:
            raise ValueError(f"neg: {min(both)!r:.60} is among pos too")
        return row


def read_rows(paths: Iterable[str], needs_scores: bool) -> list[TrainingRow]:
    """Read every row of the files, and of the ``.jsonl`` and ``.json`` files in the folders, given.

    Raises:
        BadTrainingFile: no such file, one without rows, a line that is not a row (named by file and line), or
            rows that can't go together (both named): see ``refuse_contradictions``.
    """
    rows = [row for rows in read_files(find_files(paths), needs_scores).values() for row in rows]
    refuse_contradictions(rows)
    return rows


def find_files(paths: Iterable[str]) -> list[Path]:
    """The files given, and those of the folders given.

    Raises:
        BadTrainingFile: there is no such file, or none in a folder, or one is named twice.
    """
    files = [file for path in paths for file in _find_files(path)]
    seen: set[Path] = set()
    for file in files:
        if file.resolve() in seen:
            raise BadTrainingFile(f"{file}: is named twice")
        seen.add(file.resolve())
    return files


def read_files(files: Iterable[Path], needs_scores: bool) -> dict[Path, list[TrainingRow]]:
    """The rows of each file.

    Raises:
        BadTrainingFile: a file has none, or a line that is none (named by file and line).
    """
    found = {file: list(_read_file(file, needs_scores)) for file in files}
    for file, rows in found.items():
        if not rows:
            raise BadTrainingFile(f"{file}: no training rows in it")
    return found


def sample_rows(rows: Sequence[TrainingRow], most: int, seed: int) -> list[TrainingRow]:
    """At most so many rows, in their order; the same ones each time."""
    if len(rows) <= most:
        return list(rows)
    return [rows[i] for i in sorted(random.Random(f"{seed} rows").sample(range(len(rows)), most))]


def refuse_contradictions(rows: Iterable[TrainingRow]) -> None:
    """Refuse rows that teach against each other, or the same twice.

    Raises:
        BadTrainingFile: a row that was there before, or a passage that is relevant to a query in one row and
            not in another; the message names both.
    """
    seen: dict[tuple[object, ...], str] = {}
    relevance: dict[tuple[str, str], tuple[bool, str]] = {}
    for row in rows:
        content = (row.query, row.prompt, tuple(row.pos), tuple(row.neg))
        if content in seen:
            raise BadTrainingFile(f"{row.source}: the same row as {seen[content]}")
        seen[content] = row.source
        for is_relevant, passages in ((True, row.pos), (False, row.neg)):
            for passage in passages:
                before, source = relevance.setdefault((row.query, passage), (is_relevant, row.source))
                if before != is_relevant:
                    raise BadTrainingFile(
                        f"{row.source}: {passage!r:.60} is {'pos' if is_relevant else 'neg'} for "
                        f"{row.query!r:.60}, but {'pos' if before else 'neg'} in {source}"
                    )


def refuse_leaks(rows: Iterable[TrainingRow], eval_rows: Iterable[TrainingRow]) -> None:
    """Refuse an evaluation that asks what was trained on; case and spaces make no other query.

    Raises:
        BadTrainingFile: a query is in both; the message names both places.
    """
    trained = {_fold(row.query): row.source for row in rows}
    for row in eval_rows:
        source = trained.get(_fold(row.query))
        if source is not None:
            raise BadTrainingFile(
                f"{row.source}: the query {row.query!r:.60} is in the training data too ({source}); "
                "what was trained on can't tell how well it was learned"
            )


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _find_files(path: str) -> list[Path]:
    found = Path(path)
    if found.is_dir():
        files = sorted(file for file in found.iterdir() if file.suffix in DATA_SUFFIXES)
        if not files:
            raise BadTrainingFile(f"{path}: no {' or '.join(DATA_SUFFIXES)} files in it")
        return files
    if not found.is_file():
        raise BadTrainingFile(f"cannot find file: {path}")
    return [found]


def _read_file(file: Path, needs_scores: bool) -> Iterator[TrainingRow]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                yield TrainingRow.parse(line.decode(), needs_scores, f"{file}:{number}")
            except ValueError as error:  # also of what is no UTF-8
                raise BadTrainingFile(f"{file}:{number}: {error}") from error


def _read_text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    if not isinstance(text, str):
        raise ValueError(f"{name}: expected a text, found {_name_kind(text)}")
    if not text.strip():
        raise ValueError(f"{name}: expected a text, found only space")
    _refuse_broken(name, text)
    return text


def _refuse_broken(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON can carry half of a surrogate pair, no tokenizer reads it
        raise ValueError(f"{name}: broken text ({error.reason} at {error.start})") from error


def _read_optional_text(fields: dict[str, Any], name: str) -> str | None:
    return None if fields.get(name) is None else _read_text(fields, name)


def _read_texts(fields: dict[str, Any], name: str) -> list[str]:
    texts = fields.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name}: expected a list of at least one text, found {_name_kind(texts)}")
    for text in texts:
        _refuse_broken(name, text)
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
