"""The request as the cluster gets it: window, fields, nothing of what is ours, every other byte as it came.

Both engines read query strings alike (``RestUtils.decodeQueryString``): ``&`` and ``;`` part parameters,
empty ones are passed over, the last of a repeated one counts.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

from search_plugin.raw_json import join_object, split_object

_PARTS = re.compile("([&;])")


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What is sent instead of the client's target and body.

    Attributes:
        target: the raw request target.
        body: JSON; None where the client's own body goes out as it came.
    """

    target: str
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class SearchText:
    """A search as it came, from which its rewrites are made.

    Attributes:
        target: without the parameters that are ours.
        body: the text of its JSON object, or blank.
        in_source: the body stands in the target, as ``source``.
        in_body: only its body can ask for the window, as that of an item of a multi-search.
    """

    target: str
    body: str
    in_source: bool
    in_body: bool

    def rewrite(self, edits: Mapping[str, str | None], window: int | None = None) -> Rewrite:
        """Change members of the body (see `edit_body`) and ask, whole, for a window from the first hit on."""
        target = self.target
        if window is not None:
            target = ask_for_all(target)
            if self.in_body:
                edits = {**edits, "from": "0", "size": str(window)}
            else:
                target = set_window(target, window)
        if not edits:
            return Rewrite(target)
        body = edit_body(self.body, edits)
        if self.in_source:
            return Rewrite(set_parameters(target, {"source": _encode(body)}))
        return Rewrite(target, body.encode("utf-8", "surrogateescape"))


def read_parameters(target: str) -> dict[str, str]:
    """Decode the target's parameters; of a repeated one the last.

    Args:
        target: as it came in the request line, one character a byte.
    """
    _, _, query = target.partition("?")
    if not query:
        return {}
    pairs = (part.partition("=") for part in _PARTS.split(query)[::2] if part)
    return {_decode(name): _decode(value) for name, _, value in pairs}


def read_filter_path(target: str) -> str:
    """The target's ``filter_path``; empty without one."""
    return read_parameters(target).get("filter_path", "")


def ask_for_all(target: str) -> str:
    """Put all in the place of a ``filter_path``: the engines print a filtered answer in another way."""
    is_filtered = bool(read_filter_path(target).strip(", "))
    return set_parameters(target, {"filter_path": "*"}) if is_filtered else target


def set_window(target: str, size: int) -> str:
    """Ask for the first ``size`` hits: every ``from`` and ``size`` is replaced, a missing one added."""
    return set_parameters(target, {"from": "0", "size": str(size)})


def set_parameters(target: str, values: Mapping[str, str]) -> str:
    """Replace these parameters, each time they occur, and add those that are missing.

    Every other byte stays as it is: order, encoding, repeated and empty parameters.

    Args:
        values: encoded as they are to stand there.
    """
    path, _, query = target.partition("?")
    missing = dict(values)
    parts = _PARTS.split(query)
    for position in range(0, len(parts), 2):
        name, _, _ = parts[position].partition("=")
        if (known := _decode(name)) in values:
            parts[position] = f"{name}={values[known]}"
            missing.pop(known, None)
    added = "&".join(f"{name}={value}" for name, value in missing.items())
    return f"{path}?{'&'.join(filter(None, (''.join(parts), added)))}"


def drop_parameters(target: str, names: Collection[str]) -> str:
    """Take these parameters out, each with the mark before it; every other byte stays as it is."""
    path, mark, query = target.partition("?")
    if not query:
        return target
    parts = ["", *_PARTS.split(query)]  # pairs: the mark before a parameter, and the parameter
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    kept = [pair for pair in pairs if _decode(pair[1].partition("=")[0]) not in names]
    if len(kept) == len(pairs):
        return target
    text = "".join(before + parameter for before, parameter in kept)
    text = text.removeprefix(kept[0][0]) if kept else ""
    return f"{path}{mark}{text}" if text else path


def edit_body(body: str, edits: Mapping[str, str | None]) -> str:
    """Set members of a JSON object, or take them out (None); the others stay as they are written.

    Args:
        body: an object's text, or blank for an empty one.
        edits: values written as JSON.
    """
    members: dict[str, str | None] = {**(split_object(body) if body.strip() else {}), **edits}
    return join_object({name: value for name, value in members.items() if value is not None})


def _encode(text: str) -> str:
    return quote(text.encode("utf-8", "surrogateescape"), safe="")


def _decode(encoded: str) -> str:
    raw = encoded.replace("+", " ").encode("latin-1", "replace")
    return unquote_to_bytes(raw).decode("utf-8", "replace")
