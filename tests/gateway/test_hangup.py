"""A client that goes away ends its request: at the cluster, in the queue, and nothing stays behind."""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import redis

from gateway.errors import ClientGone
from gateway.hangup import Client, Watcher
from gateway.score_queue import QueueScorer
from gateway.scoring import ScoreRequest
from tests.conftest import wait_until
from tests.gateway.doubles import Client as RawClient
from tests.gateway.doubles import answer, search_answer, start_gateway, stop
from tests.gateway.stub_worker import length_of_each, stub_worker
from worker.contract import cancelled_key

pytestmark = pytest.mark.system

SOON_S = 1.0
GET = b"GET /books/_doc/1 HTTP/1.1\r\nHost: g\r\n\r\n"
SEARCH = b"GET /books/_search?q=wine HTTP/1.1\r\nHost: g\r\n\r\n"
BULK = b"POST /_bulk HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\n{}\n"
CHUNKED = b"POST /_bulk HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"
STARTED = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"


class SlowEngine:
    """Works on each request until it is told to answer or its client hangs up, as the engines do."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.reset()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def reset(self) -> None:
        self.working = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)
        self.let_go.clear()
        self.head = b""

    def close(self) -> None:
        self.let_go.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(100_000):
                connection.sendall(self.head)
                self.working.release()
                while not self.let_go.is_set():
                    if select.select([connection], [], [], 0.02)[0]:
                        self.cancelled.release()
                        return
                connection.sendall(answer(b"{}"))


@pytest.fixture(scope="module")
def running_engine() -> Iterator[SlowEngine]:
    engine = SlowEngine()
    yield engine
    engine.close()


@pytest.fixture
def engine(running_engine) -> SlowEngine:
    running_engine.reset()
    return running_engine


@pytest.fixture(scope="module")
def gateway(running_engine, config, redis_url) -> Iterator[RawClient]:
    process, port = start_gateway(running_engine.url, config, redis_url)
    yield RawClient(port, process.pid)
    stop(process)


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def close_one_side(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("leave", [close, reset, close_one_side])
@pytest.mark.parametrize(
    ("request_bytes", "head"),
    [
        pytest.param(GET, b"", id="passed through"),
        pytest.param(BULK, b"", id="with a body"),
        pytest.param(CHUNKED, b"", id="with a chunked body"),
        pytest.param(SEARCH, b"", id="a search to be reranked"),
        pytest.param(GET + GET, b"", id="with another request behind it"),
        pytest.param(
            GET, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", id="in the middle of the answer"
        ),
    ],
)
def test_a_client_that_leaves_ends_the_clusters_work(engine, gateway, request_bytes, head, leave):
    engine.head = head
    with gateway.connect() as connection:
        connection.sendall(request_bytes)
        assert engine.working.acquire(timeout=10)
        leave(connection)
        assert engine.cancelled.acquire(timeout=SOON_S)


def test_a_client_that_waits_is_served_however_long_it_takes(engine, gateway):
    with gateway.connect() as connection:
        connection.sendall(GET + GET)  # the second request's bytes are no farewell
        assert engine.working.acquire(timeout=10)
        assert not engine.cancelled.acquire(timeout=SOON_S)
        engine.let_go.set()
        received = b""
        while received.count(b"{}") < 2:
            received += connection.recv(10_000)
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_many_clients_that_leave_leave_nothing_behind(engine, gateway):
    (child,) = psutil.Process(gateway.pid).children()

    def leave_often(times: int) -> None:
        connections = [gateway.connect() for _ in range(times)]
        for connection in connections:
            connection.sendall(GET)
        for _ in connections:
            assert engine.working.acquire(timeout=10)
        for connection in connections:
            connection.close()
        for _ in connections:
            assert engine.cancelled.acquire(timeout=5)

    leave_often(25)
    threads, descriptors = child.num_threads(), child.num_fds()
    leave_often(25)
    wait_until(lambda: child.num_fds() <= descriptors, timeout_s=5)
    assert child.num_threads() <= threads + 7  # the server's own threads come one by one, up to 32
    engine.let_go.set()
    for _ in range(50):
        assert gateway.request("GET", "/books/_doc/1")[0] == 200


def test_a_client_that_leaves_cancels_its_job(cluster, config, redis_server):
    cluster.script = lambda received: answer(search_answer("a", "bbb"))
    process, port = start_gateway(cluster.url, config, redis_server.url)
    client = RawClient(port, process.pid)
    jobs: list[dict] = []
    try:
        with stub_worker(redis_server.url, jobs.append), redis.Redis.from_url(redis_server.url) as store:
            with client.connect() as connection:
                connection.sendall(SEARCH)
                wait_until(lambda: jobs, timeout_s=5)
            wait_until(lambda: store.exists(cancelled_key(jobs[0]["id"])), timeout_s=SOON_S)
            assert store.pttl(cancelled_key(jobs[0]["id"])) <= 3000
        with stub_worker(redis_server.url, length_of_each):
            _, headers, body = client.request("GET", "/books/_search?q=wine")
    finally:
        stop(process)
    assert ("X-Rerank-Status", "applied") in headers
    assert [hit["_source"]["title"] for hit in json.loads(body)["hits"]["hits"]] == ["bbb", "a"]


def test_a_scorer_gives_up_as_soon_as_its_client_does(redis_server):
    ours, theirs = socket.socketpair()
    scorer = QueueScorer(redis_server.url, max_waiting=1)
    threading.Timer(0.3, theirs.close).start()
    with stub_worker(redis_server.url, lambda job: None):
        started = time.monotonic()
        with pytest.raises(ClientGone):
            scorer.score(ScoreRequest("tiny", "wine", ("a",), started + 10, client=Client(ours, Watcher())))
        assert time.monotonic() - started < 0.3 + SOON_S
        time.sleep(1.2)  # one BLPOP's time: then the only helper is free again
    with stub_worker(redis_server.url, length_of_each):
        assert scorer.score(ScoreRequest("tiny", "wine", ("a",), time.monotonic() + 2)).logits == (1.0,)
    scorer.close()
    ours.close()


def test_nothing_is_called_once_the_watch_has_ended():
    ours, theirs = socket.socketpair()
    called = threading.Event()
    client = Client(ours, Watcher())
    end = client.when_gone(called.set)
    end()
    theirs.close()
    assert not called.wait(0.5)
    client.when_gone(called.set)
    assert called.wait(SOON_S)
    assert client.is_gone
    ours.close()


def test_all_who_watch_one_client_are_told_at_once():
    """A multi-search waits for several jobs."""
    ours, theirs = socket.socketpair()
    client = Client(ours, Watcher())
    called = [threading.Event() for _ in range(16)]
    for event in called:
        client.when_gone(event.set)
    theirs.close()
    started = time.monotonic()
    assert all(event.wait(SOON_S) for event in called)
    assert time.monotonic() - started < SOON_S
    ours.close()


def test_a_client_that_left_cancels_all_jobs_of_its_multi_search(cluster, config, redis_server):
    found = b"".join([b'{"took":1,"responses":[', b",".join([search_answer("a", "bbb")] * 3), b"]}"])
    cluster.script = lambda received: answer(found)
    process, port = start_gateway(cluster.url, config, redis_server.url)
    jobs: list[dict] = []
    body = b'{"index":"books"}\n{"query":{"match":{"title":"wine"}}}\n' * 3
    head = b"POST /_msearch HTTP/1.1\r\nHost: g\r\nContent-Type: application/x-ndjson\r\n"
    try:
        with stub_worker(redis_server.url, jobs.append), redis.Redis.from_url(redis_server.url) as store:
            with RawClient(port, process.pid).connect() as connection:
                connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
                wait_until(lambda: len(jobs) == 3, timeout_s=5)
            keys = [cancelled_key(job["id"]) for job in jobs]
            wait_until(lambda: store.exists(*keys) == 3, timeout_s=SOON_S)
    finally:
        stop(process)
