"""Clients that come by TLS."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.gateway.doubles import (
    RERANK_TOML,
    Client,
    ClusterDouble,
    answer,
    read_answers,
    start_gateway,
    stop,
)

pytestmark = pytest.mark.system

GET = b"GET /x HTTP/1.1\r\nHost: g\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(authority, running_cluster, tmp_path_factory) -> Iterator[Client]:
    """The gateway with a certificate for the name `gateway.test`."""
    folder: Path = tmp_path_factory.mktemp("tls")
    (folder / "rerank.toml").write_text(RERANK_TOML)
    issued = authority.issue_cert("gateway.test")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    files = {"tls_cert": str(folder / "cert.pem"), "tls_key": str(folder / "key.pem")}
    redis = "redis://127.0.0.1:1/0"
    process, port = start_gateway(running_cluster.url, folder / "rerank.toml", redis, **files)
    yield Client(port, process.pid)
    stop(process)


def connect(secured: Client, *trusted: trustme.CA, version: ssl.TLSVersion | None = None) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for authority in trusted:
        authority.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context.wrap_socket(secured.connect(), server_hostname="gateway.test")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_requests_and_answers_pass_as_ever(secured, authority, cluster: ClusterDouble, version):
    cluster.script = lambda received: answer(received.body[::-1])
    body = bytes(range(256)) * 1000
    with connect(secured, authority, version=version) as connection:
        connection.sendall(
            b"POST /_bulk HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        connection.sendall(LAST)
        first, _ = read_answers(connection)
    assert first.body == body[::-1]


def test_requests_in_one_record_are_all_answered(secured, authority, cluster: ClusterDouble):
    """What TLS has decrypted makes no socket readable."""
    with connect(secured, authority) as connection:
        padded = GET.replace(b"\r\n\r\n", b"\r\nX: " + b"a" * 3000 + b"\r\n\r\n")
        connection.sendall(padded * 4 + LAST)
        assert [answered.status for answered in read_answers(connection)] == [200] * 5


def test_a_client_that_does_not_trust_it_is_the_only_one_disturbed(secured, authority, cluster):
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(secured, trustme.CA())
    with connect(secured, authority) as connection:
        connection.sendall(LAST)
        assert [answered.status for answered in read_answers(connection)] == [200]


def test_nothing_is_served_in_the_clear(secured, cluster: ClusterDouble):
    with secured.connect() as connection:
        connection.sendall(LAST)
        try:
            received = connection.recv(1000)
        except ConnectionResetError:
            received = b""
    assert not received.startswith(b"HTTP/1.1 200")
    assert cluster.received == []


def test_a_client_that_leaves_ends_its_request(secured, authority, cluster: ClusterDouble):
    def endlessly(received):
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"1\r\nx\r\n"

    cluster.script = endlessly
    with connect(secured, authority) as connection:
        connection.sendall(GET)
        connection.recv(10)
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    assert cluster.closed_early.wait(5)
