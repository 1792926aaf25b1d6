"""Answers of the cluster that are not what they should be: none shifts to another request or looks whole."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import count

import pytest

from gateway.http1 import HEAD_LIMIT_BYTES
from tests.gateway.doubles import answer, read_answers

pytestmark = pytest.mark.system

OK = b"HTTP/1.1 200 OK\r\n"
TWO = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
RIGHT = b"right"


def case(name: str, *values: object):
    return pytest.param(*values, id=name)


def ask(gateway, cluster, first: bytes | Iterable[bytes], method: str = "GET"):
    """The answers to two requests on one connection: the cluster's ``first``, then a right one."""
    numbers = count()
    cluster.drop_connections()
    cluster.script = lambda received: first if next(numbers) == 0 else answer(RIGHT)
    with gateway.connect() as connection:
        connection.sendall(f"{method} /1 HTTP/1.1\r\nHost: g\r\n\r\n".encode())
        connection.sendall(b"GET /2 HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        return read_answers(connection, [method])


@pytest.mark.parametrize(
    "raw",
    [
        case("two framings", OK + TWO + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n"),
        case("two lengths", OK + TWO + b"Content-Length: 3\r\n\r\n{} "),
        case("a length with a sign", OK + b"Content-Length: +2\r\n\r\n{}"),
        case("an unknown coding", OK + b"Transfer-Encoding: gzip\r\n\r\n{}"),
        case("a coding before chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        case("a folded line", OK + b"X: 1\r\n folded\r\n" + TWO + b"\r\n{}"),
        case("bare line feeds", b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"),
        case("a carriage return in a value", OK + b"X: a\rSet-Cookie: b\r\n" + TWO + b"\r\n{}"),
        case("NUL in a value", OK + b"X: a\x00b\r\n" + TWO + b"\r\n{}"),
        case("a blank in a name", OK + b"X Y: a\r\n" + TWO + b"\r\n{}"),
        case("no HTTP", b"SSH-2.0-OpenSSH_9\r\n"),
        case("another protocol", b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"),
        case("only half a head", OK + b"X: "),
        case("a head without end", OK + b"X: " + b"a" * (2 * HEAD_LIMIT_BYTES)),
        case("an end before the body", OK + TWO + b"\r\n"),
        case("an end before the first chunk", OK + CHUNKED + b"\r\n"),
        case("no answer", b""),
    ],
)
def test_what_cannot_be_read_is_a_bad_gateway(gateway, cluster, raw):
    first, *rest = ask(gateway, cluster, [raw, b""])
    assert first.status == 502
    assert b"cluster_unreachable_exception" in first.body
    assert [(answered.status, answered.body) for answered in rest] in ([], [(200, RIGHT)])


@pytest.mark.parametrize(
    ("method", "raw", "status", "body"),
    [
        case("more than its length", "GET", OK + TWO + b"\r\n{}" + POISON, 200, b"{}"),
        case("noise behind it", "GET", OK + TWO + b"\r\n{}noise", 200, b"{}"),
        case("noise behind the last chunk", "GET", OK + CHUNKED + b"\r\n0\r\n\r\nnoise", 200, b""),
        case("HEAD with a body", "HEAD", OK + b"Content-Length: 63\r\n\r\n" + POISON, 200, b""),
        case("HEAD with chunks", "HEAD", OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n", 200, b""),
        case("204 with a length", "GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 63\r\n\r\n", 204, b""),
        case("204 with a body", "GET", b"HTTP/1.1 204 No Content\r\n" + TWO + b"\r\n{}", 204, b""),
        case("304 with a length", "GET", b"HTTP/1.1 304 Not Modified\r\n" + TWO + b"\r\n", 304, b""),
        case("304 with a body", "GET", b"HTTP/1.1 304 Not Modified\r\n" + TWO + b"\r\n" + POISON, 304, b""),
        case(
            "interim answers before it",
            "GET",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer(b"{}"),
            200,
            b"{}",
        ),
        case("trailers", "GET", OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX-Poison: 1\r\n\r\n", 200, b"{}"),
        case("no reason", "GET", b"HTTP/1.1 200\r\n" + TWO + b"\r\n{}", 200, b"{}"),
        case("byte by byte", "GET", [bytes([byte]) for byte in answer(b"{}")], 200, b"{}"),
    ],
)
def test_what_is_left_over_is_never_the_next_answer(gateway, cluster, method, raw, status, body):
    first, second = ask(gateway, cluster, raw, method)
    assert (first.status, first.body) == (status, body)
    assert first.header("x-poison") is None
    assert (second.status, second.body) == (200, RIGHT)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_an_answer_up_to_the_end_of_the_connection_is_whole(gateway, cluster, version):
    def until_the_end():
        yield f"HTTP/{version} 200 OK\r\n\r\n".encode()
        yield b"some"
        yield b"thing"
        yield b""

    first, second = ask(gateway, cluster, until_the_end())
    assert (first.body, first.is_whole) == (b"something", True)
    assert second.body == RIGHT


@pytest.mark.parametrize(
    ("start", "rest"),
    [
        case("a length not reached", OK + b"Content-Length: 9\r\n\r\n{}", b""),
        case("no last chunk", OK + CHUNKED + b"\r\n2\r\n{}\r\n", b""),
        case("in the middle of a chunk", OK + CHUNKED + b"\r\n9\r\n{}", b""),
        case("a malformed chunk", OK + CHUNKED + b"\r\n2\r\n{}\r\n", b"zz\r\n"),
    ],
)
def test_what_breaks_off_does_not_look_whole_and_ends_the_connection(gateway, cluster, start, rest):
    def breaking_off():
        yield start
        time.sleep(0.2)  # the client has that much
        yield from (rest, b"")

    (first,) = ask(gateway, cluster, breaking_off())
    assert (first.status, first.body, first.is_whole) == (200, b"{}", False)


def test_what_breaks_off_resets_the_connection_where_its_end_would_be_the_answers(gateway, cluster):
    """A client of HTTP/1.0 knows no chunks."""

    def breaking_off():
        yield OK + CHUNKED + b"\r\n2\r\n{}\r\n"
        time.sleep(0.2)
        yield b""

    cluster.script = lambda received: breaking_off()
    with gateway.connect() as connection:
        connection.sendall(b"GET /1 HTTP/1.0\r\n\r\n")
        assert connection.recv(10_000).endswith(b"\r\n\r\n{}")
        with pytest.raises(ConnectionResetError):
            connection.recv(10_000)


def test_what_comes_while_nobody_asks_costs_the_connection(gateway, cluster):
    """An answer that nobody waits for is not kept for the next who does."""

    cluster.drop_connections()
    cluster.script = lambda received: [answer(b"{}"), POISON] if received.target == "/1" else answer(RIGHT)
    assert gateway.request("GET", "/1")[2] == b"{}"
    time.sleep(0.1)
    assert gateway.request("GET", "/2")[2] == RIGHT
