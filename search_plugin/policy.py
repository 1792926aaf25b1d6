"""Policies: which searches are reranked, by which model. It knows index names, not requests."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from search_plugin.routes import Route

_Text = Annotated[str, Field(min_length=1)]


class Policy(BaseModel):
    """How the searches of some indices are reranked. Unknown options are refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Text = Field(description="What people call this policy.")
    indices: tuple[_Text, ...] = Field(
        min_length=1, description="Patterns of index names and aliases; `*` stands for any characters."
    )
    model: _Text = Field(description="Alias of the model that scores.")
    passage_fields: tuple[_Text, ...] = Field(
        min_length=1,
        description="Fields of `_source` that make up a passage, in this order; `a.b` looks inside `a`.",
    )
    separator: str = Field(default="\n", description="Stands between the fields of a passage.")
    window: int = Field(
        default=50, ge=1, le=10_000, description="Number of first-stage hits that are scored."
    )
    deadline_ms: int = Field(
        default=1000,
        gt=0,
        description="Milliseconds, from the request's arrival, in which the scores must be there.",
    )
    max_passage_chars: int = Field(
        default=2000, gt=0, le=100_000, description="Characters at which a passage is cut."
    )


def find_policy(route: Route, policies: Sequence[Policy]) -> Policy | None:
    """Find the first policy that covers every part of the search's index expression.

    A search of all indices (no index, ``_all``, ``*``) needs a policy with the pattern ``*``. Exclusions
    (``-name``) only make a search narrower and are not looked at. Date math and remote clusters are matched
    as they are written.
    """
    included = ["*" if part == "_all" else part for part in route.indices if not part.startswith("-")]
    return next((policy for policy in policies if _covers(policy, included or ["*"])), None)


def _covers(policy: Policy, parts: Sequence[str]) -> bool:
    # Only a `*` of the pattern matches a part's own `*`: what matches as text covers all that it stands for.
    return all(any(fnmatchcase(part, _as_fnmatch(pattern)) for pattern in policy.indices) for part in parts)


def _as_fnmatch(pattern: str) -> str:
    return pattern.replace("[", "[[]").replace("?", "[?]")
