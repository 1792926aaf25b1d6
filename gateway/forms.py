"""Knows how a search is written down: as itself, or as a template that the cluster has to render first."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Protocol

from gateway.coding import UnreadableCodingError, decode
from gateway.story import Story
from gateway.tools import SearchTools
from gateway.wire import ClientRequest
from search_plugin import Reason, Rewrite, Skip, edit_body, find_policy, split_object

_RENDER = "/_render/template"


class Form(Protocol):
    """A way to write a search.

    ``in_body``: only the body can ask for the window.
    """

    in_body: bool

    def read(
        self, tools: SearchTools, request: ClientRequest, indices: tuple[str, ...], body: bytes, story: Story
    ) -> bytes | Skip:
        """The search's own body, or why there is none.

        Args:
            request: that the body came with, or came in as an item.
        """
        ...

    def write(self, body: bytes, search: bytes) -> bytes:
        """Another search in the place of the one that ``body`` was."""
        ...


class Plain:
    """The body is the search."""

    in_body = False

    def read(
        self, tools: SearchTools, request: ClientRequest, indices: tuple[str, ...], body: bytes, story: Story
    ) -> bytes | Skip:
        """See `Form.read`."""
        return body

    def write(self, body: bytes, search: bytes) -> bytes:
        """See `Form.write`."""
        return search


class Template:
    """The cluster renders the search; it goes back to it as a template that renders to the new search.

    By the API that the client has chosen, whose answers differ from a search's in some versions.
    """

    in_body = True

    def read(
        self, tools: SearchTools, request: ClientRequest, indices: tuple[str, ...], body: bytes, story: Story
    ) -> bytes | Skip:
        """See `Form.read`; asks the cluster where a policy covers the indices."""
        if find_policy(indices, tools.policies.current().policies) is None:
            return Skip(Reason.POLICY_OFF)
        headers = [(name, value) for name, value in request.headers if name.lower() not in _OF_THE_SEARCH]
        headers.append((b"Content-Type", b"application/json"))
        with story.measure("cluster"):
            rendering = replace(request, method="POST", headers=headers)
            answer = tools.send(rendering, Rewrite(_RENDER, body))
            content = answer.read()
        try:
            text = decode(content, answer.header(b"content-encoding")).decode("utf-8", "surrogateescape")
            rendered = split_object(text)["template_output"]
        except (UnreadableCodingError, ValueError, KeyError, RecursionError):
            return Skip(Reason.CLUSTER_REFUSED)
        return rendered.encode("utf-8", "surrogateescape")

    def write(self, body: bytes, search: bytes) -> bytes:
        """See `Form.write`."""
        text = search.decode("utf-8", "surrogateescape")
        edits = {
            "id": None,
            "source": json.dumps("{{#toJson}}search{{/toJson}}"),
            "params": f'{{"search":{text}}}',
        }
        edited = edit_body(body.decode("utf-8", "surrogateescape"), edits)
        # one line, for multi-searches; inside of strings there is no other
        return edited.replace("\n", " ").encode("utf-8", "surrogateescape")


_OF_THE_SEARCH = frozenset({b"content-type", b"accept"})
