"""Knows how to talk to the cluster: one pool of connections that sends and receives bytes as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import httpcore2

from gateway.errors import ClusterUnreachable, GatewayError, RefusedRequest
from gateway.wire import Header

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

EngineName = Literal["elasticsearch", "opensearch"]


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
        self._scheme = parts.scheme.encode()
        self._hostname = (parts.hostname or "").encode()
        self._port = parts.port
        self._host = parts.netloc.encode()
        self._timeout = {"connect": connect_timeout_s}
        self._pool = httpcore2.ConnectionPool(
            max_connections=None, max_keepalive_connections=idle_connections, keepalive_expiry=60.0
        )
        self._engine: EngineName | None = None

    def send(
        self,
        method: str,
        target: str,
        headers: Sequence[Header],
        body: bytes | Iterable[bytes] = b"",
        *,
        is_read: bool = False,
    ) -> ClusterAnswer:
        """Send one request and wait for the head of its answer.

        The pool drops kept connections that the cluster has closed. One that closes at the very moment of use
        is noticed only by the missing answer: a request that changes nothing is then sent once more.

        Args:
            headers: end-to-end headers; Host is put in front. A stream without Content-Length goes chunked.
            body: bytes can be sent again, a stream cannot.
            is_read: the request changes nothing although its method could (a search by POST).

        Raises:
            ClusterUnreachable: no connection, or it broke before the head of the answer was there.
            RefusedRequest: the headers cannot be sent.
            UnreadableBody: the client's body could not be read to its end.
        """
        message = (method, target, headers, body)
        try:
            answer = self._send_once(*message)
        except _StaleConnection:
            if not (isinstance(body, bytes) and (is_read or method in SAFE_METHODS)):
                raise
            answer = self._send_once(*message)
        if self._engine is None and _is_elasticsearch(answer):
            self._engine = "elasticsearch"
        return answer

    def find_engine(self) -> EngineName | None:
        """Which engine the cluster runs; None while that is not known, never an error.

        Elasticsearch 7.14 and later names itself in each answer, a refusal included; OpenSearch and older
        versions never do. Asks the cluster, once, if none of the answers so far has told.
        """
        if self._engine is None:
            try:
                answer = self.send("HEAD", "/", [])
                answer.read()
            except GatewayError:
                return None
            if self._engine is None and answer.status < 500:  # a failure may be of something in between
                self._engine = "opensearch"
        return self._engine

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()

    def _send_once(
        self, method: str, target: str, headers: Sequence[Header], body: bytes | Iterable[bytes]
    ) -> ClusterAnswer:
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
                if is_new:
                    raise
                raise _StaleConnection(str(error)) from error


class _StaleConnection(ClusterUnreachable):
    """A kept connection gave no answer; a new one might."""


def _is_elasticsearch(answer: ClusterAnswer) -> bool:
    return answer.header(b"x-elastic-product") == b"Elasticsearch"


def _framing(headers: Sequence[Header], body: bytes | Iterable[bytes]) -> list[Header]:
    is_framed = isinstance(body, bytes) or any(name.lower() == b"content-length" for name, _ in headers)
    return [] if is_framed else [(b"Transfer-Encoding", b"chunked")]


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except httpcore2.LocalProtocolError as error:
        raise RefusedRequest(str(error)) from error
    except (httpcore2.NetworkError, httpcore2.TimeoutException, httpcore2.RemoteProtocolError) as error:
        raise ClusterUnreachable(f"the cluster cannot be reached: {error}") from error
