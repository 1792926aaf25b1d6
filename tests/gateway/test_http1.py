"""What is ever written to the cluster as a head."""

from __future__ import annotations

import pytest

from gateway.errors import RefusedRequest
from gateway.http1 import write_head


def test_a_head_is_written_as_given():
    headers = [(b"Host", b"h"), (b"x-a", b" 1\t\xff"), (b"X-Empty", b"")]
    written = b"GET /a?b#c HTTP/1.1\r\nHost: h\r\nx-a:  1\t\xff\r\nX-Empty: \r\n\r\n"
    assert write_head("GET", "/a?b#c", headers) == written


@pytest.mark.parametrize(
    ("method", "target", "header"),
    [
        pytest.param("GET", "/a\r\nX: 1", (b"X", b"1"), id="line break in the target"),
        pytest.param("GET", "/a b", (b"X", b"1"), id="blank in the target"),
        pytest.param("GET", "", (b"X", b"1"), id="no target"),
        pytest.param("GET", "/ü", (b"X", b"1"), id="target outside ASCII"),
        pytest.param("GET", "/\u20ac", (b"X", b"1"), id="target outside Latin-1"),
        pytest.param("GET /x", "/", (b"X", b"1"), id="blank in the method"),
        pytest.param("GET", "/", (b"X", b"1\r\nY: 2"), id="line break in a value"),
        pytest.param("GET", "/", (b"X", b"1\nY: 2"), id="bare line feed in a value"),
        pytest.param("GET", "/", (b"X", b"1\r"), id="carriage return in a value"),
        pytest.param("GET", "/", (b"X", b"\x00"), id="NUL in a value"),
        pytest.param("GET", "/", (b"X: 1\r\nY", b"2"), id="line break in a name"),
        pytest.param("GET", "/", (b"X ", b"1"), id="blank in a name"),
        pytest.param("GET", "/", (b"", b"1"), id="no name"),
    ],
)
def test_what_would_be_another_head_is_refused(method, target, header):
    with pytest.raises(RefusedRequest):
        write_head(method, target, [header])
