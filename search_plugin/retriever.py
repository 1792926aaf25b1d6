"""Elasticsearch's ``text_similarity_reranker`` as a request to us: what it asks for, and what remains."""

import json
from collections.abc import Mapping
from typing import Any

from search_plugin.ask import Ask, read_retriever_ask
from search_plugin.errors import BadAsk

INFERENCE_ID_PREFIX = "sidecar-"
_KIND = "text_similarity_reranker"


def find_reranker(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The outermost retriever's clause if its ``inference_id`` names one of our models; None else."""
    retriever = body.get("retriever")
    clause = retriever.get(_KIND) if isinstance(retriever, dict) else None
    if not isinstance(clause, dict):
        return None
    inference_id = clause.get("inference_id")
    is_ours = isinstance(inference_id, str) and inference_id.startswith(INFERENCE_ID_PREFIX)
    return clause if is_ours else None


def unwrap(body: Mapping[str, Any], clause: Mapping[str, Any]) -> tuple[Ask, dict[str, str | None]]:
    """Read what a clause of ours asks for, and what the search is without it.

    A ``standard`` child becomes the search itself, so that engines without retrievers take it; any other
    takes the clause's place.

    Returns:
        The ask, and edits of the body's members as `rewrite.edit_body` takes them.

    Raises:
        BadAsk: it names the path.
    """
    ask = read_retriever_ask(clause, clause["inference_id"].removeprefix(INFERENCE_ID_PREFIX))
    place = f"retriever.{_KIND}.retriever"
    child = clause["retriever"]
    if not isinstance(child, dict) or len(child) != 1:
        raise BadAsk(place, "must be an object that names one retriever")
    ((kind, inner),) = child.items()
    if not isinstance(inner, dict):
        raise BadAsk(f"{place}.{kind}", "must be an object")
    filters = [*_as_list(clause.get("filter")), *_as_list(inner.get("filter"))]
    if kind != "standard":
        filtered = inner | ({"filter": filters} if filters else {})
        return ask, {"retriever": json.dumps({kind: filtered})}
    members = {name: value for name, value in inner.items() if name not in ("filter", "_name")}
    if filters:
        query = members.get("query")
        members["query"] = {"bool": {**({"must": query} if query else {}), "filter": filters}}
    for name in members.keys() & body.keys():
        raise BadAsk(place, f"cannot be combined with [{name}]")
    return ask, {"retriever": None, **{name: json.dumps(value) for name, value in members.items()}}


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
