"""Requests to AWS are signed so that who receives their bytes finds the signature right."""

from __future__ import annotations

import hashlib
import hmac
import sys
from urllib.parse import parse_qsl, quote

import pytest

from gateway import aws
from gateway.aws import AwsCredentials, spell_canonically
from gateway.cluster import Cluster, open_cluster
from gateway.errors import BodyTooLarge, ClusterUnreachable, ConfigurationError
from gateway.settings import read_settings
from tests.gateway.doubles import Received

KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI", "a/session+token="
REGION = "eu-central-1"


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def opened(cluster):
    signing = AwsCredentials(cluster.url, region=REGION, service="es")
    opened = Cluster(cluster.url, connect_timeout_s=1, credentials=signing)
    yield opened
    opened.close()


def expect_signature(received: Received, service: str = "es") -> None:
    """Compute it again from the bytes of the wire, as the service is documented to."""
    algorithm, _, rest = received.header("Authorization").partition(" ")
    fields = dict(part.strip().split("=", 1) for part in rest.split(","))
    moment = received.header("X-Amz-Date")
    scope = f"{moment[:8]}/{REGION}/{service}/aws4_request"
    assert (algorithm, fields["Credential"]) == ("AWS4-HMAC-SHA256", f"{KEY}/{scope}")
    names = fields["SignedHeaders"].split(";")
    assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} <= set(names)
    assert received.header("X-Amz-Security-Token") == TOKEN
    body_hash = hashlib.sha256(received.body).hexdigest()
    assert received.header("X-Amz-Content-SHA256") == body_hash
    headers = "".join(f"{name}:{received.header(name)}\n" for name in names)
    path, query = normalize(received.target)
    canonical = "\n".join([received.method, path, query, headers, ";".join(names), body_hash])
    to_sign = "\n".join([algorithm, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{SECRET}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    assert fields["Signature"] == hmac.digest(key, to_sign.encode(), "sha256").hex()


def normalize(target: str) -> tuple[str, str]:
    """Path and query as the service's documentation says: segments resolved, encoded once more; sorted."""
    path, _, query = target.partition("?")
    segments: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            segments = segments[:-1]
        elif segment not in ("", "."):
            segments.append(quote(segment, safe="-_.~"))
    slash = "/" if segments and path.endswith("/") else ""
    pairs = parse_qsl(query, keep_blank_values=True, encoding="latin-1")
    encoded = sorted(tuple(quote(word, safe="-_.~", encoding="latin-1") for word in pair) for pair in pairs)
    return "/" + "/".join(segments) + slash, "&".join(f"{name}={value}" for name, value in encoded)


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        pytest.param("/", "/", id="root"),
        pytest.param("/books/_doc/a%2Fb", "/books/_doc/a%2Fb", id="encoded slash"),
        pytest.param("//books//_count", "//books//_count", id="double slashes"),
        pytest.param("/books/../_cat/indices/", "/books/../_cat/indices/", id="dots and a slash at the end"),
        pytest.param("/%3Clogs-%7Bnow%2Fd%7D%3E/_count", "/%3Clogs-%7Bnow%2Fd%7D%3E/_count", id="date math"),
        pytest.param("/a*,b,-c/_search", "/a*,b,-c/_search", id="patterns"),
        pytest.param("/books;v=1/_doc/1:2@x", "/books;v=1/_doc/1:2@x", id="semicolons and colons"),
        pytest.param("/books/_count?pretty&v=&q=a+b", "/books/_count?pretty=&v=&q=a%20b", id="empty"),
        pytest.param("/x?b=2&a=1&b=1", "/x?b=2&a=1&b=1", id="repeated, not sorted"),
        pytest.param("/_cat/indices?h=a,b&s=c:desc", "/_cat/indices?h=a%2Cb&s=c%3Adesc", id="commas"),
        pytest.param("/x?scroll_id=ab==&y=%2f%7e*", "/x?scroll_id=ab%3D%3D&y=%2F~%2A", id="reserved"),
        pytest.param("/x?q=a#b?c", "/x?q=a", id="fragment"),
        pytest.param("/x#y", "/x", id="fragment without query"),
        pytest.param("/x?a=1;b=2", "/x?a=1&b=2", id="semicolons that separate"),
        pytest.param("/x?q=%FF&r=%00%0A", "/x?q=%FF&r=%00%0A", id="not UTF-8"),
        pytest.param("/x?q=%C3%BC", "/x?q=%C3%BC", id="beyond ASCII"),
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"query":{}}'], ids=["without body", "with body"])
def test_what_is_sent_is_what_was_signed(cluster, opened, target, sent, body):
    assert opened.send("POST", target, [(b"Content-Length", b"%d" % len(body))], body).read() == b"{}"
    assert cluster.received[0].target == sent
    expect_signature(cluster.received[0])


def test_a_stream_is_read_to_its_end_and_signed(cluster, opened):
    opened.send(
        "POST", "/_bulk", [(b"Content-Type", b"application/x-ndjson")], iter([b"{}\n", b"{}\n"])
    ).read()
    received = cluster.received[0]
    assert (received.body, received.header("Content-Length")) == (b"{}\n{}\n", "6")
    assert received.header("Transfer-Encoding") is None
    expect_signature(received)


def test_a_stream_that_is_too_long_is_refused(cluster, opened, monkeypatch):
    monkeypatch.setattr(aws, "BODY_LIMIT_BYTES", 10)
    with pytest.raises(BodyTooLarge):
        opened.send("POST", "/_bulk", [], iter([b"x" * 6, b"x" * 6]))
    assert cluster.received == []


def test_the_callers_own_signature_is_taken_off(cluster, opened):
    headers = [
        (b"authorization", b"AWS4-HMAC-SHA256 Credential=theirs"),
        (b"X-Amz-Date", b"20000101T000000Z"),
        (b"X-AMZ-Security-Token", b"theirs"),
        (b"x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
        (b"X-Forwarded-For", b"10.0.0.1"),
    ]
    opened.send("GET", "/", headers).read()
    received = cluster.received[0]
    expect_signature(received)
    names = [name.lower() for name, _ in received.headers]
    assert len(names) == len(set(names))
    assert "theirs" not in received.head.decode()
    assert received.header("X-Forwarded-For") == "10.0.0.1"


def test_serverless_is_another_service(cluster):
    options = ["--cluster-aws-region", REGION, "--cluster-aws-service", "aoss"]
    opened = open_cluster(read_settings(["--cluster-url", cluster.url, *options]), idle_connections=1)
    assert opened.find_engine() == "opensearch"
    opened.close()
    expect_signature(cluster.received[0], "aoss")


def test_spelling_twice_changes_nothing():
    once = spell_canonically("/a?b=c d&e=%25&f")
    assert spell_canonically(once) == once


def test_a_profile_that_is_not_there_is_told_at_the_start(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(ConfigurationError, match="nobody"):
        AwsCredentials("https://x", region=REGION, service="es")


ONCE = """#!/bin/sh
[ -e "$0.used" ] && exit 1
touch "$0.used"
echo '{"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "s", "Expiration": "2020-01-01T00:00:00Z"}'
"""


def test_credentials_that_expire_and_are_not_renewed_are_told_to_the_client(monkeypatch, tmp_path, cluster):
    script, profile = tmp_path / "once.sh", tmp_path / "config"
    script.write_text(ONCE)
    script.chmod(0o700)
    profile.write_text(f"[default]\ncredential_process = {script}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    signing = AwsCredentials(cluster.url, region=REGION, service="es")
    with pytest.raises(ClusterUnreachable, match="no AWS credentials: "):
        Cluster(cluster.url, connect_timeout_s=1, credentials=signing).send("GET", "/", [])
    assert cluster.received == []


def test_no_credentials_are_told_at_the_start(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(ConfigurationError, match="no AWS credentials"):
        AwsCredentials("https://x", region=REGION, service="es")


def test_the_missing_extra_is_told_at_the_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(ConfigurationError, match="rerank-sidecar\\[aws\\]"):
        AwsCredentials("https://x", region=REGION, service="es")
