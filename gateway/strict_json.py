"""Knows JSON as its standard has it: without the numbers that Python reads beside it."""

from __future__ import annotations

import json
from typing import Any


def read_json(text: str | bytes) -> Any:
    """What it says.

    Raises:
        ValueError: it is not JSON, or has NaN or an infinity in it.
        RecursionError: it is nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")
