"""Knows where the cluster tells clients its nodes' addresses, and puts the gateway's in their place.

Clients that sniff ask for these addresses and then leave the gateway for the nodes. Only the answers of the
nodes info API are changed, and in them only ``nodes.<id>.http.publish_address`` and ``bound_address``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

from gateway.cluster import Cluster
from gateway.coding import UnreadableCodingError, decode, encode
from gateway.proxy import ask_readable, pass_back_with
from gateway.wire import Answer, ClientRequest
from search_plugin.raw_json import Node, apply_edits, scan_document, scan_object

_OTHER_APIS = {"stats", "usage", "hot_threads", "hotthreads"}
"""Second words of ``/_nodes/…`` APIs that tell no addresses of HTTP."""


def is_nodes_info(method: str, target: str) -> bool:
    """Does the nodes info API answer this: ``/_nodes``, ``/_nodes/<metrics>``, ``/_nodes/<id>/<metrics>``?"""
    if method != "GET" or "_nodes" not in target:
        return False
    words = [unquote(word) for word in target.partition("?")[0].split("/") if word]
    return words[:1] == ["_nodes"] and _OTHER_APIS.isdisjoint(words)


def answer_nodes_info(cluster: Cluster, request: ClientRequest, address: str) -> Answer:
    """The cluster's answer with ``address`` (``host:port``) for each node; byte for byte otherwise.

    An answer that is not JSON, which no client sniffs with, is passed on unchanged.

    Raises:
        ClusterUnreachable, RefusedRequest, UnreadableBody: as `proxy.forward`.
    """
    asked = ask_readable(request)
    received = cluster.send(asked.method, asked.target, asked.headers, asked.body, client=asked.client)
    body, coding = received.read(), received.header(b"content-encoding")
    with suppress(ValueError, RecursionError, UnreadableCodingError):
        told = decode(body, coding)
        rewritten = rewrite_addresses(told.decode(), address).encode()
        if rewritten != told:
            body = encode(rewritten, coding)
    return pass_back_with(received, body)


def rewrite_addresses(text: str, address: str) -> str:
    """A nodes info answer with ``address`` as the only one of each node that tells one.

    Raises:
        ValueError, RecursionError: the text is no JSON object.
    """
    edits = [
        (told.start, told.end, json.dumps([address] if isinstance(told.value, list) else address))
        for told in _find_addresses(text)
    ]
    return apply_edits(text, 0, len(text), edits)


def _find_addresses(text: str) -> Iterator[Node[Any]]:
    for node in _scan_members(text, scan_document(text, scan_object).value.get("nodes")).values():
        http = _scan_members(text, _scan_members(text, node).get("http"))
        yield from (http[name] for name in ("publish_address", "bound_address") if name in http)


def _scan_members(text: str, node: Node[Any] | None) -> dict[str, Node[Any]]:
    """None for what is no object, as ``filter_path`` may leave things out."""
    return scan_object(text, node.start)[0] if node and isinstance(node.value, dict) else {}
