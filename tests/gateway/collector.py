"""A collector of traces: takes OTLP over HTTP, keeps the bytes, and reads them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status


@dataclass(frozen=True)
class Told:
    """One span as it came."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    started_ns: int
    ended_ns: int
    is_error: bool
    attributes: dict[str, object] = field(default_factory=dict)


class Collector:
    """Listens on a free port until it is closed."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector.received.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Not at all."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def spans(self, trace_id: str | None = None) -> list[Told]:
        """All that came, of one trace or of all, by when they began."""
        found = [told for content in list(self.received) for told in _read(content)]
        return sorted(
            (told for told in found if trace_id in (None, told.trace_id)), key=lambda told: told.started_ns
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def draw(spans: list[Told], parent_id: str = "", depth: int = 0) -> list[str]:
    """The tree below a parent, an indented line a span: who tells it, name, kind, ``!`` for an error."""
    lines = []
    for told in spans:
        if told.parent_id == parent_id:
            mark = " !" if told.is_error else ""
            lines.append(f"{'  ' * depth}{told.service} | {told.name} | {told.kind}{mark}")
            lines += draw(spans, told.span_id, depth + 1)
    return lines


def _read(content: bytes) -> list[Told]:
    request = ExportTraceServiceRequest.FromString(content)
    return [
        Told(
            service=_read_attributes(resource.resource.attributes)["service.name"],
            name=span.name,
            kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            state=span.trace_state,
            started_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            is_error=span.status.code == Status.STATUS_CODE_ERROR,
            attributes=_read_attributes(span.attributes),
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _read_attributes(attributes) -> dict[str, object]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
