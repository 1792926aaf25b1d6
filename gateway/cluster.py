"""Knows how to talk to the cluster: one pool of connections that sends and receives bytes as they are."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

from gateway import http1
from gateway.hangup import ANYBODY, Client
from gateway.wire import Header

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class ClusterAnswer:
    """The cluster's answer, its body still to be read: iterate or `read`, and `close` in any case.

    Closing before the end closes the connection, by which the cluster cancels what it was doing.
    ``headers`` are as received, in order, repeats kept; the body is as received, content coding included.
    """

    def __init__(self, response: http1.Response) -> None:
        self._response = response
        self.status = response.status
        self.reason = response.reason
        self.headers: list[Header] = response.headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of one header, None without it; ``name`` in lower case."""
        return next((value for found, value in self.headers if found.lower() == name), None)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)

    def read(self) -> bytes:
        """The whole body; closes."""
        try:
            return b"".join(self)
        finally:
            self.close()

    def close(self) -> None:
        """Give the connection back to the pool, or close it where the body was not read to its end."""
        self._response.close()


class Cluster:
    """The cluster behind the gateway; one object a process, used by all its threads.

    There is no read timeout: how long a search may take is the cluster's and the client's affair.

    Args:
        url: ``http(s)://host:port``.
        connect_timeout_s: how long a new connection may take.
        idle_connections: how many connections are kept for the next request.
    """

    def __init__(self, url: str, *, connect_timeout_s: float, idle_connections: int = 10) -> None:
        parts = urlsplit(url)
        self._host = parts.netloc.encode()
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if tls else 80)
        connect = partial(http1.open_socket, parts.hostname or "", port, connect_timeout_s, tls)
        self._pool = http1.Pool(connect, idle_connections)

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[Header],
        body: bytes | Iterable[bytes] = b"",
        *,
        is_read: bool = False,
        client: Client = ANYBODY,
    ) -> ClusterAnswer:
        """Send one request and wait for the head of its answer.

        The pool drops kept connections that the cluster has closed. One that closes at the very moment of use
        is noticed only by the missing answer: a request that changes nothing is then sent once more.

        Args:
            headers: end-to-end headers; Host is put in front. A stream without Content-Length goes chunked.
            body: bytes can be sent again, a stream cannot.
            is_read: the request changes nothing although its method could (a search by POST).
            client: when it goes away the connection is closed, by which the cluster cancels its work.

        Raises:
            ClusterUnreachable: no connection, or it broke before the head of the answer was there.
            RefusedRequest: the headers cannot be sent.
            UnreadableBody: the client's body could not be read to its end.
            ClientGone: the client went away before the head was there.
        """
        framed = [(b"Host", self._host), *headers, *_framing(headers, body)]
        try:
            return ClusterAnswer(self._pool.exchange(method, target, framed, body, client))
        except http1.StaleConnection:
            if not (isinstance(body, bytes) and (is_read or method in SAFE_METHODS)):
                raise
        return ClusterAnswer(self._pool.exchange(method, target, framed, body, client))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _framing(headers: Sequence[Header], body: bytes | Iterable[bytes]) -> list[Header]:
    is_framed = isinstance(body, bytes) or any(name.lower() == b"content-length" for name, _ in headers)
    return [] if is_framed else [(b"Transfer-Encoding", b"chunked")]
