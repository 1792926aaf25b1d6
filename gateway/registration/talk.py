"""Knows how to ask the cluster in JSON, and what its refusals mean to whoever registers."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from gateway.cluster import Cluster
from gateway.errors import GatewayError


class CannotRegister(GatewayError):
    """Something stands in the way; the message says what, and what mends it."""


# status (None: any), what its reason contains: what to tell
_MEANINGS: tuple[tuple[int | None, str, str], ...] = (
    (401, "", "the cluster does not know who asks; see --cluster-username and --cluster-api-key: {reason}"),
    (403, "", "whoever asks has not the rights for {asked}: {reason}"),
    (
        None,
        "no handler found",
        "this OpenSearch has no ML Commons: it lacks the plugins opensearch-ml and opensearch-neural-search",
    ),
    (
        None,
        "has private ip address",
        "connectors may not call private addresses; where that is meant, --allow private-address: {reason}",
    ),
    (
        None,
        "Error communicating with remote model|Name or service|name resolution|No address",
        "the cluster does not reach the rerank API; --url is where the cluster's nodes see it: {reason}",
    ),
    (
        None,
        "a valid key is needed",
        "the rerank API refuses the key: --api-key is none of the gateway's --api-keys",
    ),
    (None, "is not declared; declared", "the rerank API does not know --model: {reason}"),
    (None, "Error from remote service", "the cluster reaches the rerank API, which fails: {reason}"),
)


class Talk:
    """The cluster in JSON."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def ask(self, method: str, target: str, body: Any = None, *, may_lack: bool = False) -> Any:
        """What the cluster answers; a SecretStr in ``body`` goes as it is.

        Args:
            may_lack: 404 is no error but None.

        Raises:
            CannotRegister: it refuses; `ClusterUnreachable` where it gives no answer.
        """
        sent = b"" if body is None else json.dumps(body, default=SecretStr.get_secret_value).encode()
        headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(sent))]
        is_read = target.endswith("/_search") or "/_predict/" in target
        answer = self._cluster.send(method, quote(target, safe="/?&=,*.~"), headers, sent, is_read=is_read)
        text = answer.read().decode(errors="replace")
        if answer.status == 404 and may_lack:
            return None
        if answer.status >= 300:
            raise CannotRegister(_explain(f"{method} {target}", answer.status, text))
        try:
            return json.loads(text)
        except ValueError as error:
            raise CannotRegister(
                f"what --cluster-url names answers {method} {target} with no JSON"
            ) from error


def _explain(asked: str, status: int, text: str) -> str:
    reason = _read_reason(text)
    for wanted, pattern, meaning in _MEANINGS:
        if wanted in (None, status) and re.search(pattern, reason):
            return meaning.format(asked=asked, reason=reason)
    return f"the cluster answers {asked} with {status}: {reason}"


def _read_reason(text: str) -> str:
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return text[:500]
    return str(error.get("reason", error) if isinstance(error, dict) else error)[:500]
