"""How pairs are written in a file: ``{"query": text, "passage": text}`` a line, empty lines left out."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from rerankers.errors import BadArgument, BadPairs
from rerankers.sequences import Pair


@dataclass(frozen=True)
class Chunk:
    """Pairs that follow each other in a file, and the line of the first of them."""

    pairs: list[Pair]
    first_line: int


def read_chunks(lines: Iterable[bytes], name: str, size: int) -> Iterator[Chunk]:
    """Read pairs, ``size`` at a time, the last of them fewer.

    Raises:
        BadPairs: a line is no pair; the message names it. All that came before has been given by then.
    """
    pairs: list[Pair] = []
    first_line = 1
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            pair = _read_pair(line)
        except (ValueError, TypeError, KeyError) as error:
            if pairs:
                yield Chunk(pairs, first_line)
            raise BadPairs(
                f'{name}:{number}: expected {{"query": text, "passage": text}} ({error})'
            ) from error
        first_line = first_line if pairs else number
        pairs.append(pair)
        if len(pairs) == size:
            yield Chunk(pairs, first_line)
            pairs = []
    if pairs:
        yield Chunk(pairs, first_line)


def _read_pair(line: bytes) -> Pair:
    fields = json.loads(line)
    pair = fields["query"], fields["passage"]
    for name, text in zip(("query", "passage"), pair, strict=True):
        if not isinstance(text, str):
            raise TypeError(f"{name} is {type(text).__name__}")
    return pair


def open_pairs(path: str, option: str) -> AbstractContextManager[Iterable[bytes]]:
    """Open a file of pairs, to be decoded line by line; ``-`` is standard input.

    Raises:
        BadArgument: it can't be opened; the message names the option.
    """
    if path == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadArgument(f"{option}: {error}") from error


def count_pairs(path: str) -> int | None:
    """How many pairs a file has; None for what can be read only once."""
    if not Path(path).is_file():
        return None
    with open(path, "rb") as lines:
        return sum(1 for line in lines if line.strip())
