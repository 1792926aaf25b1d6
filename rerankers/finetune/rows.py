"""The training data: JSON lines read and checked, before any model is loaded; knows no tokenizer."""

import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from relevance import rows as lines
from relevance.errors import BadFile
from relevance.rows import TrainingRow
from relevance.split import normalise_query
from rerankers.errors import BadTrainingFile

DATA_SUFFIXES = (".jsonl", ".json")


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
    return {file: list(_read_file(file, needs_scores)) for file in files}


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
    judged: dict[tuple[str, str], tuple[bool, str]] = {}
    for row in rows:
        content = (row.query, row.prompt, tuple(row.pos), tuple(row.neg))
        if content in seen:
            raise BadTrainingFile(f"{row.source}: the same row as {seen[content]}")
        seen[content] = row.source
        for is_relevant, passages in ((True, row.pos), (False, row.neg)):
            for passage in passages:
                before, source = judged.setdefault((row.query, passage), (is_relevant, row.source))
                if before != is_relevant:
                    raise BadTrainingFile(
                        f"{row.source}: {passage!r:.60} is {'pos' if is_relevant else 'neg'} for "
                        f"{row.query!r:.60}, but {'pos' if before else 'neg'} in {source}"
                    )


def refuse_leaks(rows: Iterable[TrainingRow], eval_rows: Iterable[TrainingRow]) -> None:
    """Refuse an evaluation that asks what was trained on; case, spaces and punctuation make no other query.

    Raises:
        BadTrainingFile: a query is in both; the message names both places.
    """
    trained = {normalise_query(row.query): row.source for row in rows}
    for row in eval_rows:
        source = trained.get(normalise_query(row.query))
        if source is not None:
            raise BadTrainingFile(
                f"{row.source}: the query {row.query!r:.60} is in the training data too ({source}); "
                "what was trained on can't tell how well it was learned"
            )


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
    try:
        for row in lines.read_rows(file):
            if needs_scores and row.pos_scores is None:
                raise BadTrainingFile(
                    f"{row.source}: pos_scores: missing, and --knowledge_distillation learns from it"
                )
            yield row
    except BadFile as error:
        raise BadTrainingFile(str(error)) from error
