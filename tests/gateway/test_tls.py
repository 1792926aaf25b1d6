"""Whom the gateway trusts to be the cluster, on real TLS connections."""

from __future__ import annotations

import hashlib
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.cluster import Cluster
from gateway.errors import ClusterUnreachable, ConfigurationError
from gateway.tls import make_tls
from tests.gateway.doubles import Client, ClusterDouble, start_gateway, stop


def fingerprint(certificate: trustme.Blob) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.bytes().decode())).hexdigest()


class Authorities:
    """Certificates and the servers that show them."""

    def __init__(self, folder: Path) -> None:
        self.ours, self.foreign = trustme.CA(), trustme.CA()
        yesterday = datetime.now(UTC) - timedelta(days=1)
        self.certificates = {
            "good": self.ours.issue_cert("127.0.0.1"),
            "other host": self.ours.issue_cert("elsewhere.test"),
            "expired": self.ours.issue_cert("127.0.0.1", not_after=yesterday),
            "foreign": self.foreign.issue_cert("127.0.0.1"),
        }
        self.files = {"ours": folder / "ours.pem", "foreign": folder / "foreign.pem"}
        self.ours.cert_pem.write_to_path(self.files["ours"])
        self.foreign.cert_pem.write_to_path(self.files["foreign"])
        self.fingerprints = {
            "its own": fingerprint(self.certificates["good"].cert_chain_pems[0]),
            "its authority's": fingerprint(self.ours.cert_pem),
            "another": fingerprint(self.foreign.cert_pem),
        }

    def serve(
        self, name: str, presented: tuple[trustme.CA, ...] = (), *, asks: bool = False
    ) -> ClusterDouble:
        """A server with one of the certificates that presents authorities beside it.

        Args:
            asks: it wants to see a certificate of ours.
        """
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = self.certificates[name]
        chain = [*certificate.cert_chain_pems, *(authority.cert_pem for authority in presented)]
        pem = certificate.private_key_pem.bytes() + b"".join(one.bytes() for one in chain)
        with trustme.Blob(pem).tempfile() as path:
            tls.load_cert_chain(path)
        if asks:
            tls.verify_mode = ssl.CERT_REQUIRED
            self.ours.configure_trust(tls)
        return ClusterDouble(tls=tls)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    return Authorities(tmp_path_factory.mktemp("certificates"))


def ask(server: ClusterDouble, tls: ssl.SSLContext) -> bytes:
    """Two answers on two connections."""
    cluster = Cluster(server.url, connect_timeout_s=2, tls=tls)
    try:
        first = cluster.send("GET", "/", []).read()
        server.drop_connections()
        return first + cluster.send("GET", "/", []).read()
    finally:
        cluster.close()
        server.close()


def expect_refusal(server: ClusterDouble, tls: ssl.SSLContext, reason: str) -> None:
    """And that the server got nothing to read."""
    with pytest.raises(ClusterUnreachable, match=reason):
        ask(server, tls)
    assert server.received == []


@pytest.mark.parametrize(
    ("certificate", "ca", "reason"),
    [
        pytest.param("good", "ours", None, id="its authority is trusted"),
        pytest.param("good", "foreign", "unable to get local issuer", id="another authority is trusted"),
        pytest.param("good", None, "unable to get local issuer", id="this machine's authorities are trusted"),
        pytest.param("other host", "ours", "not valid for '127.0.0.1'", id="another host's certificate"),
        pytest.param("expired", "ours", "has expired", id="expired"),
    ],
)
def test_a_certificate_is_trusted_by_its_authority_host_and_time(authorities, certificate, ca, reason):
    server, tls = authorities.serve(certificate), make_tls(ca=authorities.files.get(ca))
    if reason:
        expect_refusal(server, tls, reason)
    else:
        assert ask(server, tls) == b"{}{}"


@pytest.mark.parametrize(
    ("certificate", "presents", "pinned", "reason"),
    [
        pytest.param("good", False, "its own", None, id="the server's own"),
        pytest.param("good", True, "its own", None, id="the server's own, its authority beside it"),
        pytest.param("good", True, "its authority's", None, id="its authority's, as Elasticsearch prints"),
        pytest.param("other host", True, "its authority's", None, id="host names do not matter"),
        pytest.param("good", True, "another", "no certificate has the fingerprint", id="wrong"),
        pytest.param(
            "good", False, "its authority's", "no certificate has the fingerprint", id="not presented"
        ),
        pytest.param("expired", True, "its authority's", "has expired", id="expired"),
        pytest.param("foreign", True, "its authority's", "verify failed", id="presented by an impostor"),
    ],
)
def test_a_certificate_is_trusted_by_fingerprint(authorities, certificate, presents, pinned, reason):
    """To present the authority's certificate, which anybody can, is not to be certified by it."""
    server = authorities.serve(certificate, (authorities.ours,) if presents else ())
    tls = make_tls(fingerprint=authorities.fingerprints[pinned])
    if reason:
        expect_refusal(server, tls, reason)
    else:
        assert ask(server, tls) == b"{}{}"


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "by authority"])
def test_a_cluster_that_asks_for_a_certificate_is_shown_ours(authorities, tmp_path, pinned):
    ours = authorities.ours.issue_cert("gateway.test")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    ours.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    trust = (
        {"fingerprint": authorities.fingerprints["its own"]} if pinned else {"ca": authorities.files["ours"]}
    )
    for shown in (
        {"client_cert": tmp_path / "both.pem"},
        {"client_cert": tmp_path / "cert.pem", "client_key": tmp_path / "key.pem"},
    ):
        assert ask(authorities.serve("good", asks=True), make_tls(**trust, **shown)) == b"{}{}"
    expect_refusal(authorities.serve("good", asks=True), make_tls(**trust), "cannot be reached")


@pytest.mark.system
def test_the_client_is_told_in_the_engines_shape(authorities, config):
    server = authorities.serve("good")
    process, port = start_gateway(server.url, config, "redis://127.0.0.1:1/0")
    try:
        status, _, body = Client(port, process.pid).request("GET", "/books")
    finally:
        stop(process)
        server.close()
    error = json.loads(body)["error"]
    assert (status, error["type"]) == (502, "cluster_unreachable_exception")
    assert "certificate verify failed: unable to get local issuer certificate" in error["reason"]


@pytest.mark.system
def test_options_reach_the_connections(authorities, config):
    server = authorities.serve("good")
    trust = {"cluster_ca": str(authorities.files["ours"])}
    secret = {"cluster_username": "u", "cluster_password": "p"}
    process, port = start_gateway(server.url, config, "redis://127.0.0.1:1/0", **trust, **secret)
    try:
        status, _, body = Client(port, process.pid).request("GET", "/books")
    finally:
        stop(process)
        server.close()
    assert (status, body) == (200, b"{}")
    assert server.received[0].header("Authorization") == "Basic dTpw"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"ca": "none.pem"}, "--cluster-ca: .*none.pem: No such file", id="no such authority"),
        pytest.param({"ca": "text.pem"}, "--cluster-ca: .*text.pem: ", id="no certificate in it"),
        pytest.param({"client_cert": "none.pem"}, "--cluster-client-cert: .*No such file", id="no such file"),
        pytest.param(
            {"client_cert": "text.pem"}, "--cluster-client-cert: ", id="neither certificate nor key"
        ),
    ],
)
def test_a_wrong_file_is_told_at_the_start(tmp_path, options, message):
    (tmp_path / "text.pem").write_text("nothing")
    with pytest.raises(ConfigurationError, match=message) as caught:
        make_tls(**{name: tmp_path / file for name, file in options.items()})
    assert "\n" not in str(caught.value)
