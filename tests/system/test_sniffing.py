"""A client that sniffs the nodes of a real cluster stays on the gateway."""

import json
import re

import elasticsearch
import opensearchpy
import pytest
import urllib3

from tests.conftest import find_free_port
from tests.gateway.doubles import start_gateway, stop
from tests.system.conftest import DOCUMENTS

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def gateway_url(engine, config):
    address = f"127.0.0.1:{find_free_port()}"
    port = int(address.rpartition(":")[2])
    process, _ = start_gateway(engine.url, config, "redis://127.0.0.1:1/0", port, publish_address=address)
    yield f"http://{address}"
    stop(process)


def test_a_client_that_sniffs_stays(engine, gateway_url):
    if engine.name == "elasticsearch":
        client = elasticsearch.Elasticsearch(gateway_url, sniff_on_start=True)
        known = {node.base_url for node in client.transport.node_pool.all()}
    else:
        client = opensearchpy.OpenSearch(gateway_url, sniff_on_start=True)
        known = {connection.host for connection in client.transport.connection_pool.connections}
    assert known == {gateway_url}
    assert client.count(index="pages")["count"] == len(DOCUMENTS)
    client.close()


@pytest.mark.parametrize("target", ["/_nodes", "/_nodes/http?pretty", "/_nodes/_local/http,os?flat_settings"])
def test_only_the_addresses_differ(engine, gateway_url, target):
    direct, through = (urllib3.request("GET", f"{url}{target}").data for url in (engine.url, gateway_url))
    told = [node["http"]["publish_address"] for node in json.loads(through)["nodes"].values()]
    assert told == [gateway_url.partition("//")[2]]
    assert hide_addresses(through) == hide_addresses(direct)


def hide_addresses(text):
    return re.sub(rb'"(publish|bound)_address"(\s*:\s*)("[^"]*"|\[[^\]]*\])', rb"\1\2", text)
