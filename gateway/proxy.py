"""Knows how to pass one request to the cluster and its answer back, unchanged and streamed."""

from __future__ import annotations

from gateway.cluster import Cluster, ClusterAnswer
from gateway.wire import Answer, ClientRequest, end_to_end


def forward(cluster: Cluster, request: ClientRequest, *, is_read: bool = False) -> Answer:
    """Answer as the cluster does: same status and reason, end-to-end headers in order, body as it comes.

    Args:
        is_read: see `Cluster.send`.

    Raises:
        ClusterUnreachable, RefusedRequest, UnreadableBody, ClientGone: there is no answer of the cluster's.
    """
    message = (request.method, request.target, request.headers, request.body)
    return pass_back(cluster.send(*message, is_read=is_read, client=request.client))


def pass_back(answer: ClusterAnswer) -> Answer:
    """The cluster's answer as ours; its connection is released when the client has it all or goes away."""
    return Answer(answer.status, answer.reason, end_to_end(answer.headers), answer)
