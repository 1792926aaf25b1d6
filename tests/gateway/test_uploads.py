"""Request bodies on their way: asked for before they are sent, streamed, refused in the middle."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from tests.gateway.doubles import Client, answer, read_answers, start_gateway, stop

pytestmark = pytest.mark.system

HEAD = b"POST /_bulk HTTP/1.1\r\nHost: g\r\nConnection: close\r\n"
EXPECT = b"Expect: 100-continue\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
REFUSAL = answer(b"too large", "413 Payload Too Large")
MB = 1_000_000


class Engine:
    """Serves connections by ``serve``, one after the other; ``received`` is all that came."""

    def __init__(self) -> None:
        self.serve: Callable[[socket.socket], None] = lambda connection: None
        self.received = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def read_until(self, connection: socket.socket, end: bytes) -> None:
        while not self.received.endswith(end):
            self.received += connection.recv(65536)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                self.serve(connection)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # a close with bytes unread would take the answer back
                    pass


@pytest.fixture(scope="module")
def running_engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture
def engine(running_engine) -> Engine:
    running_engine.received = b""
    return running_engine


@pytest.fixture(scope="module")
def to_engine(running_engine, config) -> Iterator[Client]:
    process, port = start_gateway(running_engine.url, config, "redis://127.0.0.1:1/0")
    yield Client(port, process.pid)
    stop(process)


def test_a_client_is_told_to_continue_when_the_cluster_says_so(engine, to_engine):
    asked = threading.Event()

    def serve(connection):
        engine.read_until(connection, b"\r\n\r\n")
        asked.set()
        time.sleep(0.2)
        connection.sendall(CONTINUE)
        engine.read_until(connection, b"{}\n")
        connection.sendall(answer(b"{}"))

    engine.serve = serve
    with to_engine.connect() as client:
        client.sendall(HEAD + b"Content-Length: 3\r\n" + EXPECT + b"\r\n")
        assert asked.wait(5)
        assert b"Expect: 100-continue\r\n" in engine.received
        assert client.recv(1000) == CONTINUE
        client.sendall(b"{}\n")
        (answered,) = read_answers(client)
    assert (answered.status, answered.body) == (200, b"{}")
    assert engine.received.endswith(b"\r\n\r\n{}\n")


def test_a_body_that_the_cluster_does_not_want_is_never_sent(engine, to_engine):
    def serve(connection):
        engine.read_until(connection, b"\r\n\r\n")
        connection.sendall(REFUSAL)

    engine.serve = serve
    with to_engine.connect() as client:
        client.sendall(HEAD.replace(b"close", b"keep-alive") + b"Content-Length: 300000000\r\n" + EXPECT)
        client.sendall(b"\r\n")
        (answered,) = read_answers(client)
    assert (answered.status, answered.body) == (413, b"too large")
    assert answered.header("connection") == "close"  # what comes next might be the body all the same
    assert engine.received.endswith(b"\r\n\r\n")


def test_a_cluster_that_never_says_continue_is_sent_the_body_after_a_second(engine, to_engine):
    def serve(connection):
        engine.read_until(connection, b"0\r\n\r\n")
        connection.sendall(answer(b"{}"))

    engine.serve = serve
    with to_engine.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n" + EXPECT + b"\r\n")
        assert client.recv(1000) == CONTINUE
        client.sendall(b"3\r\n{}\n\r\n0\r\n\r\n")
        (answered,) = read_answers(client)
    assert answered.status == 200


def test_a_refusal_in_the_middle_of_an_upload_reaches_the_client(engine, to_engine):
    def serve(connection):
        engine.read_until(connection, b"\r\n\r\n" + b"x" * 1000)
        connection.sendall(REFUSAL)

    engine.serve = serve
    with to_engine.connect() as client:
        client.sendall(HEAD + b"Content-Length: 2000\r\n\r\n" + b"x" * 1000)
        time.sleep(0.3)
        client.sendall(b"x" * 1000)
        (answered,) = read_answers(client)
    assert (answered.status, answered.body) == (413, b"too large")


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_large_upload_streams_through_with_memory_flat(gateway, cluster, framing):
    with small_peak(gateway.pid, 15 * MB), gateway.connect() as client:
        piece, pieces = b"x" * MB, 30
        if framing == "length":
            client.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (pieces * MB))
        else:
            client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(pieces):
            client.sendall(piece if framing == "length" else b"%x\r\n%b\r\n" % (MB, piece))
        if framing == "chunks":
            client.sendall(b"0\r\n\r\n")
        (answered,) = read_answers(client)
    assert answered.status == 200
    assert len(cluster.received[0].body) == pieces * MB


@contextmanager
def small_peak(master: int, bytes_more: int) -> Iterator[None]:
    """Fails if the process and its children ever have so many more resident bytes than at the start."""
    processes = [psutil.Process(master), *psutil.Process(master).children()]
    before = peak = sum(process.memory_info().rss for process in processes)
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, sum(process.memory_info().rss for process in processes))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()
    assert peak - before < bytes_more
