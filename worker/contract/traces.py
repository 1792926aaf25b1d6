"""Knows how gateways and workers tell of one request as spans of one trace.

The package itself leaves this out, as it does `logs`. What knows OpenTelemetry is `worker.contract.otel`,
which is imported only where traces are told; elsewhere a span is one object that does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Annotated, Any, Literal, Protocol, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

Kind = Literal["server", "client", "producer", "consumer", "internal"]


class Span(Protocol):
    """What is being done, with its attributes: ours by their plain names, never users' texts or secrets."""

    is_recorded: bool
    """Is it told at all? Where it is not, what is set need not be made."""

    def set(self, **attributes: object) -> None:
        """Tell more of it; None is left out."""
        ...

    def fail(self, error: str) -> None:
        """It failed, for this reason, in a word."""
        ...


class Tracing(Protocol):
    """Who tells spans; see the functions of these names."""

    def span(
        self, name: str, kind: Kind, parent: Mapping[str, str] | None, attributes: Mapping[str, object]
    ) -> AbstractContextManager[Span]: ...

    def current_span(self) -> Span: ...

    def tell(self, name: str, started_s: float, ended_s: float, attributes: Mapping[str, object]) -> None: ...

    def trace_headers(self) -> dict[str, str]: ...

    def trace_ids(self) -> dict[str, str]: ...


class _Nothing:
    """Both a span that nobody hears of, and who tells none."""

    is_recorded = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def set(self, **_: object) -> None: ...

    def fail(self, error: str) -> None: ...

    def span(self, *_: object) -> Self:
        return self

    def current_span(self) -> Self:
        return self

    def tell(self, *_: object) -> None: ...

    def trace_headers(self) -> dict[str, str]:
        return {}

    def trace_ids(self) -> dict[str, str]:
        return {}


NOTHING = _Nothing()
_tracing: Tracing = NOTHING


def span(
    name: str, kind: Kind = "internal", parent: Mapping[str, str] | None = None, **attributes: object
) -> AbstractContextManager[Span]:
    """A span around what the block does; an exception that leaves it is told by its class only.

    Args:
        parent: headers of a message that may name its sender's span: with them, even with none, a trace may
            begin here. Without this argument the span is a part of the current one, and is not told where
            there is none.
    """
    return _tracing.span(name, kind, parent, attributes)


def current_span() -> Span:
    """That of the innermost `span` block in this thread, or in the one that it helps."""
    return _tracing.current_span()


def tell(name: str, started_s: float, ended_s: float, **attributes: object) -> None:
    """A part of the current span that has ended, by the times of ``time.monotonic()``."""
    _tracing.tell(name, started_s, ended_s, attributes)


def trace_headers() -> dict[str, str]:
    """What a message carries so that its receiver's spans are parts of the current one."""
    return _tracing.trace_headers()


def trace_ids() -> dict[str, str]:
    """The current span's ``trace_id`` and ``span_id``; empty where there is none."""
    return _tracing.trace_ids()


def begin_tracing(service: str, endpoint: str, ratio: float) -> None:
    """From now on this process tells its spans; to be called after the last fork, since it starts a thread.

    Args:
        endpoint: the collector's, see `TracesEndpoint`; empty: nothing is told.
        ratio: of the traces that begin here, those that are told.
    """
    global _tracing
    if endpoint:
        _tracing = _load_otel().open_tracing(service, endpoint, ratio)


def _load_otel() -> Any:
    return import_module("worker.contract.otel")


def _check_endpoint(endpoint: str) -> str:
    if not endpoint:
        return endpoint
    parts = urlsplit(endpoint)
    is_url = parts.scheme in ("http", "https") and parts.hostname
    if not is_url or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("expected http(s)://host:port; credentials go into OTEL_EXPORTER_OTLP_HEADERS")
    try:
        _load_otel()
    except ImportError as error:
        raise ValueError(f"no module {error.name}: install rerank-sidecar[otel]") from error
    return endpoint


# options of both sides
TracesEndpoint = Annotated[
    str,
    AfterValidator(_check_endpoint),
    Field(
        description="Where a collector takes OpenTelemetry's traces, OTLP over HTTP, for example "
        "http://collector:4318; empty: none are told. Needs the extra `otel`."
    ),
]
TracesRatio = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="Of the traces that begin here, those that are told; a sender's are told as it says.",
    ),
]
