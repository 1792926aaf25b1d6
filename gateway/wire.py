"""Knows one HTTP message as it stood on the wire, taken from WSGI and given back to it.

WSGI servers merge repeated headers and lose their order. Under this package's worker class (`gateway.wsgi`)
the list comes whole; only the letter case of names, which means nothing in HTTP, is lost. Under another
server the headers are read from the environ: each name once, its values joined by commas.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from http.client import responses
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, cast

from flask import Response
from werkzeug.datastructures import Headers

from gateway.errors import RefusedRequest, UnreadableBody
from gateway.hangup import ANYBODY, Client
from gateway.request_id import HEADER as REQUEST_ID_HEADER
from worker.contract.logs import REQUEST_ID

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Header = tuple[bytes, bytes]

RAW_HEADERS = "rerank.raw_headers"
"""Environ key of the client's header list: (name, value) in order, repeats kept."""

CLIENT = "rerank.client"
"""Environ key of the `gateway.hangup.Client` that waits for the answer."""

CHUNK_BYTES = 256 * 1024

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer "
    b"transfer-encoding upgrade".split()
)


class Readable(Protocol):
    """What is asked of ``wsgi.input``."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class ClientRequest:
    """One client request: raw target, end-to-end headers in order, a body that is bytes once it was buffered.

    ``headers`` are without Host, and without Transfer-Encoding: whoever sends the request writes these.
    """

    method: str
    target: str
    headers: Sequence[Header]
    body: bytes | Iterable[bytes]
    client: Client = ANYBODY

    def header(self, name: bytes) -> bytes | None:
        """The values of one header joined by commas, None without it; ``name`` in lower case."""
        values = [value for found, value in self.headers if found.lower() == name]
        return b",".join(values) if values else None


class Answer(Response):
    """An answer that goes to the client as given: no default headers, no corrections, body streamed.

    The server calls the body's ``close``, if it has one, when all is sent or the client went away.
    """

    default_mimetype = None

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: Iterable[Header],
        body: Iterable[bytes],
    ) -> None:
        super().__init__(response=body, status=status)
        self.headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers])
        self._status_line = f"{status} {reason.decode('latin-1')}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            start_response(self._status_line, self.headers.to_wsgi_list())
        except BaseException:  # a header that cannot be passed on: then nobody else closes the body
            self.close()
            raise
        return cast("Iterable[bytes]", self.response)


def json_answer(status: int, content: object) -> Answer:
    """An answer of the gateway's own."""
    body = json.dumps(content).encode()
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
    if request_id := REQUEST_ID.get():
        headers.append((REQUEST_ID_HEADER.encode(), request_id.encode()))
    return Answer(status, responses.get(status, "").encode(), headers, [body])


def read_target(environ: WSGIEnvironment) -> str:
    """The raw request target, as it stood in the request line but for a scheme and host before the path.

    ``GET http://host/path`` is what a client sends to a proxy; whatever host it names, it is the cluster's.
    """
    target: str = environ["RAW_URI"]
    scheme, mark, rest = target.partition("://")
    if not (mark and scheme.isalpha()):
        return target
    authority, slash, path = rest.partition("/")
    return slash + path if slash else "/" + "".join(authority.partition("?")[1:])


def read_request(environ: WSGIEnvironment) -> ClientRequest:
    """Take the request from WSGI; the body is not read yet.

    Raises:
        RefusedRequest: CONNECT asks for a tunnel, which the gateway is not; a coding that is not undone here.
    """
    if environ["REQUEST_METHOD"] == "CONNECT":
        raise RefusedRequest("CONNECT is not supported")
    headers = _read_headers(environ)
    names = {name.lower(): value for name, value in headers}
    awaits_continue = names.get(b"expect", b"").lower() == b"100-continue"
    body: bytes | Iterable[bytes] = b""
    if b"transfer-encoding" in names:
        if names[b"transfer-encoding"].lower() != b"chunked":
            raise RefusedRequest("no other transfer coding than chunked is undone here")
        body = BodyStream(environ["wsgi.input"], None, awaits_continue=awaits_continue)
    elif int(names.get(b"content-length", b"0")) > 0:
        length = int(names[b"content-length"])
        body = BodyStream(environ["wsgi.input"], length, awaits_continue=awaits_continue)
    # Host is the cluster's to name, and Expect is written again where its answer is waited for
    kept = [(name, value) for name, value in end_to_end(headers) if name.lower() not in (b"host", b"expect")]
    client = environ.get(CLIENT, ANYBODY)
    return ClientRequest(environ["REQUEST_METHOD"], read_target(environ), kept, body, client)


def buffer_body(request: ClientRequest, limit_bytes: int) -> ClientRequest:
    """The same request with its body as bytes if that is at most ``limit_bytes`` long, else as a stream."""
    if isinstance(request.body, bytes):
        return request
    chunks = iter(request.body)
    head: list[bytes] = []
    size = 0
    for chunk in chunks:
        head.append(chunk)
        size += len(chunk)
        if size > limit_bytes:
            return replace(request, body=chain(head, chunks))
    headers = [(name, value) for name, value in request.headers if name.lower() != b"content-length"]
    return replace(request, headers=[*headers, (b"Content-Length", b"%d" % size)], body=b"".join(head))


def end_to_end(headers: Iterable[Header]) -> list[Header]:
    """``headers`` without those that are meant for one connection only, and those that Connection names."""
    headers = list(headers)
    connection = b",".join(value for name, value in headers if name.lower() == b"connection")
    named = {token.strip().lower() for token in connection.split(b",")}
    # RFC 9110 7.6.1: framing and routing are no connection options, whoever names them
    dropped = (HOP_BY_HOP | named) - {b"content-length", b"host"}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _read_headers(environ: WSGIEnvironment) -> list[Header]:
    raw: list[tuple[str, str]] | None = environ.get(RAW_HEADERS)
    if raw is None:
        raw = [(key.removeprefix("HTTP_").replace("_", "-"), value) for key, value in _header_items(environ)]
    return [(name.title().encode("latin-1"), value.encode("latin-1")) for name, value in raw]


def _header_items(environ: WSGIEnvironment) -> Iterator[tuple[str, Any]]:
    for key, value in environ.items():
        if key.startswith("HTTP_") or (key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value):
            yield key, value


class BodyStream:
    """A request's body that is still to come, in pieces; it can be read once.

    Args:
        length: None where the end is marked by chunked coding.
        awaits_continue: the client sends nothing before it is told to (``Expect: 100-continue``); reading
            tells it. An answer that is there before need not be preceded by the body at all.
    """

    def __init__(self, body: Readable, length: int | None, *, awaits_continue: bool = False) -> None:
        self._body = body
        self._length = length
        self.awaits_continue = awaits_continue

    def __iter__(self) -> Iterator[bytes]:
        """The pieces.

        Raises:
            UnreadableBody: it ended early, or its chunks are malformed.
        """
        received, length = 0, self._length
        while length is None or received < length:
            try:
                piece = self._body.read(CHUNK_BYTES)
            except Exception as error:  # each server has errors of its own for this
                raise UnreadableBody(f"the request body cannot be read: {type(error).__name__}") from error
            if not piece:
                break
            received += len(piece)
            yield piece
        if length is not None and received < length:
            raise UnreadableBody(f"the request body ended after {received} of {length} bytes")
