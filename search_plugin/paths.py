"""Dotted paths into parsed JSON, as the engines read them: through objects and lists, keys may hold dots."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any


def find_values(value: Any, path: str) -> Iterator[Any]:
    """Find the scalars under a path, in document order; ``""`` is all of them.

    An object may also hold the path, or its front, as one key with dots: ``{"a.b": 1}``, ``{"a": {"b": 1}}``.
    Of a list all elements count, or the one whose number the path gives.
    """
    pending: list[tuple[Any, str | None]] = [(value, path or None)]  # a stack: values may be nested deeply
    while pending:
        value, rest = pending.pop()
        if isinstance(value, list):
            number, _, deeper = (rest or "").partition(".")
            if number.isdecimal():
                pending.extend((element, deeper or None) for element in value[int(number) :][:1])
            else:
                pending.extend((element, rest) for element in reversed(value))
        elif isinstance(value, dict):
            inner = split_path(rest) if rest else [(key, None) for key in reversed(value)] if not path else ()
            pending.extend((value[key], deeper) for key, deeper in inner if key in value)
        elif rest is None and value is not None:
            yield value


def find_texts(value: Any, path: str) -> list[str]:
    """The same as texts, numbers and booleans as JSON writes them."""
    if isinstance(value, dict) and "." not in path and path and isinstance(text := value.get(path), str):
        return [text]  # nearly always, so it is worth a way of its own
    return [
        str(found).lower() if isinstance(found, bool) else str(found) for found in find_values(value, path)
    ]


@lru_cache
def split_path(path: str) -> tuple[tuple[str, str | None], ...]:
    """All ways to take a key off the front, longest first: ``a.b.c`` is a.b.c + nothing, a.b + c, a + b.c."""
    keys = path.split(".")
    ways = [(".".join(keys[:count]), ".".join(keys[count:]) or None) for count in range(1, len(keys) + 1)]
    return tuple(reversed(ways))
