"""Knows how a job's input is read: line by line from a cursor on, never all of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from gateway.jobs.items import Failure, Row
from gateway.jobs.spool import Spool
from gateway.jobs.store import Job
from gateway.strict_json import read_json

MAX_LINE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Line:
    """A line with something in it.

    Attributes:
        number: from 1, blank ones counted, as editors do.
        offset: of its first byte.
        text: None where it is longer than is read.
        cursor: behind it.
    """

    number: int
    offset: int
    text: bytes | None
    cursor: Mapping[str, Any]

    @property
    def place(self) -> Row:
        """See `Failure`."""
        return {"line": self.number, "offset": self.offset}

    def fail(self, reason: str) -> Failure:
        return Failure(self.place, reason)

    def read(self) -> Any:
        """What it says in JSON.

        Raises:
            ValueError: what is wrong with it.
        """
        if self.text is None:
            raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
        try:
            return read_json(self.text.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: byte {error.start}") from None
        except RecursionError:
            raise ValueError("nested too deeply") from None


def read_lines(spool: Spool, round_: int, cursor: Mapping[str, Any] | None) -> Iterator[Line]:
    """The lines behind the cursor: all of the input's, or in a later round those that failed."""
    if round_ == 0:
        with spool.input.open("rb") as file:
            start = cursor or {"offset": 0, "line": 0}
            yield from _read_on(file, start["offset"], start["line"])
        return
    with spool.input.open("rb") as file, spool.retried(round_).open("rb") as failures:
        failures.seek((cursor or {"offset": 0})["offset"])
        while row := failures.readline():
            failed = json.loads(row)
            file.seek(failed["offset"])
            text, _ = _read_line(file)
            yield Line(failed["line"], failed["offset"], text, {"offset": failures.tell()})


def count_items(spool: Spool, job: Job) -> int | None:
    """Those of the job's round, as far as they are known: in a later one, what failed."""
    if job.round == 0:
        return job.total
    with spool.retried(job.round).open("rb") as file:
        return sum(1 for _ in file)


def _read_on(file: IO[bytes], offset: int, number: int) -> Iterator[Line]:
    file.seek(offset)
    while True:
        text, size = _read_line(file)
        if not size:
            return
        number += 1
        if text is None or not text.isspace():
            yield Line(number, offset, text, {"offset": offset + size, "line": number})
        offset += size


def _read_line(file: IO[bytes]) -> tuple[bytes | None, int]:
    """The next line, None for one that is too long, and how many bytes it has."""
    text = file.readline(MAX_LINE_BYTES)
    size = len(text)
    if size < MAX_LINE_BYTES or text.endswith(b"\n"):
        return text, size
    while piece := file.readline(MAX_LINE_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return None, size
