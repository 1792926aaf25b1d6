"""Knows one node of the cluster: its connections, how a request goes there and its answer comes back."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from urllib.parse import urlsplit

from gateway import http1
from gateway.errors import ClusterUnreachable
from gateway.hangup import ANYBODY, Client
from gateway.tls import make_tls
from gateway.wire import Header


class ConnectFailed(ClusterUnreachable):
    """No connection, TLS included: nothing was sent, and nothing taken from the request's body."""


class AnswerMissing(ClusterUnreachable):
    """The request was sent, at least in part, and the connection broke before the head of an answer.

    Args:
        was_kept: the connection had served other requests: the node may only have grown tired of it.
    """

    def __init__(self, message: str, *, was_kept: bool) -> None:
        super().__init__(message)
        self.was_kept = was_kept


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

    @property
    def is_complete(self) -> bool:
        """No piece follows the one that was given last."""
        return self._response.is_complete

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


class Node:
    """One address of the cluster and the connections kept to it.

    Args:
        url: ``http(s)://host:port``.
        connect_timeout_s: how long a new connection may take, and TLS on it.
        idle_connections: how many connections are kept for the next request.
        tls: whom to trust; None for the certificate authorities of this machine.
    """

    def __init__(
        self, url: str, *, connect_timeout_s: float, idle_connections: int, tls: ssl.SSLContext | None = None
    ) -> None:
        parts = urlsplit(url)
        self.host = parts.netloc
        self._url = url
        self._host = parts.netloc.encode()
        is_tls = parts.scheme == "https"
        context = (tls or make_tls()) if is_tls else None
        address = (parts.hostname or "", parts.port or (443 if is_tls else 80))
        self._pool = http1.Pool(partial(_connect, *address, connect_timeout_s, context), idle_connections)

    def __repr__(self) -> str:
        return f"<Node {self._url}>"

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[Header],
        body: bytes | Iterable[bytes],
        client: Client = ANYBODY,
    ) -> ClusterAnswer:
        """Send one request, once, and wait for the head of its answer.

        The pool drops kept connections that the node has closed. One that closes at the very moment of use is
        noticed only by the missing answer.

        Args:
            headers: end-to-end headers; Host is put in front. A stream without Content-Length goes chunked.

        Raises:
            ConnectFailed, AnswerMissing: no answer.
            RefusedRequest: the headers cannot be sent.
            UnreadableBody: the client's body could not be read to its end.
            ClientGone: the client went away before the head was there.
        """
        framed = [(b"Host", self._host), *headers, *_framing(headers, body)]
        try:
            return ClusterAnswer(self._pool.exchange(method, target, framed, body, client))
        except ConnectFailed:
            raise
        except ClusterUnreachable as error:
            raise AnswerMissing(str(error), was_kept=isinstance(error, http1.StaleConnection)) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _framing(headers: Sequence[Header], body: bytes | Iterable[bytes]) -> list[Header]:
    is_framed = isinstance(body, bytes) or any(name.lower() == b"content-length" for name, _ in headers)
    return [] if is_framed else [(b"Transfer-Encoding", b"chunked")]


def _connect(host: str, port: int, timeout_s: float, tls: ssl.SSLContext | None) -> socket.socket:
    try:
        return http1.open_socket(host, port, timeout_s, tls)
    except ClusterUnreachable as error:
        raise ConnectFailed(str(error)) from error
