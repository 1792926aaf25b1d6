"""Knows how files are read line by line, gzip'd or not, so that what is wrong is named by file and line."""

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from relevance.errors import BadFile

FilePath = str | PathLike[str]


def read_lines(path: FilePath) -> Iterator[tuple[int, str]]:
    """The number, from 1, and the text of each line that is not blank.

    Raises:
        BadFile: the file can't be read, or a line is not UTF-8.
    """
    try:
        with gzip.open(path) if str(path).endswith(".gz") else open(path, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                with naming(path, number):
                    text = _decode(line)
                if text.strip():
                    yield number, text.rstrip("\r\n")
    except (OSError, EOFError) as error:  # gzip's of a file cut short
        raise BadFile(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def read_objects(path: FilePath) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number and the JSON object of each line.

    Raises:
        BadFile: see `read_lines`; or a line is no JSON object.
    """
    for number, line in read_lines(path):
        with naming(path, number):
            found = _read_json(line)
            if not isinstance(found, dict):
                raise ValueError(f"expected a JSON object, found {type(found).__name__}")
        yield number, found


def read_document(path: FilePath) -> Any:
    """The one JSON value that a file holds.

    Raises:
        BadFile: it can't be read, or holds none.
    """
    text = "\n".join(line for _, line in read_lines(path))
    with naming(path):
        return _read_json(text)


@contextmanager
def naming(path: FilePath, number: int | str | None = None) -> Iterator[None]:
    """Turn a ``ValueError`` inside into one that names the file and the line, or another place in it.

    Raises:
        BadFile: in its place.
    """
    try:
        yield
    except BadFile:
        raise
    except ValueError as error:
        raise BadFile(f"{path}:{number}: {error}" if number else f"{path}: {error}") from error


def write_lines(path: FilePath, lines: Iterable[str]) -> int:
    """Write a text file, which is there only when all of it is; how many lines it has.

    Raises:
        BadFile: it can't be written.
    """
    count = 0
    unfinished = Path(f"{path}.part")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(f"{line}\n")
                count += 1
        unfinished.replace(path)
    except OSError as error:
        raise BadFile(f"{path}: can't be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def to_json(value: Any) -> str:
    """One line, as it is written into JSONL files."""
    return json.dumps(value, ensure_ascii=False)


def read_text(fields: dict[str, Any], *names: str) -> str:
    """A text member, under the first of these names that is there; a number counts as its digits.

    Raises:
        ValueError: see `check_text`.
    """
    value = next((fields[name] for name in names if name in fields), None)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return check_text(names[0], value)


def check_text(name: str, value: object) -> str:
    """The text under that name.

    Raises:
        ValueError: it is none, is blank, or has half of a surrogate pair (JSON can carry it, no file can).
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected a text, found {tell_kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: broken text ({error.reason} at {error.start})") from error
    return value


def tell_kind(value: object) -> str:
    """What was found instead of what was expected."""
    return "nothing" if value is None else f"{type(value).__name__} {value!r:.40}"


def _decode(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if line.startswith(b"\xef\xbb\xbf") else "utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8: byte {error.start}") from None


def _read_json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
