"""Where each value stands in a JSON text: spans beside parsed values, for cutting and pasting.

A scanner takes a text and the position of a value's first character and returns the value and the position
behind its last one, as ``JSONDecoder.raw_decode`` does. It raises ValueError where the text is not such a
value, and RecursionError where it is nested too deeply.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from json import JSONDecoder
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

T = TypeVar("T")
Scanner = Callable[[str, int], tuple[T, int]]


class Node(NamedTuple, Generic[T]):
    """A value and its span: ``text[start:end]`` is how it is written.

    ``entry_start`` is where its entry in the object or array around it starts: at a member's name, or at the
    value itself.
    """

    value: T
    start: int
    end: int
    entry_start: int = 0


class Span(Protocol):
    """What has a place in a text."""

    @property
    def start(self) -> int:
        """Where it begins."""
        ...

    @property
    def end(self) -> int:
        """Behind its end."""
        ...


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
        name_start = position
        name, position = scan_value(text, position)
        value_start = _read_mark(text, position, ":").end()
        value, position = scanners.get(name, scan_value)(text, value_start)
        members.pop(name, None)  # so that the nodes are in the order of the text
        members[name] = Node(value, value_start, position, name_start)
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
        elements.append(Node(element, element_start, position, element_start))
        mark = _read_mark(text, position, ",]")
        if mark[1] == "]":
            return elements, mark.end(1)
        position = mark.end()


def split_object(text: str) -> dict[str, str]:
    """Split the text of an object into its members, each as it is written.

    Raises:
        ValueError: the text is not one object.
    """
    document = scan_document(text, scan_object)
    return {name: text[node.start : node.end] for name, node in document.value.items()}


def join_object(members: Mapping[str, str]) -> str:
    """Put together what `split_object` split, or other members written as JSON."""
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"


Edit = tuple[int, int, str]
"""A span of a text, and what stands there instead."""


def apply_edits(text: str, start: int, end: int, edits: Iterable[Edit]) -> str:
    """Write ``text[start:end]`` with these edits, which do not overlap."""
    pieces, position = [], start
    for edit_start, edit_end, replacement in sorted(edits):
        pieces += [text[position:edit_start], replacement]
        position = edit_end
    return "".join([*pieces, text[position:end]])


def drop_entries(entries: Mapping[str, Node[Any]], names: Collection[str]) -> Iterator[Edit]:
    """Take members out of an object, each with one comma.

    Args:
        entries: all members of the object, in their order.
    """
    nodes = list(entries.values())
    dropped = [name in names for name in entries]
    if all(dropped):
        if nodes:
            yield nodes[0].entry_start, nodes[-1].end, ""
        return
    first_kept = dropped.index(False)
    if first_kept:
        yield nodes[0].entry_start, nodes[first_kept].entry_start, ""
    for position in range(first_kept + 1, len(nodes)):
        if dropped[position]:
            yield nodes[position - 1].end, nodes[position].end, ""


def put_entry(text: str, entries: Sequence[Node[Any]], entry: str) -> Edit:
    """Put one more entry behind the last of an object or array that is not empty."""
    last = entries[-1].end
    comma = text[entries[-2].end : entries[-1].entry_start] if len(entries) > 1 else ","
    return last, last, comma + entry


def join_array(text: str, start: int, end: int, old: Sequence[Span], new: Sequence[str]) -> str:
    """Write the array ``text[start:end]`` with other elements.

    The blanks before, between and behind them are those that stand around its ``old`` ones.
    """
    if not old:
        return text[start:end]
    opening = text[start : old[0].start]
    if not new:
        blank = "" if len(opening) == 1 else " "  # as both engines print an empty pretty array
        return f"{opening[0]}{blank}{text[end - 1]}"
    comma = text[old[0].end : old[1].start] if len(old) > 1 else ","
    return opening + comma.join(new) + text[old[-1].end : end]


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
