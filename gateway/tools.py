"""Knows what every kind of search needs: cluster, scores and policies, and how messages are changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.cluster import Cluster, ClusterAnswer
from gateway.coding import (
    TooLargeError,
    UnknownCodingError,
    UnreadableCodingError,
    decode,
    encode,
)
from gateway.errors import GatewayError
from gateway.experiments.trials import Trials
from gateway.policies import Policies
from gateway.proxy import ask_readable, pass_back, pass_back_with
from gateway.rescoring import Rescorer
from gateway.story import Story
from gateway.tracing import with_trace
from gateway.wire import Answer, ClientRequest
from search_plugin import HEADER_PREFIX, BadAsk, Reason, Rewrite, Rules, Skip, filter_answer, strip_target
from worker.contract.logs import Event
from worker.contract.traces import span

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class SearchTools:
    """The parts that answer searches, one object for all of them."""

    cluster: Cluster
    rescorer: Rescorer
    policies: Policies
    body_limit_bytes: int
    slow_log_ms: int = 0
    trials: Trials | None = None

    def read_body(self, request: ClientRequest) -> bytes | Skip:
        """The request's body without its coding, or why it is not read."""
        if not isinstance(request.body, bytes):
            return Skip(Reason.BODY_TOO_LARGE)
        try:
            return decode(request.body, request.header(b"content-encoding"), self.body_limit_bytes)
        except UnreadableCodingError as error:
            return Skip(_CODING_REASONS[type(error)])

    def find_rules(self, body: bytes) -> Rules:
        """The rules as they are now."""
        config = self.policies.current()
        names_us = b"rerank" in body  # only then does it matter which engine it is
        return Rules(config.policies, config.models, self.cluster.find_engine() if names_us else None)

    def guard(self, work: Callable[[], T], event: str = "plan.failed") -> T | Skip:
        """What comes of our work, or none where a mistake of ours prevents it: that costs only the order."""
        try:
            return work()
        except (BadAsk, GatewayError):
            raise
        except Exception:
            logger.exception(Event(event))
            return Skip(Reason.BACKEND_ERROR)

    def send(self, request: ClientRequest, rewrite: Rewrite) -> ClusterAnswer:
        """Send a search whose answer is going to be read here."""
        return self._send(apply_rewrite(ask_readable(request), rewrite))

    def leave_alone(self, request: ClientRequest, skip: Skip, story: Story) -> Answer:
        """The cluster's own answer to the client's own search."""
        rewrite = skip.stripped or Rewrite(strip_target(request.target))
        return story.tell(self.forward(request, rewrite, story), skip)

    def forward(self, request: ClientRequest, rewrite: Rewrite, story: Story) -> Answer:
        """Send a search whose answer is passed on as it comes."""
        with story.measure("cluster"):
            return pass_back(self._send(apply_rewrite(request, rewrite)))

    def _send(self, request: ClientRequest) -> ClusterAnswer:
        with span("cluster", "client", method=request.method) as asking:
            sent = with_trace(request)
            message = (sent.method, sent.target, sent.headers, sent.body)
            answer = self.cluster.send(*message, is_read=True, client=sent.client)
            asking.set(http_status=answer.status)
            return answer


def with_text(enlarged: ClusterAnswer, text: str, filter_path: str = "") -> Answer:
    """The cluster's answer with another text, filtered, in the coding that the cluster chose."""
    if filter_path:
        # Elasticsearch since 8 names no charset
        keeps_empty = b"charset" not in (enlarged.header(b"content-type") or b"")
        text = filter_answer(text, filter_path, keeps_empty=keeps_empty)
    body = encode(text.encode("utf-8", "surrogateescape"), enlarged.header(b"content-encoding"))
    return pass_back_with(enlarged, body)


def header_values(request: ClientRequest) -> dict[str, str]:
    """The request's headers by lower-case name."""
    names = {name.lower() for name, _ in request.headers}
    return {name.decode("latin-1"): (request.header(name) or b"").decode("latin-1") for name in names}


def apply_rewrite(request: ClientRequest, rewrite: Rewrite) -> ClientRequest:
    """The request as the cluster is to get it: without our headers, and with a body as the rewrite says."""
    headers = [(name, value) for name, value in request.headers if not _is_ours(name)]
    if rewrite.body is None:
        return replace(request, target=rewrite.target, headers=headers)
    framing = (b"content-length", b"content-encoding")
    headers = [(name, value) for name, value in headers if name.lower() not in framing]
    if request.header(b"content-type") is None:
        # Elasticsearch wants the same version in both
        accept = request.header(b"accept") or b""
        headers.append((b"Content-Type", accept if b"compatible-with" in accept else b"application/json"))
    headers.append((b"Content-Length", b"%d" % len(rewrite.body)))
    return replace(request, target=rewrite.target, headers=headers, body=rewrite.body)


def _is_ours(header: bytes) -> bool:
    return header.lower().startswith(HEADER_PREFIX.encode())


_CODING_REASONS: dict[type[UnreadableCodingError], Reason] = {
    TooLargeError: Reason.BODY_TOO_LARGE,
    UnknownCodingError: Reason.UNSUPPORTED_FORMAT,
    UnreadableCodingError: Reason.MALFORMED_BODY,
}
