"""Knows OpenTelemetry: how spans are named there, whose parts they are, and how they leave the process.

Nothing here waits for the collector. Spans are put into a queue of limited length, from which a thread of
the library's sends them; those that the collector does not take are lost.
"""

from __future__ import annotations

import atexit
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from worker.contract.traces import NOTHING, Kind, Span

_EXPORT_S = 2.0  # after which a batch is given up
_FAREWELL_S = 1.0  # at the process's end no export is begun later than this

_NAMES = {
    "error": "error.type",
    "http_status": "http.response.status_code",
    "message": "messaging.message.id",
    "method": "http.request.method",
    "queue": "messaging.destination.name",
    "route": "http.route",
}
"""The semantic conventions' names; an attribute that is not here is called ``rerank.…``."""

_BY_KIND: Mapping[Kind, Mapping[str, AttributeValue]] = {
    "producer": {"messaging.system": "celery", "messaging.operation.type": "send"},
    "consumer": {"messaging.system": "celery", "messaging.operation.type": "process"},
}

_W3C = TraceContextTextMapPropagator()


def open_tracing(service: str, endpoint: str, ratio: float) -> OtelTracing:
    """What tells this process's spans until it ends.

    Args:
        service: the process's name in traces.
        endpoint, ratio: see `worker.contract.traces.begin_tracing`.
    """
    exporter = _Exporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=_EXPORT_S)
    provider = TracerProvider(
        ParentBased(TraceIdRatioBased(ratio)),
        Resource.create({SERVICE_NAME: service}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def close() -> None:
        exporter.ends_s = time.monotonic() + _FAREWELL_S
        provider.shutdown()

    atexit.register(close)
    return OtelTracing(provider.get_tracer("rerank-sidecar"))


class OtelTracing:
    """See `worker.contract.traces.Tracing`."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def span(
        self, name: str, kind: Kind, parent: Mapping[str, str] | None, attributes: Mapping[str, object]
    ) -> AbstractContextManager[Span]:
        """See `worker.contract.traces.span`."""
        if parent is None and not _has_current():
            return NOTHING
        context = None if parent is None else _W3C.extract(parent, Context())
        return self._open(name, kind, context, attributes)

    @contextmanager
    def _open(
        self, name: str, kind: Kind, context: Context | None, attributes: Mapping[str, object]
    ) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name,
            context,
            trace.SpanKind[kind.upper()],
            {**_BY_KIND.get(kind, {}), **_name(attributes)},
            record_exception=False,  # an exception's text may quote a user's
            set_status_on_exception=False,
        ) as opened:
            told = OtelSpan(opened)
            try:
                yield told
            except BaseException as error:
                if not told.has_error:
                    told.fail(type(error).__name__)
                raise

    def current_span(self) -> Span:
        """See `worker.contract.traces.current_span`."""
        return OtelSpan(trace.get_current_span())

    def tell(self, name: str, started_s: float, ended_s: float, attributes: Mapping[str, object]) -> None:
        """See `worker.contract.traces.tell`."""
        if trace.get_current_span().is_recording():
            zero_ns = time.time_ns() - time.monotonic_ns()
            started_ns, ended_ns = (zero_ns + int(moment * 1e9) for moment in (started_s, ended_s))
            self._tracer.start_span(name, attributes=_name(attributes), start_time=started_ns).end(ended_ns)

    def trace_headers(self) -> dict[str, str]:
        """See `worker.contract.traces.trace_headers`."""
        headers: dict[str, str] = {}
        _W3C.inject(headers)
        return headers

    def trace_ids(self) -> dict[str, str]:
        """See `worker.contract.traces.trace_ids`."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return {}
        return {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }


class OtelSpan:
    """See `worker.contract.traces.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.is_recorded = span.is_recording()
        self.has_error = False

    def set(self, **attributes: object) -> None:
        """See `Span`; an HTTP status of 500 and above is a failure too, as the conventions want it."""
        self._span.set_attributes(_name(attributes))
        self.has_error |= "error" in attributes
        if (status := attributes.get("http_status")) and cast(int, status) >= 500:
            self._span.set_status(trace.StatusCode.ERROR)

    def fail(self, error: str) -> None:
        """See `Span`."""
        self.set(error=error)
        self._span.set_status(trace.StatusCode.ERROR)


class _Exporter(OTLPSpanExporter):
    """Gives no collector much time, least of all at the process's end."""

    ends_s = math.inf

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See `OTLPSpanExporter`."""
        return super().export(spans) if time.monotonic() < self.ends_s else SpanExportResult.FAILURE


def _has_current() -> bool:
    return trace.get_current_span().get_span_context().is_valid


def _name(attributes: Mapping[str, object]) -> dict[str, AttributeValue]:
    return {
        _NAMES.get(name, f"rerank.{name}"): cast(AttributeValue, value)
        for name, value in attributes.items()
        if value is not None
    }
