"""Knows gunicorn: how it is told to stand between a client and the cluster without being noticed.

What it still does on its own: it refuses a request that is not correct HTTP/1.1, or that two servers could
read in two ways, and closes the connection; only the error's shape is ours.
"""

from __future__ import annotations

import errno
import json
import logging
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http.client import responses
from typing import TYPE_CHECKING, Any

from flask import Flask
from gunicorn import glogging, util
from gunicorn.app.base import BaseApplication
from gunicorn.http import errors as http_errors
from gunicorn.http import wsgi
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.workers.gthread import TConn, ThreadWorker

from gateway.app import create_app
from gateway.errors import STATUSES, ClientGone, ClusterUnreachable, GatewayError, error_body
from gateway.hangup import Client, Watcher
from gateway.settings import GatewaySettings
from gateway.wire import CLIENT, RAW_HEADERS
from worker.contract.logs import Event
from worker.contract.traces import begin_tracing

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
LINGER_MS = 20
"""How long a thread waits for its client's next request before the connection goes back to the poller."""

REFUSALS: dict[type[Exception], tuple[int, str]] = {
    **STATUSES,
    http_errors.InvalidResponseHeader: STATUSES[ClusterUnreachable],
    http_errors.InvalidResponseHeaderName: STATUSES[ClusterUnreachable],
    http_errors.UnsupportedTransferCoding: (501, "refused_request_exception"),
    http_errors.LimitRequestHeaders: (431, "refused_request_exception"),
    http_errors.ExpectationFailed: (417, "refused_request_exception"),
    http_errors.LimitRequestLine: (414, "refused_request_exception"),
    ssl.SSLError: (400, "refused_request_exception"),
    http_errors.ParseException: (400, "refused_request_exception"),
    Exception: (500, "gateway_exception"),
}
"""What the server itself answers, by the error; the first row that fits counts."""


def serve(settings: GatewaySettings) -> None:
    """Serve until the process is told to stop."""
    GatewayServer(settings).run()


class ServerLog(glogging.Logger):  # type: ignore[misc]
    """What the server itself says goes where all else is logged."""

    def setup(self, cfg: Any) -> None:
        """See `glogging.Logger`."""
        super().setup(cfg)
        self.error_log.propagate = True


class GatewayServer(BaseApplication):  # type: ignore[misc]
    """The gateway under gunicorn, configured by our settings only."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """See `BaseApplication`."""
        for name, value in _gunicorn_settings(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """In each process after the fork, so that no connection is shared and each has its threads."""
        begin_tracing("rerank-gateway", self._settings.traces_endpoint, self._settings.traces_ratio)
        return create_app(self._settings)


class TransparentResponse(wsgi.Response):  # type: ignore[misc]
    """The cluster's headers and no others; the head leaves in one piece with the first bytes of the body.

    Until then nothing is sent: an answer that fails before can still become an error. The last, empty chunk
    leaves together with the last bytes, where these are known to be the last: some clients give a connection
    up that is not at the answer's end when they are.

    Attributes:
        is_last: said by the application: no bytes follow those that come next.
    """

    is_last = False
    _head = b""
    _is_ended = False

    def process_headers(self, headers: list[tuple[str, str]]) -> None:
        """See `wsgi.Response`."""
        super().process_headers(headers)  # refuses what would split the answer, but drops Server and Date
        self.headers = [header for header in headers if header[0] != "Connection"]
        if len(self.headers) < len(headers):  # our own "close": the cluster's is taken out before
            self.force_close()

    def default_headers(self) -> list[str]:
        """See `wsgi.Response`; without its Server and Date."""
        version = "1.0" if self.req.version == (1, 0) else "1.1"
        lines = [f"HTTP/{version} {self.status}\r\n"]
        lines.append(f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n")
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def send_headers(self) -> None:
        """Keep them for the first bytes of the body."""
        if self.headers_sent or self._head:
            return
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
        self._head = "".join(lines).encode("latin-1")

    def close(self) -> None:
        """Send what is left."""
        self.send_headers()
        self._send(b"", is_end=True)

    def _emit_body(self, piece: bytes) -> None:
        framed = b"%X\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece
        self._send(framed, is_end=self.is_last)

    def _send(self, framed: bytes, *, is_end: bool) -> None:
        if is_end and self.chunked and not self._is_ended:
            framed += LAST_CHUNK
        if sent := self._head + framed:
            self._head, self.headers_sent, self._is_ended = b"", True, is_end
            self.sock.sendall(sent)


class BodyReader:
    """A request's body in pieces as they come: the server's own reader copies each byte several times.

    Args:
        body: the server's; where it stands and whether it failed is still for the server to know.
        allow: tells a client that waits for it to send the body; called before the first read.
    """

    def __init__(self, body: Body, allow: Callable[[], None] | None) -> None:
        self._body = body
        self._allow = allow

    @property
    def is_awaited(self) -> bool:
        """The client was not told to send it: what it sends next may be the body or another request."""
        return self._allow is not None

    def read(self, size: int, /) -> bytes:
        """The next piece, of any length up to ``size`` or a chunk's; none at the end."""
        reader = self._body.reader
        if self._allow is not None:
            allow, self._allow = self._allow, None
            allow()
        try:
            return _read_chunk(reader) if isinstance(reader, ChunkedReader) else _read_length(reader, size)
        except Exception:
            self._body.failed = True
            raise


def _read_length(reader: LengthReader, size: int) -> bytes:
    wanted = min(reader.length, size)
    if wanted == 0:
        return b""
    piece: bytes = reader.unreader.read(None, read_ahead=wanted)
    if len(piece) > wanted:  # it was read before, with the head
        reader.unreader.unread(piece[wanted:])
        piece = piece[:wanted]
    reader.length -= len(piece)
    return piece


