"""Knows how a job talks to the cluster: with its own credentials, and with patience."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.cluster import Cluster, EngineName
from gateway.errors import ClientGone, ClusterUnreachable
from gateway.jobs.control import Control, Stopped
from gateway.wire import Header

BUSY = frozenset({429, 502, 503, 504})
"""Statuses that tell of a moment, not of the request."""

_NDJSON = b"application/x-ndjson"


@dataclass(frozen=True)
class Answered:
    """What came back.

    Attributes:
        reason: why a search was not reranked; empty: it was, or is none.
    """

    status: int
    content: bytes
    reason: str = ""

    @property
    def told(self) -> Any:
        """Read as JSON; its text where it is none."""
        try:
            return json.loads(self.content)
        except ValueError:
            return self.content.decode("utf-8", "replace")


@dataclass(frozen=True)
class JobCluster:
    """The cluster as one job sees it.

    Attributes:
        authorization: the submitter's; without it the gateway's own credentials count.
    """

    cluster: Cluster
    control: Control
    authorization: str = ""

    @property
    def headers(self) -> list[Header]:
        """That all of its requests have."""
        return [(b"Authorization", self.authorization.encode("latin-1"))] if self.authorization else []

    def find_engine(self) -> EngineName:
        """Which it is.

        Raises:
            Stopped: the job goes no further.
        """
        with self.control.patience() as patience:
            while (engine := self.cluster.find_engine()) is None:
                patience.wait("cluster: it does not answer")
        return engine

    def ask(
        self, method: str, target: str, body: object = None, *, is_read: bool = False
    ) -> tuple[int, Any, str]:
        """Ask until the cluster has an answer that is not about the moment.

        Args:
            body: bytes are NDJSON, anything else becomes JSON.

        Returns:
            Status, the answer read as JSON (its text where it is none), and its text.

        Raises:
            Stopped: the job goes no further.
        """
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        kind = _NDJSON if isinstance(body, bytes) else b"application/json"
        headers = [*self.headers, *([(b"Content-Type", kind)] if content else [])]
        headers.append((b"Content-Length", b"%d" % len(content)))

        def send() -> Answered:
            answer = self.cluster.send(
                method, target, headers, content, is_read=is_read, client=self.control.client
            )
            return Answered(answer.status, answer.read())

        answered = self.insist(send)
        return answered.status, answered.told, answered.content.decode("utf-8", "surrogateescape")

    def insist(self, send: Callable[[], Answered]) -> Answered:
        """Send until the answer is not about the moment.

        Raises:
            Stopped: the job goes no further.
        """
        with self.control.patience() as patience:
            while True:
                self.control.check()
                try:
                    answered = send()
                except ClusterUnreachable as error:
                    patience.wait(f"cluster: {error}")
                    continue
                except ClientGone as error:
                    raise Stopped from error
                if answered.status not in BUSY:
                    return answered
                patience.wait(f"cluster: {tell_error(answered.status, answered.told)}")


def tell_error(status: int, told: object) -> str:
    """An error of the cluster's in a line."""
    error = told.get("error") if isinstance(told, dict) else None
    if isinstance(error, Mapping):
        causes: Any = error.get("root_cause") or [error]
        cause = causes[0] if isinstance(causes, list) and isinstance(causes[0], Mapping) else error
        inner = cause.get("caused_by") or error.get("caused_by")
        why = f" ({inner.get('reason')})" if isinstance(inner, Mapping) and inner.get("reason") else ""
        return f"{status} {cause.get('type')}: {cause.get('reason')}{why}"
    return f"{status} {error or told or ''}".strip()[:500]
