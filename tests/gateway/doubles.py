"""A cluster double that speaks raw HTTP/1.1, a byte-wise client, and the gateway as a process."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import find_free_port

RERANK_TOML = """
[models.tiny]
path = "somewhere"

[[policies]]
name = "books"
indices = ["books"]
model = "tiny"
passage_fields = ["title"]
window = 4
deadline_ms = 2000
"""


@dataclass(frozen=True)
class Received:
    """One request as the cluster saw it; ``head`` and ``framed_body`` are the bytes of the wire."""

    head: bytes
    framed_body: bytes
    body: bytes

    @property
    def method(self) -> str:
        return self.head.split(b" ", 2)[0].decode()

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines]

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


Script = Callable[[Received], "bytes | Iterable[bytes]"]


def answer(body: bytes = b"", status: str = "200 OK", headers: Iterable[str] = ()) -> bytes:
    """One scripted answer with Content-Length."""
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class ClusterDouble:
    """Answers each request with the bytes that ``script`` gives; after no bytes it closes the connection."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.received: list[Received] = []
        self.closed_early = threading.Event()
        self.connections = 0
        self.script: Script = lambda received: answer(b"{}")
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        self.received.clear()
        self.closed_early.clear()
        self.connections = 0
        self.script = lambda received: answer(b"{}")

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # `close` alone leaves `accept` waiting in the kernel
        self._listener.close()
        self.drop_connections()

    def drop_connections(self) -> None:
        for connection in self._sockets:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._sockets.clear()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while received := _read_message(stream):
                self.received.append(received)
                scripted = self.script(received)
                try:
                    for piece in [scripted] if isinstance(scripted, bytes) else scripted:
                        if not piece:
                            return
                        connection.sendall(piece)
                except OSError:
                    self.closed_early.set()
                    return


def _read_message(stream) -> Received | None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2] if b": " in line)
    if names.get(b"transfer-encoding") == b"chunked":
        framed, body = b"", b""
        while True:
            size_line = stream.readline()
            if not size_line:
                return None
            chunk = stream.read(int(size_line, 16) + 2)
            framed += size_line + chunk
            body += chunk[:-2]
            if size_line == b"0\r\n":
                return Received(head, framed, body)
    body = stream.read(int(names.get(b"content-length", b"0")))
    return Received(head, body, body)


@dataclass(frozen=True)
class Client:
    """Speaks to the gateway byte by byte."""

    port: int
    pid: int

    def find_children(self) -> list[int]:
        """The numbers of the processes that answer."""
        return [*map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split())]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def exchange(self, request: bytes) -> tuple[bytes, bytes]:
        """Send raw bytes; head and body of the answer as they came, up to the connection's end."""
        with self.connect() as connection:
            connection.sendall(request)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        return head, body

    def request(
        self, method: str, target: str, headers: Iterable[str] = (), body: bytes = b""
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body (chunks joined)."""
        framing = [f"Content-Length: {len(body)}"] if body else []
        lines = [
            f"{method} {target} HTTP/1.1",
            "Host: localhost",
            *framing,
            *headers,
            "Connection: close",
            "",
            "",
        ]
        head, answered = self.exchange("\r\n".join(lines).encode("latin-1") + body)
        status_line, *rest = head.decode("latin-1").split("\r\n")
        pairs = [(line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in rest]
        if ("Transfer-Encoding", "chunked") in pairs:
            answered = join_chunks(answered)
        return int(status_line.split(" ")[1]), pairs, answered


@dataclass(frozen=True)
class Answered:
    """One answer as a client read it; ``is_whole`` unless the connection ended before the body did."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_whole: bool = True

    def header(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)


def read_answers(connection: socket.socket, methods: Iterable[str] = ()) -> list[Answered]:
    """All answers up to the connection's end, read as strictly as the framing is written.

    Args:
        methods: of the requests, in order; GET for the rest.
    """
    answers, asked = [], iter(methods)
    with connection.makefile("rb") as stream:
        while answered := _read_answer(stream, next(asked, "GET")):
            answers.append(answered)
    return answers


def _read_answer(stream, method: str) -> Answered | None:
    status_line = stream.readline()
    if not status_line:
        return None
    version, status, _ = status_line.decode("latin-1").split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), status_line
    headers = []
    while (line := stream.readline()) != b"\r\n":
        assert line.endswith(b"\r\n"), line
        name, value = line.decode("latin-1").removesuffix("\r\n").split(": ", 1)
        headers.append((name, value))
    head = Answered(int(status), headers, b"")
    if method == "HEAD" or int(status) in (204, 304):
        return head
    if head.header("transfer-encoding") == "chunked":
        body = b""
        while size_line := stream.readline():
            piece = stream.read(int(size_line, 16) + 2)
            if piece == b"\r\n":
                return Answered(int(status), headers, body)
            body += piece[:-2]
        return Answered(int(status), headers, body, is_whole=False)
    length = head.header("content-length")
    body = stream.read(None if length is None else int(length))
    return Answered(int(status), headers, body, is_whole=length is None or len(body) == int(length))


def join_chunks(framed: bytes) -> bytes:
    body = b""
    while framed:
        size_line, _, framed = framed.partition(b"\r\n")
        size = int(size_line, 16)
        body, framed = body + framed[:size], framed[size + 2 :]
    return body


def start_gateway(
    cluster_url: str, config: Path, redis_url: str, port: int | None = None, **more: str
) -> tuple[subprocess.Popen[bytes], int]:
    """Start ``python -m gateway`` on a free port and wait until it listens.

    Args:
        more: flags, ``publish_address`` for ``--publish-address``.
    """
    port = port or find_free_port()
    flags = {
        "bind": f"127.0.0.1:{port}",
        "cluster-url": cluster_url,
        "config": str(config),
        "redis-url": redis_url,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    arguments = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments], cwd=root, env=os.environ, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
            probe.sendall(b"GET /_rerank/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if _is_served(probe, is_tls="tls_cert" in more):
                return process, port
        assert process.poll() is None, "the gateway stopped at its start"
        time.sleep(0.1)
    stop(process)
    raise AssertionError("the gateway does not listen")


def _is_served(probe: socket.socket, *, is_tls: bool) -> bool:
    try:
        return bool(probe.recv(1)) or is_tls  # which ends what does not begin with a handshake
    except ConnectionResetError:
        return is_tls


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def search_answer(*titles: str) -> bytes:
    """A search answer whose hits are ``titles``, best first."""
    hits = [
        {"_index": "books", "_id": str(i), "_score": 9.5 - i, "_source": {"title": title}}
        for i, title in enumerate(titles)
    ]
    total = {"value": len(hits), "relation": "eq"}
    return json.dumps({"took": 1, "hits": {"total": total, "max_score": 9.5, "hits": hits}}).encode()
