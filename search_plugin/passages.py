"""Hits to passages: which words of a hit the model reads. It knows `_source`, not the model."""

from functools import lru_cache
from typing import Any

from search_plugin.first_stage import FirstStage, Hit
from search_plugin.plan import Plan
from search_plugin.policy import Policy
from search_plugin.raw_json import replace_surrogates
from search_plugin.skip import Reason, Skip


def read_passages(plan: Plan, first_stage: FirstStage) -> list[str] | Skip:
    """Read one passage per hit of the window, in first-stage order; ``""`` for a hit without the fields.

    A passage is the policy's fields joined by its separator, those without text left out, cut at its length.
    Values of a list are joined by a space.
    """
    hits = first_stage.hits
    if len(hits) < 2 or len(hits) <= plan.page_from:
        return Skip(Reason.TOO_FEW_HITS)
    if any(hit.first_stage_score is None for hit in hits):
        return Skip(Reason.SORT_NOT_SCORE)
    passages = [_read_passage(hit, plan.policy) for hit in hits[: plan.policy.window]]
    return passages if any(passages) else Skip(Reason.NO_SOURCE)


def _read_passage(hit: Hit, policy: Policy) -> str:
    texts = (_read_field(hit.source, path) for path in policy.passage_fields)
    passage = policy.separator.join(text for text in texts if text and not text.isspace())
    return replace_surrogates(passage[: policy.max_passage_chars])


def _read_field(source: Any, path: str) -> str:
    """Join by a space all that stands under a dotted path, through objects and lists (in their order).

    An object may also hold the path, or its front, as one key with dots: ``{"a.b": 1}``, ``{"a": {"b": 1}}``.
    """
    texts: list[str] = []
    pending: list[tuple[Any, str]] = [(source, path)]  # a stack: documents may be nested deeply
    while pending:
        value, rest = pending.pop()
        if isinstance(value, list):
            pending.extend((element, rest) for element in reversed(value))
        elif isinstance(value, dict):
            pending.extend((value[key], deeper) for key, deeper in _split_path(rest) if key in value)
        elif not rest and value is not None:
            texts.append(str(value).lower() if isinstance(value, bool) else str(value))
    return " ".join(texts)


@lru_cache
def _split_path(path: str) -> tuple[tuple[str, str], ...]:
    """All ways to take a key off the front, longest first: ``a.b.c`` is a.b.c + nothing, a.b + c, a + b.c."""
    keys = path.split(".") if path else []
    ways = [(".".join(keys[:count]), ".".join(keys[count:])) for count in range(1, len(keys) + 1)]
    return tuple(reversed(ways))
