"""Knows how to pass one request to the cluster and its answer back: as it streams, or with another body."""

from __future__ import annotations

from dataclasses import replace

from gateway.cluster import Cluster, ClusterAnswer
from gateway.coding import accepts_gzip
from gateway.wire import Answer, ClientRequest, end_to_end


def forward(cluster: Cluster, request: ClientRequest) -> Answer:
    """Answer as the cluster does: same status and reason, end-to-end headers in order, body as it comes.

    Raises:
        ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: there is no answer of the cluster's.
    """
    message = (request.method, request.target, request.headers, request.body)
    return pass_back(cluster.send(*message, client=request.client))


def pass_back(answer: ClusterAnswer) -> Answer:
    """The cluster's answer as ours; its connection is released when the client has it all or goes away."""
    return Answer(answer.status, answer.reason, end_to_end(answer.headers), answer)


def ask_readable(request: ClientRequest) -> ClientRequest:
    """The same request for an answer that is going to be read here: in no coding, or the one undone here."""
    headers = [(name, value) for name, value in request.headers if name.lower() != b"accept-encoding"]
    if accepts_gzip(request.header(b"accept-encoding")):
        headers.append((b"Accept-Encoding", b"gzip"))
    return replace(request, headers=headers)


def pass_back_with(answer: ClusterAnswer, body: bytes) -> Answer:
    """The cluster's answer with another body, in the coding that the cluster's headers name."""
    told = pass_back(answer)
    told.response = [body]
    written = (name for name, _ in told.headers if name.lower() == "content-length")
    told.headers[next(written, "Content-Length")] = str(len(body))  # the letter case stays the cluster's
    return told
