"""Requests that two servers could read in two ways: refused, or sent on as exactly one, well-formed."""

from __future__ import annotations

import json

import pytest

from tests.gateway.doubles import read_answers

pytestmark = pytest.mark.system

CHUNKED = b"Transfer-Encoding: chunked"
ABC = b"3\r\nabc\r\n0\r\n\r\n"
NEXT = b"GET /smuggled HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([b"POST /_bulk HTTP/1.1", b"Host: g", *lines, b"", b""]) + body


def get(target: bytes = b"/x", *lines: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: g", *lines, b"", b""])


def case(name: str, *values: object):
    return pytest.param(*values, id=name)


REFUSED = [
    # two lengths
    case("Content-Length and chunked", post(b"Content-Length: 4", CHUNKED, body=ABC), 400),
    case("chunked and Content-Length", post(CHUNKED, b"Content-Length: 4", body=ABC), 400),
    case("two Content-Lengths", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), 400),
    case("the same Content-Length twice", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), 400),
    case("a list of lengths", post(b"Content-Length: 3, 3", body=b"abc"), 400),
    # transfer codings
    case("xchunked", post(b"Transfer-Encoding: xchunked", body=ABC), 501),
    case("chunked is not last", post(b"Transfer-Encoding: chunked, identity", body=ABC), 400),
    case("identity alone", post(b"Transfer-Encoding: identity", body=ABC), 400),
    case("identity before chunked", post(b"Transfer-Encoding: identity, chunked", body=ABC), 400),
    case("gzip before chunked", post(b"Transfer-Encoding: gzip, chunked", body=ABC), 400),
    case("chunked twice in a list", post(b"Transfer-Encoding: chunked, chunked", body=ABC), 400),
    case("chunked twice", post(CHUNKED, CHUNKED, body=ABC), 400),
    case("no coding", post(b"Transfer-Encoding:", body=ABC), 501),
    case("a quoted coding", post(b'Transfer-Encoding: "chunked"', body=ABC), 501),
    case("vertical tab before", post(b"Transfer-Encoding: \x0bchunked", body=ABC), 400),
    case("vertical tab behind", post(b"Transfer-Encoding: chunked\x0b", body=ABC), 400),
    case("carriage return inside", post(b"Transfer-Encoding: chun\rked", body=ABC), 400),
    case("a folded coding", post(b"Transfer-Encoding:", b" chunked", body=ABC), 400),
    case("blank before the colon", post(b"Transfer-Encoding : chunked", body=ABC), 400),
    case("chunked in HTTP/1.0", b"POST /_bulk HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + ABC, 400),
    # lengths that are no number
    *(
        case(f"length {value!r}", post(b"Content-Length: " + value, body=b"abc"), 400)
        for value in (b"-1", b"+3", b"0_3", b"0x3", b"3 3", b"", b"\xb2", "\u0663".encode())
    ),
    # chunks
    *(
        case(f"chunks {framed!r}", post(CHUNKED, body=framed + b"\r\nabc\r\n0\r\n\r\n"), 400)
        for framed in (
            b"3x",
            b"-3",
            b"+3",
            b"0x3",
            b"3 ",
            b"0_3",
            b"",
            b"3;a\nb",
            b"3;a\rb",
            b'3;a="',
            b"\n3",
        )
    ),
    case("a chunk that is too long", post(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    case("chunks with bare line feeds", post(CHUNKED, body=b"3\nabc\n0\n\n"), 400),
    case("no line after the last chunk", post(CHUNKED, body=b"3\r\nabc\r\n0\r\n"), 400),
    case("a length as trailer", post(CHUNKED, body=b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n"), 400),
    case("malformed after much", post(CHUNKED, body=b"40000\r\n" + b"x" * 0x40000 + b"\r\nzz\r\n"), 400),
    # header lines
    case("a folded line", post(b"X: 1", b" folded", b"Content-Length: 0"), 400),
    case("NUL in a value", post(b"X: a\x00b", b"Content-Length: 0"), 400),
    case("NUL in a name", post(b"X\x00: a", b"Content-Length: 0"), 400),
    case("blank in a name", post(b"X Y: a", b"Content-Length: 0"), 400),
    case("no colon", post(b"Nothing", b"Content-Length: 0"), 400),
    case("no name", post(b": a", b"Content-Length: 0"), 400),
    case("bare line feed", post(b"X: a\nY: b", b"Content-Length: 0"), 400),
    case("bare carriage return", post(b"X: a\rY: b", b"Content-Length: 0"), 400),
    case("only line feeds", b"POST /_bulk HTTP/1.1\nHost: g\nContent-Length: 0\n\n", 400),
    case("two hosts", get(b"/x", b"Host: h"), 400),
    case("an unknown expectation", post(b"Expect: 200-ok", b"Content-Length: 3", body=b"abc"), 417),
    case("a header of 70 kB", get(b"/x", b"X: " + b"a" * 70_000), 431),
    case("1001 headers", get(b"/x", *[b"X: a"] * 1001), 431),
    # request lines
    case("bytes outside ASCII", get(b"/\xc3\xbc"), 400),
    case("a blank in the target", get(b"/x y"), 400),
    case("two blanks", b"GET  /x HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    case("tabs", b"GET\t/x\tHTTP/1.1\r\nHost: g\r\n\r\n", 400),
    case("a host as target", get(b"other:9200"), 400),
    case("the asterisk for GET", get(b"*"), 400),
    case("a target of 9 kB", get(b"/" + b"a" * 9000), 414),
    case("a tunnel", b"CONNECT other:9200 HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    case("a method that is no token", b"GE(T /x HTTP/1.1\r\nHost: g\r\n\r\n", 400),
    case("HTTP/0.9", b"GET /x\r\n", 400),
    case("HTTP/2.0", b"GET /x HTTP/2.0\r\nHost: g\r\n\r\n", 400),
    case("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    case("a load balancer's preface", b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n" + get(), 400),
    case("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
]

PASSED = [
    case("coding in capitals", post(b"TRANSFER-ENCODING: ChUnKeD", body=ABC), post(CHUNKED, body=ABC)),
    case("tabs around the coding", post(b"Transfer-Encoding:\tchunked\t", body=ABC), post(CHUNKED, body=ABC)),
    case("chunk extensions", post(CHUNKED, body=b"3;a=b\r\nabc\r\n0;c\r\n\r\n"), post(CHUNKED, body=ABC)),
    case("trailers", post(CHUNKED, body=b"3\r\nabc\r\n0\r\nX: 1\r\n\r\n"), post(CHUNKED, body=ABC)),
    case(
        "small chunks",
        post(CHUNKED, body=b"1\r\na\r\n02\r\nbc\r\n00\r\n\r\n"),
        post(CHUNKED, body=b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"),
    ),
    case("no chunk but the last", post(CHUNKED, body=b"0\r\n\r\n"), post(CHUNKED, body=b"0\r\n\r\n")),
    case(
        "a name that is not the coding's",
        post(b"Transfer_Encoding: chunked", b"Content-Length: 3", body=b"abc"),
        post(b"Transfer_Encoding: chunked", b"Content-Length: 3", body=b"abc"),
    ),
    case(
        "a length called an option of the connection",
        post(b"Connection: Content-Length", b"Content-Length: 3", body=b"abc"),
        post(b"Content-Length: 3", body=b"abc"),
    ),
    case(
        "GET with a body",
        get(b"/x", b"Content-Length: 3") + b"abc",
        get(b"/x", b"Content-Length: 3") + b"abc",
    ),
    case("bytes outside ASCII in a value", get(b"/x", b"X: \xff\xfe"), get(b"/x", b"X: \xff\xfe")),
    case("an encoded line break", get(b"/a%0d%0aX:%20b"), get(b"/a%0d%0aX:%20b")),
    case("a whole URL", get(b"http://other:1/x?y=http://z"), get(b"/x?y=http://z")),
    case("a whole URL without path", get(b"http://other?y"), get(b"/?y")),
    case("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: g\r\n\r\n"),
    case("TRACE", b"TRACE /x HTTP/1.1\r\nHost: g\r\n\r\n", b"TRACE /x HTTP/1.1\r\nHost: g\r\n\r\n"),
    case("no host", b"GET /x HTTP/1.1\r\n\r\n", get()),
    case("HTTP/1.0 kept alive", b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", get()),
    case("HTTP/1.2", b"GET /x HTTP/1.2\r\nHost: g\r\n\r\n", get()),
    case("an empty line before", b"\r\n" + get(), get()),
    case(
        "an upgrade to HTTP/2",
        get(b"/x", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
        get(),
    ),
    case("an upgrade to WebSocket", get(b"/x", b"Connection: Upgrade", b"Upgrade: websocket"), get()),
]


@pytest.mark.parametrize(("raw", "status"), REFUSED)
def test_refused_and_the_connection_closed(gateway, cluster, raw, status):
    """What follows on the connection is never read as a request, and nothing whole reaches the cluster."""
    with gateway.connect() as connection:
        connection.sendall(raw + NEXT)
        (answered,) = read_answers(connection)
    assert answered.status == status
    assert answered.header("connection") == "close"
    assert json.loads(answered.body)["status"] == status
    assert json.loads(answered.body)["error"]["type"].endswith("_exception")
    assert cluster.received == []


@pytest.mark.parametrize(("raw", "sent_on"), PASSED)
def test_sent_on_as_one_request(gateway, cluster, raw, sent_on):
    """Byte for byte what another server must read, Host excepted; the next request stands on its own."""
    with gateway.connect() as connection:
        connection.sendall(raw + NEXT)
        answers = read_answers(connection)
    assert [answered.status for answered in answers] == [200, 200]
    host = f"Host: 127.0.0.1:{cluster.port}".encode()
    first, second = [received.head + received.framed_body for received in cluster.received]
    assert first == sent_on.replace(b"Host: g", host)
    assert second == b"GET /smuggled HTTP/1.1\r\n" + host + b"\r\n\r\n"


def test_http_1_0_closes_without_being_asked(gateway, cluster):
    with gateway.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.0\r\n\r\n" + NEXT)
        (answered,) = read_answers(connection)
    assert (answered.status, answered.header("connection")) == (200, "close")
    assert len(cluster.received) == 1


def test_pipelined_requests_are_answered_in_their_order(gateway, cluster):
    with gateway.connect() as connection:
        targets = [f"/{number}" for number in range(20)]
        connection.sendall(b"".join(get(target.encode()) for target in targets) + NEXT)
        assert [answered.status for answered in read_answers(connection)] == [200] * 21
    assert [received.target for received in cluster.received] == [*targets, "/smuggled"]


def test_a_chunk_larger_than_any_number_keeps_the_request_open(gateway, cluster):
    """It is no other server's business: chunks are written anew, never passed on."""
    with gateway.connect() as connection:
        connection.sendall(post(CHUNKED, body=b"f" * 20 + b"\r\nabc\r\n0\r\n\r\n") + NEXT)
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert cluster.received == []
