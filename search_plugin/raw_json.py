"""Where each value stands in a JSON text: spans beside parsed values, for cutting and pasting.

A scanner takes a text and the position of a value's first character and returns the value and the position
behind its last one, as ``JSONDecoder.raw_decode`` does. It raises ValueError where the text is not such a
value, and RecursionError where it is nested too deeply.
"""

import re
from collections.abc import Callable, Mapping
from json import JSONDecoder
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")
Scanner = Callable[[str, int], tuple[T, int]]


class Node(NamedTuple, Generic[T]):
    """A value and its span: ``text[start:end]`` is how it is written."""

    value: T
    start: int
    end: int


scan_value: Scanner[Any] = JSONDecoder().raw_decode

_BLANKS = re.compile(r"[ \t\n\r]*")
_MARK = re.compile(r"[ \t\n\r]*([,:\]}])[ \t\n\r]*")
_NO_SCANNERS: Mapping[str, Scanner[Any]] = MappingProxyType({})


def scan_document(text: str, scan: Scanner[T]) -> Node[T]:
    """Scan a text that holds one value and, around it, nothing but blanks."""
    start = _skip_blanks(text, 0)
    value, end = scan(text, start)
    if _skip_blanks(text, end) != len(text):
        raise ValueError(f"expected the end of the text at {end}")
    return Node(value, start, end)


def scan_object(
    text: str, start: int, scanners: Mapping[str, Scanner[Any]] = _NO_SCANNERS
) -> tuple[dict[str, Node[Any]], int]:
    """Scan an object into its members' nodes; of a repeated name the last.

    Args:
        scanners: how to scan the values of some names; the others' are parsed.
    """
    members: dict[str, Node[Any]] = {}
    position = _open(text, start, "{")
    if text.startswith("}", position):
        return members, position + 1
    while True:
        if not text.startswith('"', position):
            raise ValueError(f"expected a member's name at {position}")
        name, position = scan_value(text, position)
        value_start = _read_mark(text, position, ":").end()
        value, position = scanners.get(name, scan_value)(text, value_start)
        members[name] = Node(value, value_start, position)
        mark = _read_mark(text, position, ",}")
        if mark[1] == "}":
            return members, mark.end(1)
        position = mark.end()


def scan_array(text: str, start: int, scan: Scanner[T]) -> tuple[list[Node[T]], int]:
    """Scan an array into its elements' nodes, each scanned by ``scan``."""
    elements: list[Node[T]] = []
    position = _open(text, start, "[")
    if text.startswith("]", position):
        return elements, position + 1
    while True:
        element_start = position
        element, position = scan(text, element_start)
        elements.append(Node(element, element_start, position))
        mark = _read_mark(text, position, ",]")
        if mark[1] == "]":
            return elements, mark.end(1)
        position = mark.end()


def replace_surrogates(text: str) -> str:
    """Put ``?`` for each lone surrogate: JSON can spell it, but UTF-8, and so a job on the queue, cannot."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _open(text: str, start: int, bracket: str) -> int:
    if not text.startswith(bracket, start):
        raise ValueError(f"expected {bracket} at {start}")
    return _skip_blanks(text, start + 1)


def _read_mark(text: str, position: int, wanted: str) -> re.Match[str]:
    mark = _MARK.match(text, position)
    if mark is None or mark[1] not in wanted:
        raise ValueError(f"expected one of {wanted} at {position}")
    return mark


def _skip_blanks(text: str, position: int) -> int:
    found = _BLANKS.match(text, position)
    assert found is not None  # zero blanks match everywhere
    return found.end()
