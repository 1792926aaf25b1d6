"""What passes through a running gateway: all of it, byte for byte, both ways."""

from __future__ import annotations

import gzip
import json
import socket
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import find_free_port
from tests.gateway.doubles import (
    Client,
    answer,
    join_chunks,
    start_gateway,
    stop,
)

pytestmark = pytest.mark.system

BULK = b'{"index":{}}\n{"title":"a"}\n\n{"index":{}}\n{"title":"b"}\n'
NDJSON = "Content-Type: application/x-ndjson"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/books/_doc/a%2Fb", id="encoded slash"),
        pytest.param("//books//_count", id="double slashes"),
        pytest.param("/books/../_cat/indices/", id="dots and a slash at the end"),
        pytest.param("/%3Clogs-%7Bnow%2Fd%7D%3E/_count", id="date math"),
        pytest.param("/books;v=1/_doc/1;x", id="semicolons"),
        pytest.param("/books/_count?pretty&v=&q=a+b&q=%20c&&q", id="empty and repeated parameters"),
        pytest.param("/%c3%bc/_doc/%C3%9C", id="letter case of the encoding"),
        pytest.param("/books/_count?q=a#b", id="fragment"),
        pytest.param("/books/_doc/_rerank/health", id="our own name elsewhere"),
        pytest.param("/_reranker", id="a name that only starts like ours"),
        pytest.param("/" + "a" * 5000, id="longer than the engines take"),
    ],
)
def test_the_target_reaches_the_cluster_as_it_is(gateway, cluster, target):
    status, _, body = gateway.request("GET", target)
    assert (status, body) == (200, b"{}")
    assert [received.target for received in cluster.received] == [target]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("body", [b"", b'{"query":{}}'], ids=["without body", "with body"])
def test_methods_pass_with_and_without_body(gateway, cluster, method, body):
    status, _, answered = gateway.request(method, "/books/_count", body=body)
    assert (status, answered) == (200, b"{}")
    assert [(received.method, received.body) for received in cluster.received] == [(method, body)]
    assert cluster.received[0].header("content-length") == (str(len(body)) if body else None)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param([NDJSON], BULK, id="NDJSON with empty line and final newline"),
        pytest.param([NDJSON, "Content-Encoding: gzip"], gzip.compress(BULK), id="gzip"),
        pytest.param(["Content-Type: application/cbor"], bytes(range(256)), id="any bytes"),
        pytest.param(["Content-Type: application/x-www-form-urlencoded"], b"a=1&b=%20", id="form"),
        pytest.param([], b"x" * 3_000_000, id="large"),
    ],
)
def test_the_body_reaches_the_cluster_as_it_is(gateway, cluster, headers, body):
    gateway.request("POST", "/books/_bulk", headers, body)
    assert cluster.received[0].body == body
    assert cluster.received[0].header("content-length") == str(len(body))
    assert cluster.received[0].header("transfer-encoding") is None


def test_a_chunked_body_reaches_the_cluster_chunked(gateway, cluster):
    head = b"POST /books/_bulk HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    gateway.exchange(head + b"3\r\n{}\n\r\n4;ext=1\r\n{ }\n\r\n0\r\n\r\n")
    received = cluster.received[0]
    assert received.body == b"{}\n{ }\n"
    assert received.header("transfer-encoding") == "chunked"
    assert received.header("content-length") is None


def test_headers_reach_the_cluster_in_order_with_repeats(gateway, cluster):
    sent = [
        "User-Agent: someone",
        "X-Opaque-Id: 7",
        "X_Opaque_Id: 8",
        "Accept: application/vnd.elasticsearch+json; compatible-with=9",
        "X-Opaque-Id: 9",
        "Authorization: ApiKey abc==",
        "X-Empty: ",
        "Accept-Encoding: br, zstd",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Protocol: http",
    ]
    gateway.request("GET", "/", sent)
    host, *received = cluster.received[0].headers
    assert host == ("Host", f"127.0.0.1:{cluster.port}")
    assert [f"{name}: {value}".lower() for name, value in received] == [line.lower() for line in sent]


