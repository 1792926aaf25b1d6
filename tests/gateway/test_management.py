"""Who may manage the gateway."""

from __future__ import annotations

from base64 import b64encode
from contextlib import nullcontext

import pytest
from werkzeug.datastructures import Headers

from gateway.keys import Keys
from gateway.management import Gate, NotAllowed, is_loopback
from tests.gateway.doubles import Client, answer, start_gateway, stop

LOCAL = {"Host": "127.0.0.1:9201"}


def basic(password):
    return "Basic " + b64encode(f"any:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("keys", "bound", "headers", "status"),
    [
        pytest.param([], True, LOCAL, None, id="from this machine"),
        pytest.param([], True, {"Host": "localhost:9201"}, None, id="by the name of this machine"),
        pytest.param([], True, {"Host": "[::1]:9201"}, None, id="by IPv6"),
        pytest.param([], False, LOCAL, 403, id="the port is open to others"),
        pytest.param([], True, {}, 403, id="without a host"),
        pytest.param([], True, {"Host": "["}, 403, id="a host that is none"),
        pytest.param([], True, {"Host": "evil.example"}, 403, id="a name that was bound to loopback"),
        pytest.param([], True, LOCAL | {"X-Forwarded-For": "1.2.3.4"}, 403, id="through a proxy"),
        pytest.param([], True, LOCAL | {"Forwarded": "for=1.2.3.4"}, 403, id="through a standard proxy"),
        pytest.param([], True, LOCAL | {"Sec-Fetch-Site": "cross-site"}, 403, id="from another site's page"),
        pytest.param([], True, LOCAL | {"Origin": "https://evil.example"}, 403, id="from another origin"),
        pytest.param([], True, LOCAL | {"Origin": "null"}, 403, id="from a hidden origin"),
        pytest.param([], True, LOCAL | {"Origin": "http://127.0.0.1:9201"}, None, id="from its own origin"),
        pytest.param([], True, LOCAL | {"Sec-Fetch-Site": "same-origin"}, None, id="from its own page"),
        pytest.param(["k"], True, LOCAL, 401, id="a key is needed on this machine too"),
        pytest.param(["k"], False, {"Authorization": "Bearer k"}, None, id="the key"),
        pytest.param(["k", "m"], False, {"Authorization": "bearer m"}, None, id="another key"),
        pytest.param(["k"], False, {"Authorization": "Bearer x"}, 401, id="a wrong key"),
        pytest.param(["k"], False, {"Authorization": basic("k")}, None, id="as a browser sends it"),
        pytest.param(["k"], False, {"Authorization": basic("x")}, 401, id="a wrong password"),
        pytest.param(["k"], False, {"Authorization": "Basic %%%"}, 401, id="no base64"),
        pytest.param(["k"], False, {"Authorization": "Digest k"}, 401, id="another scheme"),
        pytest.param(
            ["k"], False, {"X-Rerank-Key": "k", "Authorization": basic("x")}, None, id="beside other"
        ),
        pytest.param(
            ["k"], False, {"X-Rerank-Key": "x", "Authorization": "Bearer k"}, 401, id="the header counts"
        ),
        pytest.param(["k"], False, {"X-Rerank-Key": "\x80ä"}, 401, id="bytes"),
        pytest.param(["k"], True, {"X-Rerank-Key": "k", "Sec-Fetch-Site": "cross-site"}, 403, id="lured"),
    ],
)
def test_who_is_let_in(keys, bound, headers, status):
    gate = Gate(Keys(keys), is_loopback=bound)
    if status is None:
        gate.check("POST", Headers(headers), "1.2.3.4")
        return
    with pytest.raises(NotAllowed) as caught:
        gate.check("POST", Headers(headers), "1.2.3.4")
    assert caught.value.status == status


def test_wrong_keys_are_not_tried_for_long():
    gate = Gate(Keys(["k"]), is_loopback=False)
    for _ in range(20):
        with pytest.raises(NotAllowed, match="a key is needed"):  # nobody has tried one
            gate.check("GET", Headers(), "1.2.3.4")
    statuses = []
    for _ in range(12):
        with pytest.raises(NotAllowed) as caught:
            gate.check("POST", Headers({"X-Rerank-Key": "x"}), "1.2.3.4")
        statuses.append(caught.value.status)
    assert statuses == [401] * 10 + [429] * 2
    with pytest.raises(NotAllowed, match="too many"):  # also the right one: it may have been guessed
        gate.check("POST", Headers({"X-Rerank-Key": "k"}), "1.2.3.4")
    gate.check("POST", Headers({"X-Rerank-Key": "k"}), "5.6.7.8")


@pytest.mark.parametrize(
    ("method", "mode", "is_let_in"),
    [("GET", "navigate", True), ("POST", "navigate", False), ("GET", "no-cors", False), ("GET", None, False)],
)
def test_a_link_on_another_site_may_be_followed(method, mode, is_let_in):
    gate = Gate(Keys([]), is_loopback=True)
    headers = Headers(LOCAL | {"Sec-Fetch-Site": "cross-site"} | ({"Sec-Fetch-Mode": mode} if mode else {}))
    with nullcontext() if is_let_in else pytest.raises(NotAllowed):
        gate.check(method, headers, "127.0.0.1")


@pytest.mark.parametrize(
    ("keys", "headers", "credentials"),
    [
        pytest.param([], {"Authorization": "Basic x"}, "Basic x", id="no key is needed"),
        pytest.param(["k"], {"Authorization": "Bearer k"}, "", id="it is the key"),
        pytest.param(
            ["k"], {"Authorization": "Basic x", "X-Rerank-Key": "k"}, "Basic x", id="beside the key"
        ),
        pytest.param(["k"], {"X-Rerank-Key": "k"}, "", id="none"),
    ],
)
def test_which_credentials_are_for_the_cluster(keys, headers, credentials):
    assert Gate(Keys(keys), is_loopback=False).find_credentials(Headers(headers)) == credentials


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("10.0.0.1", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_what_only_this_machine_can_reach(host, expected):
    assert is_loopback(host) is expected


@pytest.mark.system
def test_a_key_is_for_the_gateway_and_never_for_the_cluster(cluster, config):
    """Nor is a wrong one a way in; searches need none."""
    cluster.script = lambda _: answer(b"{}", "401 Unauthorized", ['WWW-Authenticate: Basic realm="cluster"'])
    process, port = start_gateway(cluster.url, config, "redis://127.0.0.1:9/0", management_keys="k")
    client, page = Client(port, process.pid), "/_rerank/ui/compare?query=a&index=books"
    try:
        for headers, status, realm in (
            ([], 401, "rerank"),
            ([f"Authorization: {basic('x')}"], 401, "rerank"),
            ([f"Authorization: {basic('k')}"], 401, None),  # the cluster's, which the prompt can't answer
            (["X-Rerank-Key: k"], 401, "cluster"),
        ):
            answered, pairs, _ = client.request("GET", page, headers)
            asked = {name.lower(): value for name, value in pairs}.get("www-authenticate")
            assert answered == status
            assert (asked or "").startswith(f'Basic realm="{realm}"' if realm else "")
            assert bool(asked) is bool(realm)
        assert cluster.received
        assert {one.header("authorization") for one in cluster.received} == {None}
        assert client.request("GET", "/_rerank/health")[0] == 200
        assert client.request("GET", "/_rerank/ui/jobs", ["X-Rerank-Key: k"])[0] == 404  # no --jobs-folder
    finally:
        stop(process)