def _read_chunk(reader: ChunkedReader) -> bytes:
    for piece in reader.parser or ():
        if piece:
            return bytes(piece)
    reader.parser = None
    return b""


class TransparentWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker; the application gets the header list whole and adds all headers itself.

    A thread that has answered stays with its connection for a moment, so that a client who asks again at once
    is not handed from thread to thread. It does while less than half of the threads are taken.
    """

    def load_wsgi(self) -> None:
        """See `gunicorn.workers.base.Worker`."""
        super().load_wsgi()
        wsgi.Response = TransparentResponse  # there is no setting for it
        self.wsgi: WSGIApplication = _with_client(self.wsgi, Watcher())

    def handle(self, conn: TConn) -> Any:
        """See `ThreadWorker`."""
        while (outcome := super().handle(conn)) is True and self._has_next_request(conn):
            pass
        return outcome

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """See `ThreadWorker`; the client is told to continue when its body is wanted, and not before."""
        req.expects_continue, req._expected_100_continue = req._expected_100_continue, False
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that never reached the application, or that the application could not answer."""
        status, kind = next(row for known, row in REFUSALS.items() if isinstance(exc, known))
        if status == 500:
            self.log.exception(Event("request.failed", kind=kind))
        else:  # without the text, which may quote a header
            level = logging.DEBUG if status == 499 else logging.WARNING
            self.log.log(level, Event("request.refused", kind=kind, error=type(exc).__name__))
        reason = str(exc) if status != 500 else "a mistake of the gateway's"
        body = json.dumps(error_body(status, kind, reason)).encode()
        lines = [
            f"HTTP/1.1 {status} {responses.get(status, '')}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        try:
            util.write_nonblock(client, "\r\n".join([*lines, "", ""]).encode() + body)
        except OSError as error:
            self.log.debug(Event("refusal.unread", error=error))

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        reader = conn.parser.mesg.body.reader
        if isinstance(reader, LengthReader) and reader.length == 0:
            return keepalive  # nothing to be read, so no time limit to be set and taken back
        return bool(super()._keepalive_after(conn, keepalive))

    def _has_next_request(self, conn: TConn) -> bool:
        """Wait for it, as long as there is a thread for everybody."""
        if conn.parser.unreader.buf.getvalue() or _count_decrypted(conn):
            return True
        with_threads = self.nr_conns - len(self.keepalived_conns) - len(self.pending_conns)
        if not self.alive or with_threads > self.cfg.threads // 2:
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(LINGER_MS))


def _count_decrypted(conn: TConn) -> int:
    """Bytes of a next request that TLS has taken from the socket, where no poll sees them."""
    return conn.sock.pending() if isinstance(conn.sock, ssl.SSLSocket) else 0


def _with_client(app: WSGIApplication, watcher: Watcher) -> WSGIApplication:
    def call(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        response: Any = start_response.__self__  # type: ignore[attr-defined]  # gunicorn's, which has the request
        environ[RAW_HEADERS] = response.req.headers
        expects = getattr(response.req, "expects_continue", False)
        allow = partial(response.sock.sendall, CONTINUE) if expects else None
        environ["wsgi.input"] = reader = BodyReader(environ["wsgi.input"], allow)
        environ[CLIENT] = client = Client(response.sock, watcher)
        body = app(environ, start_response)
        if client.is_gone or reader.is_awaited:
            response.force_close()  # what comes next is nobody's, or no one knows whether it is a request
        return _break_off(body, response)

    return call


def _break_off(body: Iterable[bytes], response: Any) -> Iterator[bytes]:
    """``body``; if it cannot be read to its end, the client's connection ends too: it must not look whole."""
    try:
        for piece in body:
            response.is_last = getattr(body, "is_complete", False)
            yield piece
    except GatewayError as error:
        if not response.headers_sent:
            raise  # there can still be an error instead
        level = logging.DEBUG if isinstance(error, ClientGone) else logging.WARNING
        logger.log(level, Event("answer.broken", error=error))
        if not response.chunked and response.response_length is None:
            _reset(response.sock)  # a quiet end of the connection would be the answer's
        raise BrokenPipeError(errno.EPIPE, "the answer cannot be finished") from error  # the server's cue
    finally:
        if close := getattr(body, "close", None):
            close()


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def _gunicorn_settings(settings: GatewaySettings) -> dict[str, Any]:
    return {
        "bind": [settings.bind, *([settings.rerank_bind] if settings.rerank_bind else [])],
        "certfile": settings.tls_cert and str(settings.tls_cert),
        "keyfile": settings.tls_key and str(settings.tls_key),
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_class": TransparentWorker,
        "logger_class": ServerLog,
        "errorlog": None,
        "loglevel": settings.log_level.lower(),
        "worker_connections": settings.threads + 1000,  # kept connections beside the busy ones
        "keepalive": 660,  # seconds; some clients keep idle connections for ten minutes
        # engines take a first line of 4 kB and headers of 16 kB: theirs to refuse
        "limit_request_line": 8190,
        "limit_request_fields": 1000,
        "limit_request_field_size": 64 * 1024,
        "permit_unconventional_http_method": True,  # the cluster's to refuse, in its own words
        # headers are read from the list, where X_A and X-A differ: none is dropped, none sets the environ
        "header_map": "dangerous",
        "forwarder_headers": "",
        "secure_scheme_headers": {},
        "forwarded_allow_ips": "*",  # nobody is trusted with anything, so nobody's address is looked up
        "control_socket_disable": True,
        "proc_name": "rerank-gateway",
    }
