"""The decision for one search: a plan or the reason to leave it alone. It knows what makes a search unfit."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_plugin.policy import Policy, find_policy
from search_plugin.query_text import find_query_texts, find_typed_text
from search_plugin.rewrite import read_parameters, set_window
from search_plugin.routes import match_route
from search_plugin.skip import Reason, Skip


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """One client request, as it came.

    Attributes:
        method: in upper case.
        target: the raw request target, percent-encoded, one character a byte.
        headers: by lower-case name.
        body: with any content coding removed.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one search.

    Attributes:
        policy: the policy that it falls under.
        query_text: the text that a person typed.
        page_from, page_size: the client's page.
        target: the raw target that asks for the window, or up to the page's end if that is behind it.
    """

    policy: Policy
    query_text: str
    page_from: int
    page_size: int
    target: str


def plan_search(request: SearchRequest, policies: Sequence[Policy]) -> Plan | Skip:
    """Decide how a search is reranked, or why it is not."""
    route = match_route(request.method, request.target)
    policy = find_policy(route, policies) if route else None
    if policy is None:
        return Skip(Reason.POLICY_OFF)
    parameters = read_parameters(request.target)
    if not _is_plain_json(request.headers, parameters):
        return Skip(Reason.UNSUPPORTED_FORMAT)
    try:
        search = _read_search(parameters, request.body)
    except (ValueError, RecursionError):
        return Skip(Reason.MALFORMED_BODY)
    for reason, applies in _SKIPS:
        if applies(search):
            return Skip(reason)
    if search.page_from >= policy.window:
        return Skip(Reason.FROM_PAST_WINDOW)
    texts = _read_texts(search)
    if len(texts) != 1:
        return Skip(Reason.AMBIGUOUS_QUERY if texts else Reason.NO_QUERY_TEXT)
    return Plan(
        policy=policy,
        query_text=texts[0],
        page_from=search.page_from,
        page_size=search.page_size,
        target=set_window(request.target, max(policy.window, search.page_from + search.page_size)),
    )


@dataclass(frozen=True, slots=True)
class _Search:
    parameters: Mapping[str, str]
    body: Mapping[str, Any]
    page_from: int
    page_size: int


# `source` is a body in the URL; `filter_path` may leave out of the answer what the merge needs.
_UNSUPPORTED_PARAMETERS = frozenset({"filter_path", "source"})
_JSON_TYPE = re.compile(r"\*/\*|application/(?:\*|json|vnd\.(?:elasticsearch|opensearch)[\w.-]*\+json)")


def _is_plain_json(headers: Mapping[str, str], parameters: Mapping[str, str]) -> bool:
    return (
        parameters.get("format", "json") == "json"
        and _UNSUPPORTED_PARAMETERS.isdisjoint(parameters)
        and _names_json(headers.get("accept", "*/*"))
        and _names_json(headers.get("content-type", "*/*"))
    )


def _names_json(header: str) -> bool:
    # Of a list one is enough: the engines then fall back to JSON.
    types = (media_range.partition(";")[0].strip().lower() for media_range in header.split(","))
    return any(_JSON_TYPE.fullmatch(media_type) for media_type in types)


def _read_search(parameters: Mapping[str, str], body: bytes) -> _Search:
    parsed = json.loads(body) if body.strip() else {}
    if not isinstance(parsed, dict):
        raise ValueError("the body is not an object")
    body_from, body_size = _read_count(parsed.get("from", 0)), _read_count(parsed.get("size", 10))
    return _Search(
        parameters=parameters,
        body=parsed,
        page_from=_read_count(parameters.get("from", body_from)),
        page_size=_read_count(parameters.get("size", body_size)),
    )


def _read_count(value: object) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if type(value) is not int or not 0 <= value < 2**31:  # a Java int; not bool
        raise ValueError(f"not a count: {value!r}")
    return value


def _read_texts(search: _Search) -> list[str]:
    if "q" in search.parameters:  # overrules the body's query, also when empty
        return find_typed_text(search.parameters["q"])
    return find_query_texts(search.body.get("query"))


def _sorts_otherwise(search: _Search) -> bool:
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


def _collapses_with_inner_hits(search: _Search) -> bool:
    collapse = search.body.get("collapse")
    return isinstance(collapse, dict) and bool(collapse.get("inner_hits"))


def _leaves_source_out(search: _Search) -> bool:
    source = search.parameters.get("_source", search.body.get("_source"))
    return source is False or source == "false"


_SKIPS: tuple[tuple[Reason, Callable[[_Search], bool]], ...] = (
    (Reason.POLICY_OFF, lambda search: "pit" in search.body),  # a point in time names its indices itself
    (Reason.SCROLL, lambda search: "scroll" in search.parameters),
    (Reason.SEARCH_AFTER, lambda search: "search_after" in search.body),
    (Reason.SORT_NOT_SCORE, _sorts_otherwise),
    (Reason.RESCORE_CLAUSE, lambda search: bool(search.body.get("rescore"))),
    (Reason.COLLAPSE_INNER_HITS, _collapses_with_inner_hits),
    (Reason.NO_SOURCE, _leaves_source_out),
    (Reason.SIZE_0, lambda search: search.page_size == 0),
)
