"""Knows the gateway's errors, the status of each, and the engines' shape of an error body; no Flask."""

from __future__ import annotations


class GatewayError(Exception):
    """Base of what goes wrong in the gateway itself; an error that the cluster answers is not one."""


class ConfigurationError(GatewayError):
    """The settings or ``rerank.toml`` are wrong (the operator's mistake): the gateway does not start."""


class ClusterUnreachable(GatewayError):
    """The cluster could not be reached or broke its answer off (not the client's fault)."""


class UnreadableBody(GatewayError):
    """The request body ended early or its chunks are malformed (the client's fault)."""


class BodyTooLarge(GatewayError):
    """The request body is longer than what can be held for signing it (the client's fault)."""


class RefusedRequest(GatewayError):
    """The request cannot be written again as correct HTTP/1.1, or asks for a tunnel (the client's fault)."""


class ClientGone(GatewayError):
    """The client closed its connection before its answer was there: nobody waits for one."""


STATUSES: dict[type[Exception], tuple[int, str]] = {
    ClusterUnreachable: (502, "cluster_unreachable_exception"),
    UnreadableBody: (400, "unreadable_body_exception"),
    BodyTooLarge: (413, "body_too_large_exception"),
    RefusedRequest: (400, "refused_request_exception"),
    ClientGone: (499, "client_gone_exception"),  # as nginx calls it; only who has half closed can read it
}


def find_status(error: GatewayError) -> tuple[int, str]:
    """The status of an error and what it is called in an error body."""
    known = (STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return next(known, (500, "gateway_exception"))


def error_body(status: int, kind: str, reason: str) -> dict[str, object]:
    """An error as both engines write theirs."""
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}
