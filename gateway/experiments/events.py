"""Knows what users do as User Behavior Insights writes it: an event, a list of them, or a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.errors import GatewayError
from gateway.strict_json import read_json

MOST_EVENTS = 1_000
_MOST_CHARS = 200


class BadEvents(GatewayError):
    """What was sent are no events (the sender's mistake; names the place)."""


@dataclass(frozen=True)
class Event:
    """One of them.

    Attributes:
        query_id: of the answer that it is about; empty for what is about none.
        action: such as ``click``.
        objects: what it may call the hit that it is about: ``object_id``, ``internal_id``; none without one.
        told: all of it, as it came.
    """

    query_id: str
    action: str
    objects: tuple[str, ...]
    told: Mapping[str, Any]


def read_events(body: bytes) -> list[Event]:
    """Read a body; one bad event makes all of it bad.

    Raises:
        BadEvents: it names the event, counted from 0, and the member.
    """
    events = [_read_event(told, f"events[{number}]") for number, told in enumerate(_split(body))]
    if not events:
        raise BadEvents("expected an event of UBI, a list of them, or one a line")
    return events


def _split(body: bytes) -> list[Any]:
    try:
        whole = read_json(body)
    except (ValueError, RecursionError):
        told = list(_read_lines(body))
    else:
        told = whole if isinstance(whole, list) else [whole]
    if len(told) > MOST_EVENTS:
        raise BadEvents(f"{len(told)} events; at most {MOST_EVENTS} may come at once")
    return told


def _read_lines(body: bytes) -> Iterator[Any]:
    for number, line in enumerate(body.splitlines(), start=1):
        if line.strip():
            try:
                yield read_json(line)
            except (ValueError, RecursionError) as error:
                raise BadEvents(f"line {number}: not JSON: {error}") from None


def _read_event(told: Any, place: str) -> Event:
    if not isinstance(told, dict):
        raise BadEvents(f"{place}: expected an object")
    action = _read_text(told, "action_name", place)
    if not action:
        raise BadEvents(f"{place}.action_name: is required")
    attributes = _read_object(told, "event_attributes", place)
    named = _read_object(attributes, "object", f"{place}.event_attributes")
    ids = (
        _read_text(named, name, f"{place}.event_attributes.object") for name in ("object_id", "internal_id")
    )
    return Event(_read_text(told, "query_id", place), action, tuple(filter(None, ids)), told)


def _read_object(told: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    value = told.get(name)
    if value is not None and not isinstance(value, dict):
        raise BadEvents(f"{place}.{name}: expected an object")
    return value or {}


def _read_text(told: Mapping[str, Any], name: str, place: str) -> str:
    """A text, or an integer as one; empty without it."""
    value = told.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadEvents(f"{place}.{name}: expected a text")
    if len(text := str(value)) > _MOST_CHARS:
        raise BadEvents(f"{place}.{name}: longer than {_MOST_CHARS} characters")
    return text


def write_line(told: Mapping[str, Any]) -> bytes:
    """As a line of NDJSON."""
    return json.dumps(told, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
