"""Knows HTTP/1.1 as a client: writes requests, reads answers, keeps connections; bytes stay as they are.

What must not be misread is left to llhttp in its strict mode. An answer that it refuses, that is cut short,
or that has bytes after its end costs the connection, and never becomes the answer to another request.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress

import httptools

from gateway.errors import ClusterUnreachable, RefusedRequest
from gateway.hangup import ANYBODY, Callback, Client
from gateway.wire import Header

FIRST_READ_BYTES = 64 * 1024
"""A head and most answers fit; a larger buffer would cost every answer the mapping of its memory."""
READ_BYTES = 256 * 1024
HEAD_LIMIT_BYTES = 1024 * 1024
CONTINUE_MS = 1000
"""A server that knows nothing of ``Expect: 100-continue`` is sent the body after so long."""
IDLE_S = 60.0
"""A connection that was idle for longer is not used again: something between may have forgotten it."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD = re.compile(
    _TOKEN + rb" [!-~]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb": [^\x00-\x08\x0a-\x1f\x7f]*\r\n)*\r\n"
)
"""All that is ever written as a head, with one line a header: no value becomes a header or a request."""


class StaleConnection(ClusterUnreachable):
    """A kept connection gave no answer at all; a new one might."""


class Response:
    """One answer, its body still to be read: iterate, and `close` in any case.

    ``headers`` are as received, in order, repeats kept; the body is as received but for chunked coding.
    """

    def __init__(
        self, reader: _Reader, connection: Connection, pool: Pool, client: Client, forget_client: Callback
    ) -> None:
        self._reader = reader
        self._connection: Connection | None = connection
        self._pool = pool
        self._client = client
        self._forget_client = forget_client
        self.status = reader.status
        self.reason = reader.reason
        self.headers: list[Header] = reader.headers
        if reader.is_complete:
            self.close()

    @property
    def is_complete(self) -> bool:
        """No piece follows the one that was given last."""
        return self._reader.is_complete and not self._reader.pieces

    def __iter__(self) -> Iterator[bytes]:
        reader = self._reader
        while True:
            pieces, reader.pieces = reader.pieces, []
            if pieces:
                yield b"".join(pieces)
            if reader.is_complete:
                return
            self._receive()

    def close(self) -> None:
        """Keep the connection for the next request, or close it where the answer was not read to its end."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._forget_client()
        if self._reader.may_keep and not self._client.is_gone:
            self._pool.keep(connection)
        else:
            connection.close()

    def _receive(self) -> None:
        if self._connection is None:
            raise ClusterUnreachable("the answer was closed before its end")
        try:
            self._connection.receive(self._reader)
        except ClusterUnreachable:
            self.close()
            self._client.expect()
            raise
        if self._reader.is_complete:
            self.close()


class Pool:
    """Connections to one server, used by all threads.

    Args:
        open_socket: makes a connected socket; what it raises comes through `exchange`.
        idle_connections: how many are kept for the next request.
    """

    def __init__(self, open_socket: Callable[[], socket.socket], idle_connections: int) -> None:
        self._open_socket = open_socket
        self._idle_connections = idle_connections
        self._idle: deque[Connection] = deque()  # the last one used is the first to be used again
        self._is_closed = False

    def exchange(
        self,
        method: str,
        target: str,
        headers: Sequence[Header],
        body: bytes | Iterable[bytes] = b"",
        client: Client = ANYBODY,
    ) -> Response:
        """Send one request and wait for the head of its answer, for as long as the client does.

        Args:
            headers: all of them, framing included.
            body: sent as it is, or in chunks if ``headers`` say so. Where its client awaits leave
                to send it (`wire.BodyStream`), the server is asked first.

        Raises:
            ClusterUnreachable: it broke before the head was there; `StaleConnection` if it was a kept one.
            RefusedRequest: the request cannot be written as one correct request.
            ClientGone: the client did not wait.
        """
        awaits_continue = getattr(body, "awaits_continue", False)
        if awaits_continue:
            headers = [*headers, (b"Expect", b"100-continue")]
        head = write_head(method, target, headers)
        is_chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
        reader = _Reader(is_head=method == "HEAD")
        connection = self._take()
        forget_client = _nothing
        try:
            if awaits_continue:
                connection.ask(head, reader)
                head = b""
            if reader.has_head or not connection.send(head, body, is_chunked):
                reader.spoil()
            forget_client = client.when_gone(connection.abort)
            while not reader.has_head:
                connection.receive(reader)
        except BaseException as error:
            forget_client()
            connection.close()
            client.expect()
            if isinstance(error, ClusterUnreachable) and not (connection.is_new or reader.has_begun):
                self._close_idle()  # the server is going away: the others are no better
                raise StaleConnection(str(error)) from error
            raise
        return Response(reader, connection, self, client, forget_client)

    def keep(self, connection: Connection) -> None:
        """Take a connection back whose answer was read to its end."""
        connection.is_new = False
        connection.idle_since = time.monotonic()
        self._idle.append(connection)
        if len(self._idle) > self._idle_connections or self._is_closed:
            with suppress(IndexError):
                self._idle.popleft().close()

    def close(self) -> None:
        """Close what is idle now, and later what is still in use."""
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _take(self) -> Connection:
        oldest = time.monotonic() - IDLE_S
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.idle_since > oldest and connection.is_quiet():
                    return connection
                connection.close()
        return Connection(self._open_socket())


class Connection:
    """One connected socket, used by one thread at a time; only `abort` may come from another."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)
        self.is_new = True
        self.idle_since = 0.0

    def is_quiet(self) -> bool:
        """Nothing came while it was idle, no end either."""
        return not self._poll.poll(0)

    def send(self, head: bytes, body: bytes | Iterable[bytes], is_chunked: bool) -> bool:
        """Send one request, the head in one piece with the first bytes of the body.

        Returns:
            False if the server would not read it all: it has answered before, and closes.
        """
        for piece in _frame(head, body, is_chunked):
            try:
                self._socket.sendall(piece)
            except OSError as error:
                if self.is_quiet():
                    raise _translate(error) from error
                return False
        return True

    def ask(self, head: bytes, reader: _Reader) -> None:
        """Send a head alone and wait for leave to send the body, an answer instead, or long enough."""
        self.send(head, b"", is_chunked=False)
        while not (reader.may_continue or reader.has_head) and self._poll.poll(CONTINUE_MS):
            self.receive(reader)

    def receive(self, reader: _Reader) -> None:
        """Read what has come of an answer, at least one byte.

        Raises:
            ClusterUnreachable: the connection broke before the end, or what came is not HTTP.
        """
        try:
            received = self._socket.recv(READ_BYTES if reader.has_head else FIRST_READ_BYTES)
        except OSError as error:
            raise _translate(error) from error
        reader.feed(received)

    def abort(self) -> None:
        """End the connection under the thread that waits for it, which then wakes."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # of TLS too: no farewell is said

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def open_socket(host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None = None) -> socket.socket:
    """A connected socket without read timeout.

    Raises:
        ClusterUnreachable: nobody answers there, or its certificate is not to be trusted.
    """
    try:
        connected = socket.create_connection((host, port), timeout_s)
        with ExitStack() as failed:
            failed.callback(connected.close)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                connected = tls.wrap_socket(connected, server_hostname=host)
            connected.settimeout(None)
            failed.pop_all()
    except OSError as error:
        raise _translate(error) from error
    return connected


def write_head(method: str, target: str, headers: Sequence[Header]) -> bytes:
    """A request's head.

    Raises:
        RefusedRequest: it would not be one correct head.
    """
    line = f"{method} {target} HTTP/1.1\r\n".encode()  # outside ASCII it does not match
    head = b"".join([line, *[b"%b: %b\r\n" % header for header in headers], b"\r\n"])
    if not _HEAD.fullmatch(head) or head.count(b"\n") != len(headers) + 2:
        raise RefusedRequest("the request line or a header holds what HTTP does not allow")
    return head


def _frame(head: bytes, body: bytes | Iterable[bytes], is_chunked: bool) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield head + body
        return
    for piece in body:
        if not piece:
            continue  # as a chunk it would be the last
        framed = b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
        yield head + framed
        head = b""
    if is_chunked:
        yield head + b"0\r\n\r\n"
    elif head:
        yield head


class _Reader:
    """What the parser tells of one answer; those with status 1xx before it are passed over."""

    def __init__(self, *, is_head: bool) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._is_head = is_head
        self._is_spoiled = False
        self._is_coded = False  # beyond chunks: nobody here could undo it
        self._received = 0
        self._is_persistent = False
        self.has_begun = False
        self.has_head = False
        self.may_continue = False
        self.is_complete = False
        self.status = 0
        self.reason = b""
        self.headers: list[Header] = []
        self.pieces: list[bytes] = []

    @property
    def may_keep(self) -> bool:
        """The connection stands at the start of the next answer."""
        return self.is_complete and self._is_persistent and not self._is_spoiled

    def spoil(self) -> None:
        """The connection must not be used again."""
        self._is_spoiled = True

    def feed(self, received: bytes) -> None:
        """Take what has come; no bytes are the connection's end.

        Raises:
            ClusterUnreachable: it is not HTTP, or the end came too early.
        """
        if not received:
            self._end()
            return
        self.has_begun = True
        self._received += len(received)
        try:
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._is_spoiled = True
            if not self.is_complete:
                raise ClusterUnreachable(f"the cluster's answer is not correct HTTP: {error}") from error
        if self._is_coded:
            raise ClusterUnreachable("the cluster's answer has an unknown transfer coding")
        if not self.has_head and self._received > HEAD_LIMIT_BYTES:
            raise ClusterUnreachable("the head of the cluster's answer is too large")

    def _end(self) -> None:
        is_framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        if not self.has_head or is_framed:
            raise ClusterUnreachable("the cluster closed the connection before the end of its answer")
        self.is_complete = True

    # what the parser calls

    def on_message_begin(self) -> None:
        if self.is_complete:
            self._is_spoiled = True
        elif not self.has_head:
            self.reason, self.headers = b"", []

    def on_status(self, part: bytes) -> None:
        if not self.has_head:
            self.reason += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else of a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.may_continue = self.may_continue or self._parser.get_status_code() == 100
        if self.has_head or self._parser.get_status_code() < 200:
            return
        codings = [value.lower() for name, value in self.headers if name.lower() == b"transfer-encoding"]
        self._is_coded = bool(codings) and codings != [b"chunked"]
        self.status = self._parser.get_status_code()
        self.has_head = True
        if self._is_head:
            self._complete()

    def on_body(self, piece: bytes) -> None:
        if self.is_complete:
            self._is_spoiled = True
        else:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if self.has_head and not self.is_complete:
            self._complete()

    def _complete(self) -> None:
        self.is_complete = True
        self._is_persistent = self._parser.should_keep_alive()


def _translate(error: OSError) -> ClusterUnreachable:
    return ClusterUnreachable(f"the cluster cannot be reached: {error}")


def _nothing() -> None:
    pass
