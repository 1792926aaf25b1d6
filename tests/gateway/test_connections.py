"""Many client connections on few threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from tests.gateway.doubles import Client, answer, start_gateway, stop

pytestmark = pytest.mark.system

GET = b"GET /x HTTP/1.1\r\nHost: g\r\n\r\n"


@pytest.fixture(scope="module")
def narrow(running_cluster, config) -> Iterator[Client]:
    process, port = start_gateway(running_cluster.url, config, "redis://127.0.0.1:1/0", threads="2")
    yield Client(port, process.pid)
    stop(process)


def test_more_connections_than_threads_are_all_served_in_turn(narrow, cluster):
    connections = [narrow.connect() for _ in range(12)]
    started = time.monotonic()
    for _ in range(5):
        for connection in connections:
            connection.sendall(GET)
        for connection in connections:
            assert connection.recv(10_000).endswith(b"{}")
    assert time.monotonic() - started < 5
    for connection in connections:
        connection.close()


def test_a_connection_that_is_kept_open_holds_no_thread(narrow, cluster):
    idle = [narrow.connect() for _ in range(4)]
    for connection in idle:
        connection.sendall(GET)
        assert connection.recv(10_000).endswith(b"{}")
    started = time.monotonic()
    assert narrow.request("GET", "/y")[0] == 200
    assert time.monotonic() - started < 1
    for connection in idle:
        connection.close()


def test_a_slow_request_does_not_hold_up_the_others(narrow, cluster):
    let_go = threading.Event()

    def serve(received):
        if received.target == "/slow":
            let_go.wait(10)
        return answer(b"{}")

    cluster.script = serve
    with narrow.connect() as slow:
        slow.sendall(GET.replace(b"/x", b"/slow"))
        for _ in range(20):
            assert narrow.request("GET", "/quick")[0] == 200
        let_go.set()
        assert slow.recv(10_000).endswith(b"{}")
