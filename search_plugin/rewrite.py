"""The raw request target: what its parameters say, and how its window is set without touching another byte.

Both engines read query strings alike (``RestUtils.decodeQueryString``): ``&`` and ``;`` part parameters,
empty ones are passed over, the last of a repeated one counts.
"""

import re
from urllib.parse import unquote_to_bytes

_PARTS = re.compile("([&;])")


def read_parameters(target: str) -> dict[str, str]:
    """Decode the target's parameters; of a repeated one the last.

    Args:
        target: as it came in the request line, one character a byte.
    """
    _, _, query = target.partition("?")
    pairs = (part.partition("=") for part in _PARTS.split(query)[::2] if part)
    return {_decode(name): _decode(value) for name, _, value in pairs}


def set_window(target: str, size: int) -> str:
    """Ask for the first ``size`` hits: every ``from`` and ``size`` is replaced, a missing one added.

    Every other byte stays as it is: order, encoding, repeated and empty parameters.
    """
    path, _, query = target.partition("?")
    missing = {"from": "0", "size": str(size)}
    window = dict(missing)
    parts = _PARTS.split(query)
    for position in range(0, len(parts), 2):
        name, _, _ = parts[position].partition("=")
        if (known := _decode(name)) in window:
            parts[position] = f"{name}={window[known]}"
            missing.pop(known, None)
    added = "&".join(f"{name}={value}" for name, value in missing.items())
    return f"{path}?{'&'.join(filter(None, (''.join(parts), added)))}"


def _decode(encoded: str) -> str:
    raw = encoded.replace("+", " ").encode("latin-1", "replace")
    return unquote_to_bytes(raw).decode("utf-8", "replace")
