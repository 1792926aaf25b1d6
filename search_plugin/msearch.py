"""Multi-searches: a body cut into its items and put together again, and so its answer."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from search_plugin.errors import UnreadableAnswer
from search_plugin.raw_json import Node, join_array, scan_array, scan_document, scan_object, scan_value
from search_plugin.routes import read_indices


@dataclass(frozen=True, slots=True)
class Item:
    """One search of a multi-search: its two lines, without their ends."""

    header: bytes
    body: bytes

    def read_indices(self, default: tuple[str, ...]) -> tuple[str, ...]:
        """The parts of its index expression; those of the path if it names none.

        Raises:
            ValueError: the header is no object, or its index no name.
        """
        try:
            header = json.loads(self.header) if self.header.strip() else {}
        except RecursionError as error:
            raise ValueError("a header that is nested too deeply") from error
        if not isinstance(header, dict):
            raise ValueError("a header that is no object")
        named = header.get("index", header.get("indices"))
        names = [named] if isinstance(named, str) else named or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("a header that names no index")
        return tuple(part for name in names for part in read_indices(name)) or default


def split_items(body: bytes) -> list[Item]:
    """Split the body of a multi-search.

    Raises:
        ValueError: it does not end with a line's end, or not every header has a body.
    """
    lines = body.split(b"\n")
    starts_blank = body.startswith(b"\n")  # which the engines read in different ways
    if lines.pop() or not lines or len(lines) % 2 or starts_blank:
        raise ValueError("not pairs of lines")
    return [Item(header, line) for header, line in zip(lines[::2], lines[1::2], strict=True)]


def join_items(items: Iterable[Item]) -> bytes:
    """Write the body of a multi-search."""
    return b"".join(b"%s\n%s\n" % (item.header, item.body) for item in items)


@dataclass(frozen=True, slots=True)
class Responses:
    """The answer to a multi-search.

    Attributes:
        text: the whole answer.
        array: the node of ``responses``, its elements as nodes.
    """

    text: str
    array: Node[list[Node[Any]]]

    @classmethod
    def parse(cls, body: bytes) -> "Responses":
        """Find the single answers.

        Raises:
            UnreadableAnswer: it is not JSON or has no ``responses``.
        """
        text = body.decode("utf-8", "surrogateescape")
        try:
            array = scan_document(text, _scan_answer).value["responses"]
        except (ValueError, KeyError, RecursionError) as error:
            raise UnreadableAnswer(f"not a multi-search answer: {error}") from error
        return cls(text, array)

    def __len__(self) -> int:
        return len(self.array.value)

    def texts(self) -> list[str]:
        """The single answers."""
        return [self.text[node.start : node.end] for node in self.array.value]

    def join(self, texts: Sequence[str]) -> str:
        """The whole answer with others in their place, as many as they are."""
        start, end = self.array.start, self.array.end
        return (
            self.text[:start] + join_array(self.text, start, end, self.array.value, texts) + self.text[end:]
        )


def _scan_answer(text: str, start: int) -> tuple[dict[str, Node[Any]], int]:
    return scan_object(text, start, {"responses": lambda inner, at: scan_array(inner, at, scan_value)})
