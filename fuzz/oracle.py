"""The engines' ``filter_path`` once more, on parsed JSON: slow and short, to hold the fast one against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Names = Sequence[str]


def filter_value(value: Any, filter_path: str) -> Any:
    """What the parameter leaves of an answer; see `prune`."""
    paths = [path.strip() for path in filter_path.split(",") if path.strip()]
    included = [_split(path) for path in paths if not path.startswith("-")]
    excluded = [_split(path[1:]) for path in paths if path.startswith("-")]
    return prune(_cut(_cut(value, (), included, False) if included else value, (), excluded, True))


def prune(value: Any) -> Any:
    """Without what holds nothing: which of that is left out differs between versions."""
    if isinstance(value, dict):
        inner = {name: prune(member) for name, member in value.items()}
        return {name: member for name, member in inner.items() if member not in ({}, [])}
    if isinstance(value, list):
        return [member for member in map(prune, value) if member not in ({}, [])]
    return value


def _split(path: str) -> Names:
    return [name.replace("\\.", ".") for name in re.split(r"(?<!\\)\.", path)]


def _cut(value: Any, path: Names, patterns: Sequence[Names], leaves_out: bool) -> Any:
    if path and any(_matches(path, pattern) for pattern in patterns):
        return {} if leaves_out else value
    if isinstance(value, dict):
        return {name: _cut(member, (*path, name), patterns, leaves_out) for name, member in value.items()}
    if isinstance(value, list):
        return [_cut(member, path, patterns, leaves_out) for member in value]
    return value if leaves_out else {}


def _matches(path: Names, pattern: Names) -> bool:
    if not pattern or not path:
        return not pattern and not path
    head, rest = pattern[0], pattern[1:]
    if head == "**":
        return not rest or _matches(path, rest) or _matches(path[1:], pattern)
    return _name_matches(path[0], head) and _matches(path[1:], rest)


def _name_matches(name: str, pattern: str) -> bool:
    found = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    return found is not None
