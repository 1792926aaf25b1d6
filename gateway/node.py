"""Knows one node of the cluster: its connections, and how one request goes there and its answer comes back.

This is the only file that knows the HTTP library.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpcore2

from gateway.errors import ClusterUnreachable, RefusedRequest
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

    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response
        self.status = response.status
        self.reason: bytes = response.extensions["reason_phrase"]
        self.headers: list[Header] = response.headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of one header, None without it; ``name`` in lower case."""
        return next((value for found, value in self.headers if found.lower() == name), None)

    def __iter__(self) -> Iterator[bytes]:
        with _translated_errors():
            yield from self._response.iter_stream()

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
        self._scheme = parts.scheme.encode()
        self._hostname = (parts.hostname or "").encode()
        self._port = parts.port
        self._host = parts.netloc.encode()
        self._timeout = {"connect": connect_timeout_s}
        if tls is None and parts.scheme == "https":
            tls = make_tls()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls,
            max_connections=None,
            max_keepalive_connections=idle_connections,
            keepalive_expiry=60.0,
        )

    def __repr__(self) -> str:
        return f"<Node {self._url}>"

    def send(
        self, method: str, target: str, headers: Sequence[Header], body: bytes | Iterable[bytes]
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
        """
        is_new = False

        def note_connect(event: str, _: Any) -> None:
            nonlocal is_new
            is_new = is_new or event == "connection.connect_tcp.started"

        url = httpcore2.URL(scheme=self._scheme, host=self._hostname, port=self._port, target=target.encode())
        framed = [(b"Host", self._host), *headers, *_framing(headers, body)]
        extensions = {"timeout": self._timeout, "trace": note_connect}
        request = httpcore2.Request(method, url, headers=framed, content=body, extensions=extensions)
        with _translated_errors():
            try:
                return ClusterAnswer(self._pool.handle_request(request))
            except (httpcore2.ReadError, httpcore2.RemoteProtocolError) as error:
                raise AnswerMissing(_describe(error), was_kept=not is_new) from error

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


def _framing(headers: Sequence[Header], body: bytes | Iterable[bytes]) -> list[Header]:
    is_framed = isinstance(body, bytes) or any(name.lower() == b"content-length" for name, _ in headers)
    return [] if is_framed else [(b"Transfer-Encoding", b"chunked")]


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except httpcore2.LocalProtocolError as error:
        raise RefusedRequest(str(error)) from error
    except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
        raise ConnectFailed(_describe(error)) from error
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.RemoteProtocolError) as error:
        raise ClusterUnreachable(_describe(error)) from error


def _describe(error: Exception) -> str:
    return f"the cluster cannot be reached: {error}"