def test_headers_for_one_connection_stay_on_it(gateway, cluster):
    lines = [
        "GET / HTTP/1.1",
        "Host: g",
        "Connection: keep-alive, X-Hop, Host",
        "X-Hop: 1",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "X-End: 1",
    ]
    lines += ["Proxy-Authorization: x", "Upgrade: h2c", "Expect: 100-continue", "Trailer: X"]
    with gateway.connect() as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        while not connection.recv(1000).endswith(b"{}"):
            pass
    assert [name for name, _ in cluster.received[0].headers] == ["Host", "X-End"]


ANSWER_HEADERS = [
    "X-elastic-product: Elasticsearch",
    'Warning: 299 Elasticsearch-9 "first"',
    "content-type: application/vnd.elasticsearch+json;compatible-with=9",
    'Warning: 299 Elasticsearch-9 "second"',
    "Set-Cookie: a=1",
    "Set-Cookie: b=2",
    "Date: Sat, 01 Jan 2000 00:00:00 GMT",
    "Server: the cluster's own",
    "Location: /elsewhere?a b",
    "ETag: abc",
]


@pytest.mark.parametrize(
    "status", ["200 OK", "201 Created", "299 ", "301 Moved", "404 Not here", "429 Slow", "500 Oops", "503 X"]
)
def test_the_answer_reaches_the_client_as_it_is(gateway, cluster, status):
    cluster.script = lambda received: answer(b"\x00\xff body", status, ANSWER_HEADERS)
    head, body = gateway.exchange(b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines == [f"HTTP/1.1 {status}", "Connection: close", *ANSWER_HEADERS, "content-length: 7"]
    assert body == b"\x00\xff body"


@pytest.mark.parametrize(
    ("raw", "framing"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length: 0", id="empty"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", None, id="204"),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "Content-Length: 9", id="304"
        ),
    ],
)
def test_answers_without_body_have_no_headers_added(gateway, cluster, raw, framing):
    cluster.script = lambda received: raw
    head, body = gateway.exchange(b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert head.decode().split("\r\n")[1:] == ["Connection: close"] + ([framing] if framing else [])
    assert body == b""


def test_head_keeps_the_length_that_get_would_have(gateway, cluster):
    cluster.script = lambda received: b"HTTP/1.1 200 OK\r\nContent-Length: 538\r\n\r\n"
    status, headers, body = gateway.request("HEAD", "/books")
    assert (status, body) == (200, b"")
    assert ("Content-Length", "538") in headers


def test_a_chunked_answer_reaches_the_client_chunked(gateway, cluster):
    cluster.script = lambda received: (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    head, body = gateway.exchange(b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"content-length" not in head.lower()
    assert join_chunks(body) == b"abcde"


def test_a_chunked_answer_leaves_in_one_piece_with_its_end(gateway, cluster):
    """Some clients give a connection up whose last, empty chunk is not there when the body is."""
    framed = b"2\r\n{}\r\n0\r\n\r\n"
    cluster.script = lambda received: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed
    with gateway.connect() as connection:
        for _ in range(30):  # two pieces would sometimes come as one
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: g\r\n\r\n")
            assert connection.recv(10_000).endswith(b"\r\n\r\n" + framed)


def test_a_compressed_answer_is_not_touched(gateway, cluster):
    packed = gzip.compress(b"{}" * 100)
    cluster.script = lambda received: answer(packed, headers=["content-encoding: gzip"])
    _, headers, body = gateway.request("GET", "/x", ["Accept-Encoding: gzip"])
    assert ("content-encoding", "gzip") in headers
    assert body == packed


def test_the_client_is_told_to_continue_before_it_sends_its_body(gateway, cluster):
    with gateway.connect() as connection:
        head = "POST /_bulk HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
    assert cluster.received[0].body == b"{}"


def test_one_connection_serves_many_requests(gateway, cluster):
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    connection.connect()
    address = connection.sock.getsockname()
    for number in range(5):
        connection.request("GET", f"/{number}")
        assert connection.getresponse().read() == b"{}"
    assert connection.sock.getsockname() == address
    connection.close()
    assert cluster.connections <= 1  # each answer has given the cluster's connection back
    assert [received.target for received in cluster.received] == ["/0", "/1", "/2", "/3", "/4"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param(["Content-Length: 3", "Transfer-Encoding: chunked"], 400, id="two lengths"),
        pytest.param(["Transfer-Encoding: chunked, identity"], 400, id="chunked is not last"),
        pytest.param(["Transfer-Encoding: xchunked"], 501, id="unknown coding"),
        pytest.param(["Content-Length: 3", "Content-Length: 4"], 400, id="length twice"),
        pytest.param(["Content-Length: +3"], 400, id="length with a sign"),
        pytest.param(["Transfer-Encoding : chunked"], 400, id="blank before the colon"),
        pytest.param(["X: 1", " folded: 1"], 400, id="folded line"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(gateway, cluster, headers, status):
    lines = ["POST / HTTP/1.1", "Host: g", *headers, "", "0", "", "GET /smuggled HTTP/1.1", "", ""]
    head, _ = gateway.exchange("\r\n".join(lines).encode())
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert cluster.received == []


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"CONNECT books:9200 HTTP/1.1\r\nHost: g\r\n\r\n", id="a tunnel"),
        pytest.param(
            b"POST /_bulk HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            id="malformed chunk",
        ),
    ],
)
def test_what_cannot_be_passed_on_is_refused_in_the_engines_shape(gateway, cluster, raw):
    head, body = gateway.exchange(raw)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["status"] == 400


def test_a_body_that_ends_early_does_not_look_whole_to_the_cluster(gateway, cluster):
    with gateway.connect() as connection:
        connection.sendall(b"POST /_bulk HTTP/1.1\r\nHost: g\r\nContent-Length: 10\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        answered = b""
        while piece := connection.recv(10_000):
            answered += piece
    head, _, body = answered.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["type"] == "unreadable_body_exception"
    assert [received.body for received in cluster.received if len(received.body) == 10] == []


def test_a_cluster_that_does_not_answer_is_told_in_the_engines_shape(config):
    process, port = start_gateway(f"http://127.0.0.1:{find_free_port()}", config, "redis://127.0.0.1:1/0")
    try:
        head, body = Client(port, process.pid).exchange(
            b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
        )
        _, health = Client(port, process.pid).exchange(
            b"GET /_rerank/health HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"
        )
    finally:
        stop(process)
    error = json.loads(body)
    assert head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert error["status"] == 502
    assert error["error"]["type"] == "cluster_unreachable_exception"
    assert error["error"]["root_cause"] == [{key: error["error"][key] for key in ("type", "reason")}]
    assert json.loads(health)["status"] == "red"


def test_a_large_answer_streams_through_with_memory_flat(gateway, cluster):
    size = 200_000_000
    piece = b"x" * 1_000_000
    cluster.script = lambda received: [
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size,
        *[piece] * (size // len(piece)),
    ]
    before = _resident_bytes(gateway)
    received, peak = 0, 0
    with gateway.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        while data := connection.recv(1_000_000):
            received += len(data)
            peak = max(peak, _resident_bytes(gateway))
    assert received > size
    assert peak - before < 20_000_000


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        pytest.param(b"Content-Length: 4\r\n\r\nab", b"cd", id="with a length"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"2\r\ncd\r\n0\r\n\r\n", id="in chunks"
        ),
        pytest.param(b"Transfer-Encoding: chunked\r\n\r\n4\r\nab", b"cd\r\n0\r\n\r\n", id="half a chunk"),
    ],
)
def test_an_answer_starts_before_it_is_whole(gateway, cluster, start, rest):
    def slowly(received):
        yield b"HTTP/1.1 200 OK\r\n" + start
        time.sleep(1.0)
        yield rest

    cluster.script = slowly
    with gateway.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        started = time.monotonic()
        seen = b""
        while b"ab" not in seen.partition(b"\r\n\r\n")[2]:
            seen += connection.recv(1000)
        assert time.monotonic() - started < 0.8


def test_a_client_that_goes_away_ends_the_clusters_work(gateway, cluster):
    def endlessly(received):
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b"x" * 65536 + b"\r\n"

    cluster.script = endlessly
    with gateway.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: g\r\n\r\n")
        connection.recv(100_000)
    assert cluster.closed_early.wait(10)


def test_an_answer_that_breaks_off_breaks_off_for_the_client(gateway, cluster):
    """It must not look whole: no last chunk is written."""

    def breaking_off(received):
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        cluster.drop_connections()

    cluster.script = breaking_off
    head, body = gateway.exchange(b"GET /x HTTP/1.1\r\nHost: g\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b"3\r\nabc\r\n"


def _resident_bytes(gateway: Client) -> int:
    """Of the process and its children."""
    pids = [gateway.pid, *gateway.find_children()]
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)
