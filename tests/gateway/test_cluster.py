"""The connections to the cluster: kept, found stale, given back."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.cluster import Cluster
from gateway.errors import ClusterUnreachable
from tests.conftest import find_free_port
from tests.gateway.doubles import ClusterDouble, answer


@pytest.fixture
def pool(cluster):
    pool = Cluster(cluster.url, connect_timeout_s=1)
    yield pool
    pool.close()


def test_a_connection_serves_request_after_request(cluster, pool):
    for _ in range(3):
        assert pool.send("GET", "/", []).read() == b"{}"
    assert cluster.connections == 1


def test_a_kept_connection_that_the_cluster_closed_is_not_used(cluster, pool):
    pool.send("GET", "/", []).read()
    cluster.drop_connections()
    time.sleep(0.1)
    assert pool.send("POST", "/_bulk", [], iter([b"x"])).read() == b"{}"


@pytest.mark.parametrize(
    ("method", "body", "is_read", "is_sent_again"),
    [
        pytest.param("GET", b"", False, True, id="GET"),
        pytest.param("GET", b"{}", False, True, id="GET with a buffered body"),
        pytest.param("POST", b"{}", True, True, id="a search by POST"),
        pytest.param("POST", b"{}", False, False, id="POST"),
        pytest.param("DELETE", b"", False, False, id="DELETE"),
        pytest.param("GET", iter([b"{}"]), False, False, id="a body that is gone"),
    ],
)
def test_a_kept_connection_that_closes_at_the_moment_of_use(
    cluster, pool, method, body, is_read, is_sent_again
):
    """What changes nothing is sent once more on a new connection; anything else might be done twice."""
    pool.send("GET", "/", []).read()
    cluster.script = lambda received: b"" if len(cluster.received) == 2 else answer(b"again")
    length = [(b"Content-Length", b"2")] if body else []
    if is_sent_again:
        assert pool.send(method, "/x", length, body, is_read=is_read).read() == b"again"
    else:
        with pytest.raises(ClusterUnreachable):
            pool.send(method, "/x", length, body, is_read=is_read)
    assert len(cluster.received) == (3 if is_sent_again else 2)


def test_a_new_connection_that_gives_no_answer_is_not_tried_again(cluster, pool):
    """The request itself may be what brings the cluster down."""
    cluster.script = lambda received: b""
    with pytest.raises(ClusterUnreachable):
        pool.send("GET", "/", [])
    assert len(cluster.received) == 1


def test_an_answer_that_is_closed_early_gives_its_connection_up(cluster, pool):
    cluster.script = lambda received: answer(b"x" * 10_000_000)
    response = pool.send("GET", "/", [])
    next(iter(response))
    response.close()
    cluster.script = lambda received: answer(b"{}")
    assert pool.send("GET", "/", []).read() == b"{}"
    assert cluster.connections == 2


def test_a_cluster_that_is_not_there_is_unreachable():
    with pytest.raises(ClusterUnreachable, match="cannot be reached"):
        Cluster(f"http://127.0.0.1:{find_free_port()}", connect_timeout_s=1).send("GET", "/", [])


def test_a_connection_that_is_not_accepted_costs_the_connect_timeout():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        started = time.monotonic()
        with pytest.raises(ClusterUnreachable):
            Cluster(f"http://127.0.0.1:{address[1]}", connect_timeout_s=0.3).send("GET", "/", [])
        assert time.monotonic() - started < 2
        for one in waiting:
            one.close()


@pytest.fixture
def nodes():
    """Two nodes."""
    nodes = [ClusterDouble(), ClusterDouble()]
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def several(nodes):
    pool = Cluster(",".join(node.url for node in nodes), connect_timeout_s=1)
    yield pool
    pool.close()


def test_requests_go_to_the_nodes_in_turn(nodes, several):
    for _ in range(6):
        several.send("GET", "/", []).read()
    assert [len(node.received) for node in nodes] == [3, 3]
    assert [node.connections for node in nodes] == [1, 1]


@pytest.mark.parametrize(
    ("method", "headers", "body"),
    [
        pytest.param("GET", [], [], id="GET"),
        pytest.param("POST", [(b"Content-Length", b"2")], [b"{}"], id="a write"),
        pytest.param("DELETE", [], [], id="DELETE"),
        pytest.param("POST", [], [b"{", b"}"], id="a stream"),
    ],
)
def test_a_node_that_cannot_be_reached_costs_nothing(nodes, several, method, headers, body):
    """Nothing of the request was sent and nothing taken from its body, whatever the method."""
    nodes[0].close()
    for _ in range(4):
        one = iter(body) if len(body) > 1 else b"".join(body)
        assert several.send(method, "/x", headers, one).read() == b"{}"
    assert [received.body for received in nodes[1].received] == [b"".join(body)] * 4


def test_a_node_that_comes_back_is_used_again(nodes, several):
    nodes[0].close()
    several.send("GET", "/", []).read()
    again = ClusterDouble(nodes[0].port)
    try:
        time.sleep(1.1)  # the first back-off is a second
        for _ in range(2):
            several.send("GET", "/", []).read()
        assert again.received
    finally:
        again.close()


def test_all_nodes_gone_is_a_cluster_that_is_unreachable_until_one_is_back(nodes, several):
    for node in nodes:
        node.close()
    with pytest.raises(ClusterUnreachable):
        several.send("GET", "/", [])
    again = ClusterDouble(nodes[1].port)
    try:
        assert several.send("GET", "/", []).read() == b"{}"
    finally:
        again.close()


@pytest.mark.parametrize(
    ("method", "body", "is_read", "is_sent_again"),
    [
        pytest.param("GET", b"", False, True, id="GET"),
        pytest.param("POST", b"{}", True, True, id="a search by POST"),
        pytest.param("POST", b"{}", False, False, id="a write"),
        pytest.param("POST", iter([b"{}"]), True, False, id="a body that is gone"),
    ],
)
def test_a_node_that_dies_over_a_request(nodes, several, method, body, is_read, is_sent_again):
    nodes[0].script = lambda received: b""
    length = [(b"Content-Length", b"2")] if body else []
    if is_sent_again:
        assert several.send(method, "/x", length, body, is_read=is_read).read() == b"{}"
    else:
        with pytest.raises(ClusterUnreachable):
            several.send(method, "/x", length, body, is_read=is_read)
    assert [len(node.received) for node in nodes] == [1, 1 if is_sent_again else 0]


def test_a_request_over_which_every_node_dies_is_sent_twice_at_most(nodes, several):
    for node in nodes:
        node.script = lambda received: b""
    with pytest.raises(ClusterUnreachable):
        several.send("GET", "/x", [])
    assert sum(len(node.received) for node in nodes) == 2


def test_readers_do_not_notice_nodes_that_come_and_go(nodes, several):
    over = threading.Event()

    def read():
        number = 0
        while not over.is_set():
            assert several.send("GET", "/", []).read() == b"{}"
            number += 1
        return number

    with ThreadPoolExecutor(8) as threads:
        reading = [threads.submit(read) for _ in range(8)]
        for _ in range(4):
            time.sleep(0.3)
            nodes[0].close()
            time.sleep(0.3)
            nodes[0] = ClusterDouble(nodes[0].port)
        over.set()
    assert all(reader.result() > 10 for reader in reading)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "502 Bad Gateway", "503 Unavailable"])
def test_a_refusal_is_an_answer_and_not_asked_again(nodes, several, status):
    nodes[0].script = lambda received: answer(status=status)
    assert several.send("GET", "/", []).status == int(status[:3])
    assert nodes[1].received == []


ELASTIC = "X-elastic-product: Elasticsearch"


@pytest.mark.parametrize(
    ("status", "headers", "engine"),
    [
        pytest.param("200 OK", [ELASTIC], "elasticsearch", id="Elasticsearch"),
        pytest.param("401 Unauthorized", [ELASTIC], "elasticsearch", id="Elasticsearch that asks who we are"),
        pytest.param("503 Service Unavailable", [ELASTIC], "elasticsearch", id="Elasticsearch in trouble"),
        pytest.param("200 OK", [], "opensearch", id="OpenSearch"),
        pytest.param("401 Unauthorized", [], "opensearch", id="OpenSearch that asks who we are"),
        pytest.param("502 Bad Gateway", [], None, id="something in between"),
    ],
)
def test_the_engine_is_told_by_its_header_and_asked_for_once(cluster, pool, status, headers, engine):
    cluster.script = lambda received: answer(status=status, headers=headers)
    assert [pool.find_engine(), pool.find_engine()] == [engine, engine]
    assert [f"{one.method} {one.target}" for one in cluster.received] == ["HEAD /"] * (1 if engine else 2)


def test_an_answer_that_names_elasticsearch_saves_the_question(cluster, pool):
    cluster.script = lambda received: answer(b"{}", "404 Not Found", [ELASTIC])
    pool.send("GET", "/nothing", []).read()
    assert pool.find_engine() == "elasticsearch"
    assert len(cluster.received) == 1


def test_the_engine_of_a_cluster_that_is_not_there_is_not_known():
    assert Cluster(f"http://127.0.0.1:{find_free_port()}", connect_timeout_s=1).find_engine() is None
