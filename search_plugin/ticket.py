"""A plan in a few characters: what is needed to rank an answer that comes later, kept by the client."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from search_plugin.plan import Plan, Rules
from search_plugin.policy import Policy
from search_plugin.rewrite import Rewrite

MARK = "~"
"""Stands between the cluster's id and ours; in no id of the engines, and unreserved in URLs."""

MAX_CHARS = 2_000
"""The engines take a request line of 4 kB."""

_MAX_JSON_BYTES = 100_000


class _Ticket(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: str
    chosen: dict[str, Any] = {}
    query_text: str
    page_from: int = Field(ge=0)
    page_size: int = Field(ge=1)
    added_fields: tuple[str, ...] = ()
    is_asked: bool = False
    tells_hits: bool = False
    scores_like_elasticsearch: bool = False
    highlight_tags: tuple[str, ...] = ()


def write_ticket(plan: Plan, policies: Sequence[Policy]) -> str | None:
    """Write what `read_ticket` makes a plan of; None if that is too long for a URL or its policy is gone."""
    own = next((policy for policy in policies if policy.name == plan.policy.name), None)
    if own is None:
        return None
    as_configured = own.model_dump(mode="json")
    chosen = plan.policy.model_dump(mode="json")
    ticket = _Ticket(
        policy=own.name,
        chosen={name: value for name, value in chosen.items() if value != as_configured[name]},
        query_text=plan.query_text,
        page_from=plan.page_from,
        page_size=plan.page_size,
        added_fields=plan.added_fields,
        is_asked=plan.is_asked,
        tells_hits=plan.tells_hits,
        scores_like_elasticsearch=plan.scores_like_elasticsearch,
        highlight_tags=plan.highlight_tags,
    )
    packed = zlib.compress(ticket.model_dump_json(exclude_defaults=True).encode())
    encoded = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return encoded if len(encoded) <= MAX_CHARS else None


def read_ticket(encoded: str, rules: Rules) -> Plan | None:
    """The plan of a ticket; None if it is none of ours, or asks for more than its policy grants.

    The client keeps it and could have written it: it is checked like a request.
    """
    try:
        packed = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        inflater = zlib.decompressobj()
        ticket = _Ticket.model_validate_json(inflater.decompress(packed, _MAX_JSON_BYTES))
        own = next(policy for policy in rules.policies if policy.name == ticket.policy)
        policy = Policy.model_validate({**own.model_dump(), **ticket.chosen})
    except (ValueError, zlib.error, StopIteration):
        return None
    limits = (own.name, own.indices, own.max_window, own.max_deadline_ms)
    if (policy.name, policy.indices, policy.max_window, policy.max_deadline_ms) != limits:
        return None
    is_granted = (
        policy.model in {*rules.models, own.model}
        and policy.window <= own.largest_window
        and policy.deadline_ms <= own.longest_deadline_ms
    )
    if not is_granted:
        return None
    nothing = Rewrite("")
    return Plan(
        policy=policy,
        query_text=ticket.query_text,
        page_from=ticket.page_from,
        page_size=ticket.page_size,
        enlarged=nothing,
        stripped=nothing,
        added_fields=ticket.added_fields,
        highlight_tags=ticket.highlight_tags,
        is_asked=ticket.is_asked,
        tells_hits=ticket.tells_hits,
        scores_like_elasticsearch=ticket.scores_like_elasticsearch,
    )
