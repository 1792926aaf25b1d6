"""What makes a search fit for another order: tables of what its format, its page and its clauses may be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from search_plugin.raw_json import replace_surrogates
from search_plugin.skip import Reason
from search_plugin.source_filter import SourceFilter, read_source_filter
from search_plugin.wildcards import matches

_JSON_TYPE = re.compile(
    r"\*/\*|application/(?:\*|json|x-ndjson|vnd\.(?:elasticsearch|opensearch)[\w.-]*\+(?:x-nd)?json)"
)


def is_plain_json(headers: Mapping[str, str], parameters: Mapping[str, str]) -> bool:
    """Is it JSON, and is its answer to be?"""
    return (
        parameters.get("format", "json") == "json"
        and _names_json(parameters.get("source_content_type", "*/*"))
        and _names_json(headers.get("accept", "*/*"))
        and _names_json(headers.get("content-type", "*/*"))
    )


def _names_json(header: str) -> bool:
    # Of a list one is enough: the engines then fall back to JSON.
    types = (media_range.partition(";")[0].strip().lower() for media_range in header.split(","))
    return any(_JSON_TYPE.fullmatch(media_type) for media_type in types)


@dataclass(frozen=True, slots=True)
class Search:
    """A search's parameters and body, parsed, and the page that it asks for."""

    parameters: Mapping[str, str]
    body: Mapping[str, Any]
    page_from: int
    page_size: int

    @classmethod
    def read(cls, parameters: Mapping[str, str], body: Mapping[str, Any]) -> "Search":
        """Find the page; the parameters overrule the body.

        Raises:
            ValueError: ``from`` or ``size`` is no count, ``fields`` no list.
        """
        if not isinstance(body.get("fields", []), list):
            raise ValueError("fields that are no list")
        return cls(
            parameters=parameters,
            body=body,
            page_from=_read_count(parameters.get("from", _read_count(body.get("from", 0)))),
            page_size=_read_count(parameters.get("size", _read_count(body.get("size", 10)))),
        )

    @property
    def source_filter(self) -> SourceFilter:
        """What of each hit's `_source` the client wants."""
        return read_source_filter(self.parameters, self.body)

    def asks_for_field(self, field: str) -> bool:
        """Does the client itself want this field in the hits' ``fields``?"""
        asked = _as_list(self.body.get("fields"))
        names = [name.get("field") if isinstance(name, dict) else name for name in asked]
        return any(isinstance(name, str) and matches(field, name) for name in names)

    @property
    def highlight_tags(self) -> tuple[str, ...]:
        """What the client wants highlight fragments to be marked with."""
        highlight = self.body.get("highlight")
        if not isinstance(highlight, dict):
            return ()
        if highlight.get("tags_schema") == "styled":
            return (*(f'<em class="hlt{number}">' for number in range(1, 11)), "</em>")
        fields = highlight.get("fields")
        named = (
            [fields]
            if isinstance(fields, dict)
            else [item for item in _as_list(fields) if isinstance(item, dict)]
        )
        places = [highlight, *(place for item in named for place in item.values() if isinstance(place, dict))]
        given = chain(*(_as_list(place.get(key)) for place in places for key in ("pre_tags", "post_tags")))
        return (
            "<em>",
            "</em>",
            *dict.fromkeys(replace_surrogates(tag) for tag in given if isinstance(tag, str) and tag),
        )

    def find_unfit(self) -> Reason | None:
        """The reason why no other order would be right; None if one would."""
        return next((reason for reason, applies in _UNFIT if applies(self)), None)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _read_count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if type(value) is not int or not 0 <= value < 2**31:  # a Java int; not bool
        raise ValueError(f"not a count: {value!r}")
    return value


def _sorts_otherwise(search: Search) -> bool:
    in_url = filter(None, search.parameters.get("sort", "").split(","))
    in_body = search.body.get("sort", [])
    keys = in_body if isinstance(in_body, list) else [in_body]
    return any(key not in ("_score", "_score:desc") for key in in_url) or not all(map(_is_by_score, keys))


def _is_by_score(key: object) -> bool:
    if isinstance(key, dict) and list(key) == ["_score"]:
        order = key["_score"]
        order = order.get("order", "desc") if isinstance(order, dict) else order
        return isinstance(order, str) and order.lower() == "desc"
    return key == "_score"


def _collapses_with_inner_hits(search: Search) -> bool:
    collapse = search.body.get("collapse")
    return isinstance(collapse, dict) and bool(collapse.get("inner_hits"))


def _is_reranked_by_cluster(search: Search) -> bool:
    retriever = search.body.get("retriever")
    return bool(search.body.get("rescore")) or (
        isinstance(retriever, dict) and not retriever.keys().isdisjoint(_RERANKING_RETRIEVERS)
    )


def _wants_no_stored_fields(search: Search) -> bool:
    """Hits without anything, and the engines refuse `fields` beside it."""
    asked = search.parameters.get("stored_fields", search.body.get("stored_fields"))
    return asked in ("_none_", ["_none_"])


_RERANKING_RETRIEVERS = frozenset({"text_similarity_reranker", "rescorer"})

_UNFIT: tuple[tuple[Reason, Callable[[Search], bool]], ...] = (
    (Reason.SCROLL, lambda search: "scroll" in search.parameters),
    (Reason.SEARCH_AFTER, lambda search: "search_after" in search.body),
    (Reason.SORT_NOT_SCORE, _sorts_otherwise),
    (Reason.RESCORE_CLAUSE, _is_reranked_by_cluster),
    (Reason.COLLAPSE_INNER_HITS, _collapses_with_inner_hits),
    (Reason.NO_SOURCE, _wants_no_stored_fields),
    (Reason.SIZE_0, lambda search: search.page_size == 0),
)
