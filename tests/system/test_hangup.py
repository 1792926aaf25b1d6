"""A client that goes away: the real engine cancels its search, which would go on for long."""

import json
import socket
import time

import pytest
import urllib3

from tests.conftest import find_free_port, wait_until
from tests.gateway.doubles import start_gateway, stop
from tests.system.conftest import DOCUMENTS

pytestmark = pytest.mark.system

INDEX = "slow"
COPIES = 60  # of each document
BUSY = "double s = 0; for (int i = 0; i < 300000; i++) { s += Math.sin(i) } return s > 0 ? 1 : 2"
SEARCH = {"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": BUSY}}}}


@pytest.fixture(scope="module")
def slow(engine):
    """An index on which the search takes long."""
    lines = [{"index": {}}, {"title": "t"}] * len(DOCUMENTS) * COPIES
    ndjson = "".join(json.dumps(line) + "\n" for line in lines)
    headers = {"Content-Type": "application/x-ndjson"}
    url = f"{engine.url}/{INDEX}/_bulk?refresh=true"
    assert urllib3.request("POST", url, body=ndjson, headers=headers).json()["errors"] is False
    quick = {"query": {"script_score": {"query": {"match_all": {}}, "script": {"source": "1"}}}}
    if urllib3.request("POST", f"{engine.url}/{INDEX}/_search", json=quick).status != 200:
        pytest.skip(f"this build of {engine.name} has no scripts to be slow with")


@pytest.fixture(scope="module")
def gateway_port(engine, config):
    process, port = start_gateway(engine.url, config, f"redis://127.0.0.1:{find_free_port()}/0")
    yield port
    stop(process)


def count_searches(engine):
    """Those that run and are not cancelled; one that is stops when it next looks, thousands of hits later."""
    listed = urllib3.request("GET", f"{engine.url}/_tasks?actions=*search*&group_by=none").json()["tasks"]
    return sum("data/read/search" in task["action"] and not task["cancelled"] for task in listed)


@pytest.mark.parametrize("target", [f"/{INDEX}/_search", f"/{INDEX}/_msearch"])
def test_its_search_is_cancelled_in_the_engine(engine, slow, gateway_port, target):
    body = json.dumps(SEARCH)
    if target.endswith("_msearch"):
        body = f"{{}}\n{body}\n"
    head = f"POST {target} HTTP/1.1\r\nHost: g\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", gateway_port)) as client:
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        wait_until(lambda: count_searches(engine) > 0, timeout_s=10)
        time.sleep(1)
        assert count_searches(engine) > 0, "the search was over before it could be cancelled"
    wait_until(lambda: count_searches(engine) == 0, timeout_s=2)
