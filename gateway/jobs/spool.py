"""Knows a job's folder: its input, its results, its failures, and the lock of whoever runs it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class Locked(Exception):
    """Another process runs the job."""


@dataclass(frozen=True)
class Spool:
    """One job's folder; nothing is made before it is written to."""

    folder: Path

    @property
    def input(self) -> Path:
        """A line an item; there once it has come whole."""
        return self.folder / "input.ndjson"

    @property
    def results(self) -> Path:
        """A row an item that was done."""
        return self.folder / "results.ndjson"

    @property
    def failures(self) -> Path:
        """A row an item that failed in the newest round."""
        return self.folder / "failures.ndjson"

    def retried(self, round_: int) -> Path:
        """The failures that this round does again."""
        return self.folder / f"retry-{round_}.ndjson"

    def receive(self, pieces: Iterable[bytes]) -> int:
        """Write the input.

        Returns:
            How many lines have anything in them.

        Raises:
            OSError: it can't be written; what there was before stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.input.with_suffix(".part")
        with part.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            _sync(file)
        part.replace(self.input)
        with self.input.open("rb") as file:
            return sum(not line.isspace() for line in file)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process at a time is inside; the kernel lets go of a dead one's lock.

        Raises:
            Locked: another one is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Locked(self.folder.name) from error
            yield

    def delete(self) -> None:
        """All of it."""
        shutil.rmtree(self.folder, ignore_errors=True)


class RowFile:
    """A file of rows of which the first ``length`` bytes count; the rest, written by one who died, goes.

    Raises:
        OSError: it can't be written, or bytes that count are missing.
    """

    def __init__(self, path: Path, length: int) -> None:
        self._file = path.open("ab")
        if self._file.tell() < length:
            self._file.close()
            raise OSError(f"{path}: {length} bytes of results were written, and not all are there")
        self._file.truncate(length)
        self._file.seek(length)

    def append(self, row: bytes) -> None:
        """Buffered."""
        self._file.write(row + b"\n")

    def sync(self) -> int:
        """On the disk now; its length."""
        _sync(self._file)
        return self._file.tell()

    def close(self) -> None:
        """What was not synced need not be there."""
        self._file.close()


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
