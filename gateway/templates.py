"""Knows search templates: the cluster renders them, then they are searches like any other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gateway.coding import UnreadableCodingError, decode
from gateway.msearch import MultiSearch
from gateway.search import SearchTools, SingleSearch
from gateway.story import Story
from gateway.wire import Answer, ClientRequest
from search_plugin import (
    Item,
    Reason,
    Rewrite,
    Skip,
    edit_body,
    find_policy,
    join_items,
    split_items,
    split_object,
)

_RENDER = "/_render/template"


@dataclass(frozen=True)
class Template:
    """Answers a request that is one search template."""

    tools: SearchTools

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """See `SingleSearch.answer`; what can't be reranked goes to the cluster as it came."""
        body = self.tools.read_body(request)
        if isinstance(body, Skip):
            return self.tools.leave_alone(request, body, story)
        if find_policy(indices, self.tools.policies.current().policies) is None:
            return self.tools.leave_alone(request, Skip(Reason.POLICY_OFF), story)
        rendered = _render(self.tools, request, body, story)
        if rendered is None:
            return self.tools.leave_alone(request, Skip(Reason.CLUSTER_REFUSED), story)
        search = _as_search(request, rendered, "/template")
        return SingleSearch(self.tools).answer(search, indices, story, original=request)


@dataclass(frozen=True)
class MultiTemplate:
    """Answers a request that is several search templates."""

    tools: SearchTools

    def answer(self, request: ClientRequest, indices: tuple[str, ...], story: Story) -> Answer:
        """See `MultiSearch.answer`; one template that can't be rendered leaves all of them to the cluster."""
        body = self.tools.read_body(request)
        if isinstance(body, Skip):
            return self.tools.leave_alone(request, body, story)
        try:
            items = split_items(body)
            covered = self._find_covered(items, indices)
        except ValueError:
            return self.tools.leave_alone(request, Skip(Reason.MALFORMED_BODY), story)
        if not covered:
            return self.tools.leave_alone(request, Skip(Reason.POLICY_OFF), story)
        rendered = [_render(self.tools, request, item.body, story) for item in items]
        bodies = [text for text in rendered if text is not None]
        if len(bodies) < len(items):
            return self.tools.leave_alone(request, Skip(Reason.CLUSTER_REFUSED), story)
        searches = [replace(item, body=text) for item, text in zip(items, bodies, strict=True)]
        search = _as_search(request, join_items(searches), "/template")
        return MultiSearch(self.tools).answer(search, indices, story)

    def _find_covered(self, items: Sequence[Item], indices: tuple[str, ...]) -> bool:
        policies = self.tools.policies.current().policies
        return any(find_policy(item.read_indices(indices), policies) for item in items)


def _render(tools: SearchTools, request: ClientRequest, template: bytes, story: Story) -> bytes | None:
    """What the cluster makes of a template, as a search's body; None if it refuses."""
    headers = [(name, value) for name, value in request.headers if name.lower() not in _OF_THE_SEARCH]
    with story.measure("cluster"):
        answer = tools.send(
            replace(request, method="POST", headers=[*headers, (b"Content-Type", b"application/json")]),
            Rewrite(_RENDER, template),
        )
        content = answer.read()
    try:
        text = decode(content, answer.header(b"content-encoding")).decode("utf-8", "surrogateescape")
        rendered = split_object(text)["template_output"]
        wishes = json.loads(template)
        kept = {name: json.dumps(wishes[name]) for name in ("explain", "profile") if name in wishes}
        one_line = edit_body(rendered, kept).replace("\n", " ")  # inside of strings there is none
        return one_line.encode("utf-8", "surrogateescape")
    except (UnreadableCodingError, ValueError, KeyError, RecursionError):
        return None


_OF_THE_SEARCH = frozenset({b"content-type", b"accept"})


def _as_search(request: ClientRequest, body: bytes, suffix: str) -> ClientRequest:
    path, mark, query = request.target.partition("?")
    path = path.rstrip("/").removesuffix(suffix)
    framing = (b"content-length", b"content-encoding")
    headers = [(name, value) for name, value in request.headers if name.lower() not in framing]
    headers.append((b"Content-Length", b"%d" % len(body)))
    return replace(request, method="POST", target=path + mark + query, headers=headers, body=body)
