"""Knows how a judged query becomes a search's body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import GatewayError
from gateway.strict_json import read_json
from search_plugin import Policy

PLACEHOLDER = "%SearchText%"
"""Stands for the query's text, as in the search configurations of OpenSearch's Search Relevance Workbench."""


class BadTemplate(GatewayError):
    """The file of the search's body can't be used (the caller's mistake; names it)."""


@dataclass(frozen=True)
class Template:
    """A search's body with `PLACEHOLDER` in some of its texts."""

    body: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Template:
        """Read a file.

        Raises:
            BadTemplate: it can't be read, is no JSON object, or has no place for the query.
        """
        try:
            text = path.read_text(encoding="utf-8")
            body = read_json(text)
        except OSError as error:
            raise BadTemplate(f"{path}: can't be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise BadTemplate(f"{path}: not JSON: {error}") from error
        if not isinstance(body, dict) or PLACEHOLDER not in text:
            raise BadTemplate(f"{path}: expected a search's body with {PLACEHOLDER} where the query stands")
        return cls(body)

    @classmethod
    def for_policy(cls, policy: Policy) -> Template:
        """A plain query over what the policy's model reads: its fields, or all."""
        fields = [*policy.fields] or ["*"]
        return cls({"query": {"multi_match": {"query": PLACEHOLDER, "fields": fields, "lenient": True}}})

    def fill(self, text: str, size: int) -> dict[str, Any]:
        """The search for a query, from the first hit on."""
        return {**_fill(self.body, text), "from": 0, "size": size}


def _fill(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace(PLACEHOLDER, text)
    if isinstance(value, Mapping):
        return {name: _fill(member, text) for name, member in value.items()}
    return [_fill(element, text) for element in value] if isinstance(value, list) else value
