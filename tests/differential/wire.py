"""Knows requests and answers as they stand on the wire: nothing is added, corrected or followed."""

from __future__ import annotations

import gzip
import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

Headers = tuple[tuple[str, str], ...]

JSON = "application/json"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True)
class Request:
    """One request; ``{name}`` in target and body is replaced by `fill`.

    Attributes:
        captures: placeholder → field at the top of this answer, for the requests that follow in a story.
        has_numbers_of_the_moment: sizes, times and counters change while one looks: digits are not compared.
    """

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    captures: Mapping[str, str] = field(default_factory=dict)
    has_numbers_of_the_moment: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.target} {dict(self.headers)} {self.body[:400]!r}"

    def fill(self, values: Mapping[str, str]) -> Request:
        """The request with each ``{name}`` replaced."""
        target, body = self.target, self.body
        for name, value in values.items():
            target = target.replace(f"{{{name}}}", value)
            body = body.replace(f"{{{name}}}".encode(), value.encode())
        return replace(self, target=target, body=body)


def ask(
    line: str, body: object = None, /, headers: Mapping[str, str] | None = None, **more: object
) -> Request:
    """``ask("PUT /books/_doc/1", {"title": "x"})``; a Content-Type comes with a body unless one is named.

    Args:
        body: an object is sent as JSON, a list as NDJSON, bytes as they are.
        headers: sent as named, in this order, and nothing else but Host and Content-Length.
    """
    method, target = line.split(" ", 1)
    sent = {} if body is None or isinstance(body, bytes) else {"Content-Type": JSON}
    match body:
        case None:
            encoded = b""
        case bytes():
            encoded = body
        case list():
            sent = {"Content-Type": NDJSON}
            encoded = b"".join(json.dumps(line).encode() + b"\n" for line in body)
        case _:
            encoded = json.dumps(body).encode()
    return Request(method, target, tuple((sent | dict(headers or {})).items()), encoded, **more)


def zipped(request: Request) -> Request:
    """The same request with its body in gzip."""
    headers = (*request.headers, ("Content-Encoding", "gzip"))
    return replace(request, body=gzip.compress(request.body, mtime=0), headers=headers)


@dataclass(frozen=True)
class Answer:
    """One answer, chunks joined; headers in order with all their values."""

    status: int
    reason: str
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


SILENCE = Answer(0, "", (), b"")


class Peer:
    """The cluster, or a gateway in front of it; keeps one connection."""

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._connection = http.client.HTTPConnection(self._host, timeout=90)

    def exchange(self, request: Request) -> Answer:
        """Send the request and read its whole answer; `SILENCE` where the connection is closed instead."""
        try:
            return self._exchange_once(request)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self._connection.close()  # perhaps a kept one that was at its end
        try:
            return self._exchange_once(request)
        except http.client.RemoteDisconnected:
            self._connection.close()
            return SILENCE

    def close(self) -> None:
        self._connection.close()

    def _exchange_once(self, request: Request) -> Answer:
        connection = self._connection
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", self._host)
        for name, value in request.headers:
            connection.putheader(name, value)
        if request.body:
            connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body or None)
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, response.reason, tuple(response.getheaders()), body)
