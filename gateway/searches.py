"""Knows which kind of search is answered by which story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from gateway.async_search import AsyncAnswer, AsyncSearch
from gateway.errors import error_body
from gateway.explain import Explain
from gateway.forms import Form, Plain, Template
from gateway.msearch import MultiSearch
from gateway.search import SingleSearch
from gateway.story import Story
from gateway.tools import SearchTools
from gateway.tracing import answer_traced
from gateway.wire import Answer, ClientRequest, buffer_body, json_answer
from search_plugin import BadAsk, Route, RouteKind, match_route

EXPLAIN = "/_rerank/explain"


class _Kind(Protocol):
    def __init__(self, tools: SearchTools, form: Form) -> None: ...

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer: ...


_KINDS: Mapping[RouteKind, tuple[type[_Kind], Form]] = {
    RouteKind.SEARCH: (SingleSearch, Plain()),
    RouteKind.MULTI_SEARCH: (MultiSearch, Plain()),
    RouteKind.TEMPLATE: (SingleSearch, Template()),
    RouteKind.MULTI_TEMPLATE: (MultiSearch, Template()),
    RouteKind.ASYNC_SEARCH: (AsyncSearch, Plain()),
    RouteKind.ASYNC_ANSWER: (AsyncAnswer, Plain()),
}


def is_explain(target: str) -> bool:
    """Is it a dry run: a search's target behind ``/_rerank/explain``?"""
    return target.startswith(f"{EXPLAIN}/")


@dataclass(frozen=True)
class Searches:
    """Answers searches that may be reranked, of every kind."""

    tools: SearchTools

    def answer(self, request: ClientRequest, route: Route) -> Answer:
        """The cluster's answer, in a better order where that can be.

        Raises:
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        return answer_traced(request, route.kind, lambda: self._answer(request, route))

    def explain(self, request: ClientRequest) -> Answer:
        """What would be done with the search whose target stands behind ``/_rerank/explain``.

        Raises:
            ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: as `proxy.forward`.
        """
        request = buffer_body(request, self.tools.body_limit_bytes)
        request = replace(request, target=request.target.removeprefix(EXPLAIN))
        route = match_route(request.method, request.target)
        if route is None or route.kind is not RouteKind.SEARCH:
            reason = f"expected GET or POST {EXPLAIN}/<index>/_search, with the search's parameters and body"
            return json_answer(404, error_body(404, "gateway_exception", reason))
        try:
            return Explain(self.tools).answer(request, route.indices)
        except BadAsk as error:
            return _refuse(error)

    def _answer(self, request: ClientRequest, route: Route) -> Answer:
        story = Story(client=request.client, indices=route.indices, slow_log_ms=self.tools.slow_log_ms)
        request = buffer_body(request, self.tools.body_limit_bytes)
        try:
            kind, form = _KINDS[route.kind]
            return kind(self.tools, form).answer(request, route.indices, story)
        except BadAsk as error:
            return _refuse(error)


def _refuse(error: BadAsk) -> Answer:
    return json_answer(400, error_body(400, "illegal_argument_exception", str(error)))
