"""Files of ours whose lines have a query each: judgments and training rows, told apart by their members."""

from collections.abc import Iterator

from relevance.errors import BadFile
from relevance.files import FilePath, read_objects
from relevance.judgments import JudgedQuery, read_judgments
from relevance.rows import TrainingRow, read_rows


def read_items(path: FilePath) -> Iterator[JudgedQuery | TrainingRow]:
    """The judged queries or training rows of a JSONL file, checked.

    Raises:
        BadFile: a line is neither, or not what the first one is.
    """
    _, first = next(read_objects(path), (0, None))
    if first is None:
        raise BadFile(f"{path}: nothing in it")
    yield from read_rows(path) if "pos" in first else read_judgments(path, "jsonl")


def read_query(item: JudgedQuery | TrainingRow) -> str:
    """The text of its query."""
    return item.query if isinstance(item, TrainingRow) else item.text
