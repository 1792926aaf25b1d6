"""The engines' ``filter_path``: which members of an answer the client wants, cut out of the raw text.

Paths are parted by commas, names by dots; ``*`` stands for any characters of a name, ``**`` for any names; a
path that begins with ``-`` leaves out. Arrays are looked through. What is left without a member is left out.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from search_plugin.raw_json import (
    Node,
    apply_edits,
    drop_entries,
    join_array,
    scan_array,
    scan_document,
    scan_object,
    scan_value,
)
from search_plugin.wildcards import matches

Path = tuple[str, ...]

_COMMA = re.compile(r",")
_DOT = re.compile(r"(?<!\\)\.")


def filter_answer(text: str, filter_path: str, *, keeps_empty: bool = True) -> str:
    """Keep of a JSON answer what the parameter names.

    Args:
        text: an object.
        filter_path: the parameter's value, decoded.
        keeps_empty: what was empty before stays where a path leaves out something in it, as in Elasticsearch
            since 8; in OpenSearch and Elasticsearch 7 it goes.

    Raises:
        ValueError: the text is no JSON.
        RecursionError: it is nested too deeply.
    """
    paths = [path.strip() for path in _COMMA.split(filter_path) if path.strip()]
    for paths_of_a_kind, leaves_out in (
        ([path for path in paths if not path.startswith("-")], False),
        ([path[1:] for path in paths if path.startswith("-")], True),
    ):
        if paths_of_a_kind:
            split = [tuple(_split_path(path)) for path in paths_of_a_kind]
            whole = scan_document(text, scan_value)
            empty = "{ }" if text[whole.start + 1].isspace() else "{}"  # as both engines print a pretty one
            kept = _filter_object(text, whole.start, split, _Mode(leaves_out, keeps_empty)) or empty
            text = text[: whole.start] + kept + text[whole.end :]
    return text


def _split_path(path: str) -> Iterator[str]:
    """Its names; any names and any names are any names."""
    before = None
    for name in _DOT.split(path):
        if (name, before) != ("**", "**"):
            yield name.replace("\\.", ".")
        before = name


class _Mode(NamedTuple):
    leaves_out: bool
    keeps_empty: bool

    @property
    def keeps_what_was_empty(self) -> bool:
        return self.leaves_out and self.keeps_empty


def _filter_object(text: str, start: int, paths: Sequence[Path], mode: _Mode) -> str | None:
    members, end = scan_object(text, start)
    if not members:
        return text[start:end] if mode.keeps_what_was_empty else None
    edits = []
    dropped = []
    for name, node in members.items():
        kept = _filter_member(text, name, node, paths, mode)
        if kept is None:
            dropped.append(name)
        elif kept != text[node.start : node.end]:
            edits.append((node.start, node.end, kept))
    if len(dropped) == len(members):
        return None
    return apply_edits(text, start, end, [*edits, *drop_entries(members, dropped)])


def _filter_member(text: str, name: str, node: Node[Any], paths: Sequence[Path], mode: _Mode) -> str | None:
    rests = _step(paths, name)
    raw = text[node.start : node.end]
    if () in rests:
        return None if mode.leaves_out else raw
    if not rests:
        return raw if mode.leaves_out else None
    return _filter_value(text, node, rests, mode)


def _filter_value(text: str, node: Node[Any], paths: Sequence[Path], mode: _Mode) -> str | None:
    if isinstance(node.value, dict):
        return _filter_object(text, node.start, paths, mode)
    if isinstance(node.value, list):
        elements, end = scan_array(text, node.start, scan_value)
        filtered = (_filter_value(text, element, paths, mode) for element in elements)
        kept = [element for element in filtered if element is not None]
        is_kept = kept or (not elements and mode.keeps_what_was_empty)
        return join_array(text, node.start, end, elements, kept) if is_kept else None
    return text[node.start : node.end] if mode.leaves_out else None


def _step(paths: Sequence[Path], name: str) -> list[Path]:
    """What remains of the paths behind one name, each once; an empty one where a path ends there."""
    rests: dict[Path, None] = {}
    for path in paths:
        rest = path
        while rest and rest[0] == "**":
            rests[rest] = None
            rest = rest[1:]
        if not rest:
            rests[()] = None
        elif matches(name, rest[0]):
            rests[rest[1:]] = None
    return list(rests)
