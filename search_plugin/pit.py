"""The index names that a point-in-time id carries: both engines write them into it, readable under Base64."""

import base64
import re
from collections.abc import Mapping
from typing import Any

# Of each shard: length and name of its index, length (22) and id of that index.
_INDEX_ID = re.compile(rb"\x16[A-Za-z0-9_-]{22}")
# Of a data stream, which policies name.
_BACKING_INDEX = re.compile(r"\.ds-(.+?)-(?:\d{4}\.\d\d\.\d\d-)?\d{6}")
_NAME = re.compile(rb"[^\x00-\x20A-Z\"*\\<|,>/?#:]+")


def find_pit_indices(pit: Any) -> tuple[str, ...]:
    """Find the indices of a body's ``pit``, each once; none if its id can't be read.

    They are data streams and concrete indices: an alias or a pattern that it was opened with is gone.
    """
    encoded = pit.get("id") if isinstance(pit, Mapping) else None
    if not isinstance(encoded, str):
        return ()
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_")
    except ValueError:
        return ()
    names = (_read_name_before(raw, found.start()) for found in _INDEX_ID.finditer(raw))
    return tuple(dict.fromkeys(_BACKING_INDEX.sub(r"\1", name) for name in names if name))


def _read_name_before(raw: bytes, end: int) -> str | None:
    # a number of eight bytes: this is the id of a search context
    if raw[max(end - 8, 0) : max(end - 4, 0)] == bytes(4):
        return None
    for length in range(1, min(end, 128)):
        start = end - length
        if raw[start - 1] == length and _NAME.fullmatch(raw, start, end):
            name = raw[start:end]
            return name.decode("utf-8", "replace") if name[:1] not in (b"-", b"_", b"+") else None
    return None
