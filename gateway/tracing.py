"""Knows how a client's request becomes a trace, or part of the client's own, and how the cluster joins it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from gateway.errors import GatewayError, find_status
from gateway.wire import Answer, ClientRequest
from worker.contract.traces import span, trace_headers

_HEADERS = (b"traceparent", b"tracestate")
"""W3C's Trace Context."""


def answer_traced(
    request: ClientRequest, name: str, answer: Callable[[], Answer], **attributes: object
) -> Answer:
    """What ``answer`` gives or raises, told as one span, up to the answer's head.

    Args:
        name: of few different ones: no part of a URL that clients choose.
    """
    parent = {name.decode(): (request.header(name) or b"").decode("latin-1") for name in _HEADERS}
    method = request.method
    with span(f"{method} {name}", "server", parent, method=method, **attributes) as served:
        try:
            answered = answer()
        except GatewayError as error:
            served.set(http_status=find_status(error)[0], error=type(error).__name__)
            raise
        served.set(http_status=answered.status_code)
        return answered


def with_trace(request: ClientRequest) -> ClientRequest:
    """The request as a part of the current span; as it came where no traces are told."""
    if not (ours := trace_headers()):
        return request
    headers = [(name, value) for name, value in request.headers if name.lower() not in _HEADERS]
    headers += [(name.encode(), value.encode()) for name, value in ours.items()]
    return replace(request, headers=headers)
