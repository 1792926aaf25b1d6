"""Hits to passages: which words of a hit the model reads. It knows what a hit holds, not the model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_plugin.chunks import combine, cut
from search_plugin.first_stage import FirstStage, Hit
from search_plugin.paths import find_texts
from search_plugin.plan import Plan
from search_plugin.policy import read_template
from search_plugin.raw_json import replace_surrogates
from search_plugin.skip import Reason, Skip

MAX_PASSAGES = 10_000
_MAX_TEXT_CHARS = 1_000_000  # of a text that is cut into chunks


@dataclass(frozen=True, slots=True)
class Passages:
    """What is scored for one search.

    Attributes:
        texts: the passages, those of a hit side by side.
        counts: how many belong to each hit of the window, in first-stage order; at least one each.
    """

    texts: tuple[str, ...]
    counts: tuple[int, ...]

    def split(self, per_passage: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """What belongs to each hit, of something that each passage has one of."""
        start = 0
        for count in self.counts:
            yield per_passage[start : start + count]
            start += count


def read_passages(plan: Plan, first_stage: FirstStage) -> Passages | Skip:
    """Read the passages of the window's hits: one a hit, ``""`` for one without the fields, or its chunks."""
    hits = first_stage.hits
    if len(hits) < 2 or len(hits) <= plan.page_from:
        return Skip(Reason.TOO_FEW_HITS)
    if any(hit.first_stage_score is None for hit in hits):
        return Skip(Reason.SORT_NOT_SCORE)
    ids = [hit.identity for hit in hits if hit.identity is not None]
    if len(set(ids)) < len(ids):
        return Skip(Reason.REPEATED_HITS)
    passages = read_texts(plan, hits[: plan.policy.window])
    return passages if any(passages.texts) else Skip(Reason.NO_SOURCE)


def read_texts(plan: Plan, hits: Sequence[Hit]) -> Passages:
    """The passages of some hits, whatever their order means."""
    most = MAX_PASSAGES // max(len(hits), 1)
    of_hits = [_read_passages(hit, plan, most) for hit in hits]
    return Passages(tuple(text for texts in of_hits for text in texts), tuple(map(len, of_hits)))


def combine_scores(plan: Plan, passages: Passages, logits: Sequence[float]) -> list[float]:
    """One logit a hit, made of those of its passages.

    Raises:
        ValueError: not one logit for each passage.
    """
    if len(logits) != len(passages.texts):
        raise ValueError(f"expected {len(passages.texts)} scores, one for each passage")
    if plan.policy.chunks is None:
        return list(logits)
    how = plan.policy.chunks.score
    return [combine(of_hit, how) for of_hit in passages.split(logits)]


def _read_passages(hit: Hit, plan: Plan, most: int) -> list[str]:
    policy = plan.policy
    text = _read_text(hit, plan)
    if policy.chunks is None:
        return [replace_surrogates(text[: policy.max_passage_chars])]
    chunks = cut(text[:_MAX_TEXT_CHARS], policy.chunks, plan.query_text)
    return [replace_surrogates(chunk[: policy.max_passage_chars]) for chunk in chunks[:most]] or [""]


def _read_text(hit: Hit, plan: Plan) -> str:
    policy = plan.policy
    if policy.passage_template is not None:
        return _fill_template(hit, plan, policy.passage_template)
    texts = [_read_field(hit, field, plan) for field in policy.passage_fields or _ALL]
    return policy.separator.join([text for text in texts if text and not text.isspace()])


def _fill_template(hit: Hit, plan: Plan, template: str) -> str:
    parts = [(text, name and _read_field(hit, name, plan)) for text, name in read_template(template)]
    is_blank = not any(value and not value.isspace() for _, value in parts)
    return "" if is_blank else "".join(text + (value or "") for text, value in parts)


_ALL = ("",)


def _read_field(hit: Hit, path: str, plan: Plan) -> str:
    for source in plan.policy.passage_sources:
        if text := " ".join(_SOURCES[source](hit, path, plan)):
            return text
    return ""


def _from_source(hit: Hit, path: str, plan: Plan) -> list[str]:
    return find_texts(hit.source, path)


def _from_fields(hit: Hit, path: str, plan: Plan) -> list[str]:
    return find_texts(hit.value("fields"), path)


def _from_highlight(hit: Hit, path: str, plan: Plan) -> list[str]:
    return [
        _drop_tags(fragment, plan.highlight_tags) for fragment in find_texts(hit.value("highlight"), path)
    ]


def _drop_tags(fragment: str, tags: Sequence[str]) -> str:
    for tag in tags:
        fragment = fragment.replace(tag, "")
    return fragment


def _from_inner_hits(hit: Hit, path: str, plan: Plan) -> list[str]:
    texts: list[str] = []
    for name, group in _as_object(hit.value("inner_hits")).items():
        inner_hits = _as_object(_as_object(group).get("hits")).get("hits")
        for inner in map(_as_object, inner_hits if isinstance(inner_hits, list) else ()):
            inside = path.removeprefix(f"{_nested_path(inner) or name}.")
            texts += find_texts(inner.get("_source"), inside) or find_texts(inner.get("fields"), path)
    return texts


def _nested_path(inner: Mapping[str, Any]) -> str:
    fields, nested = [], _as_object(inner.get("_nested"))
    while nested:
        fields.append(str(nested.get("field")))
        nested = _as_object(nested.get("_nested"))
    return ".".join(fields)


def _as_object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


_SOURCES: Mapping[str, Callable[[Hit, str, Plan], list[str]]] = {
    "_source": _from_source,
    "fields": _from_fields,
    "highlight": _from_highlight,
    "inner_hits": _from_inner_hits,
}
