"""Clients that sniff are told the gateway's address and stay."""

from __future__ import annotations

import gzip
import json

import elasticsearch
import opensearchpy
import pytest

from gateway.published import is_nodes_info, rewrite_addresses
from tests.conftest import find_free_port
from tests.gateway.doubles import Client, answer, start_gateway, stop


@pytest.mark.parametrize(
    ("target", "is_ours"),
    [
        pytest.param("/_nodes", True, id="all"),
        pytest.param("/_nodes/", True, id="slash at the end"),
        pytest.param("/_nodes/http", True, id="Java, Ruby, Go"),
        pytest.param("/_nodes/_all/http?timeout=1s", True, id="Python, JavaScript"),
        pytest.param("/_nodes/http,settings?flat_settings", True, id=".NET"),
        pytest.param("/_nodes/node-1/info/http", True, id="written in full"),
        pytest.param("//_nodes/http", True, id="double slash"),
        pytest.param("/_nodes/stats", False, id="statistics"),
        pytest.param("/_nodes/node-1/stats/http", False, id="statistics of one node"),
        pytest.param("/_nodes/hot_threads", False, id="threads"),
        pytest.param("/_cat/nodes?h=http", False, id="for people"),
        pytest.param("/books/_search?q=_nodes", False, id="a search"),
        pytest.param("/books/_doc/_nodes", False, id="a document"),
    ],
)
def test_which_requests_sniff(target, is_ours):
    assert is_nodes_info("GET", target) is is_ours
    assert not is_nodes_info("POST", target)


HTTP = '"http":{"bound_address":["[::1]:9200","10.0.0.1:9200"],"publish_address":"10.0.0.1:9200","max":1.0E2}'
REWRITTEN = '"http":{"bound_address":["gw:1"],"publish_address":"gw:1","max":1.0E2}'


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        pytest.param(
            f'{{"nodes":{{"a":{{{HTTP}}}}}}}', f'{{"nodes":{{"a":{{{REWRITTEN}}}}}}}', id="one node"
        ),
        pytest.param(
            f'{{"nodes":{{"a":{{{HTTP}}},"b":{{"x":[1],{HTTP}}}}}}}',
            f'{{"nodes":{{"a":{{{REWRITTEN}}},"b":{{"x":[1],{REWRITTEN}}}}}}}',
            id="two nodes",
        ),
        pytest.param(
            '{"nodes":{"a":{"http":{"publish_address":"es-1.test/10.0.0.1:9200"}}}}',
            '{"nodes":{"a":{"http":{"publish_address":"gw:1"}}}}',
            id="with a host name",
        ),
        pytest.param(
            '{ "nodes" : {\n  "a" : {\n    "http" : {\n      "publish_address" : "10.0.0.1:9200"\n} } } }\n',
            '{ "nodes" : {\n  "a" : {\n    "http" : {\n      "publish_address" : "gw:1"\n} } } }\n',
            id="pretty",
        ),
        pytest.param(
            '{"nodes":{"a":{"transport":{"publish_address":"10.0.0.1:9300"},"http":{"publish_address":"x:1"}}}}',
            '{"nodes":{"a":{"transport":{"publish_address":"10.0.0.1:9300"},"http":{"publish_address":"gw:1"}}}}',
            id="the transport's own stays",
        ),
    ],
)
def test_only_the_addresses_change(text, rewritten):
    assert rewrite_addresses(text, "gw:1") == rewritten


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"_nodes":{"total":1},"cluster_name":"c"}', id="filter_path without nodes"),
        pytest.param(
            '{"nodes":{"a":{"name":"n"},"b":{"http":{"max_content_length_in_bytes":1}}}}', id="no http"
        ),
        pytest.param('{"nodes":{}}', id="no node"),
        pytest.param('{"nodes":null}', id="not an object"),
        pytest.param('{"error":{"type":"security_exception"},"status":401}', id="an error"),
    ],
)
def test_without_addresses_nothing_changes(text):
    assert rewrite_addresses(text, "gw:1") == text


@pytest.fixture(scope="module")
def sniffed(running_cluster, config):
    """A gateway that tells where it is."""
    port = find_free_port()
    address = f"127.0.0.1:{port}"
    process, _ = start_gateway(
        running_cluster.url, config, "redis://127.0.0.1:1/0", port, publish_address=address
    )
    yield Client(port, process.pid)
    stop(process)


ELASTIC = "X-elastic-product: Elasticsearch"
JSON = "content-type: application/json"


def as_cluster(cluster, *headers):
    """Three nodes at addresses where nobody listens."""
    nodes = {
        f"node-{i}": {
            "name": f"n{i}",
            "roles": ["data", "master"],
            "http": {"bound_address": ["127.0.0.1:1"], "publish_address": f"es-{i}.test/127.0.0.{i}:1"},
        }
        for i in (1, 2, 3)
    }

    def script(received):
        if received.target.startswith("/_nodes"):
            return answer(json.dumps({"nodes": nodes}).encode(), headers=[JSON, *headers])
        version = {"number": "9.0.0", "build_flavor": "default", "distribution": "opensearch"}
        return answer(json.dumps({"version": version, "tagline": "x"}).encode(), headers=[JSON, *headers])

    cluster.script = script


@pytest.mark.system
def test_the_python_client_of_elasticsearch_stays(sniffed, cluster):
    as_cluster(cluster, ELASTIC)
    url = f"http://127.0.0.1:{sniffed.port}"
    with elasticsearch.Elasticsearch(url, sniff_on_start=True, max_retries=0) as client:
        for _ in range(6):
            assert client.info()["tagline"] == "x"
        assert {node.base_url for node in client.transport.node_pool.all()} == {url}


@pytest.mark.system
def test_the_python_client_of_opensearch_stays(sniffed, cluster):
    as_cluster(cluster)
    url = f"http://127.0.0.1:{sniffed.port}"
    client = opensearchpy.OpenSearch(url, sniff_on_start=True, sniff_on_connection_fail=True, max_retries=0)
    for _ in range(6):
        assert client.info()["tagline"] == "x"
    assert {connection.host for connection in client.transport.connection_pool.connections} == {url}
    client.close()


@pytest.mark.system
@pytest.mark.parametrize(
    ("body", "headers", "asks"),
    [
        pytest.param(b"{}", ["Content-Encoding: gzip"], "gzip", id="says gzip, is none"),
        pytest.param(b"---\nnodes: {}\n", [], "gzip", id="YAML"),
        pytest.param(b"\xa1cbor\xff", [], None, id="CBOR"),
        pytest.param(b"", [], None, id="empty"),
    ],
)
def test_what_cannot_be_read_passes_unchanged(sniffed, cluster, body, headers, asks):
    cluster.script = lambda received: answer(body, headers=headers)
    status, _, answered = sniffed.request("GET", "/_nodes", [f"Accept-Encoding: {asks}"] if asks else [])
    assert (status, answered) == (200, body)


@pytest.mark.system
def test_a_compressed_answer_is_rewritten_compressed(sniffed, cluster):
    text = b'{"nodes":{"a":{"http":{"publish_address":"10.0.0.1:9200"}}}}'
    cluster.script = lambda received: answer(gzip.compress(text), headers=["Content-Encoding: gzip"])
    _, headers, body = sniffed.request("GET", "/_nodes/http", ["Accept-Encoding: br, gzip"])
    assert cluster.received[0].header("Accept-Encoding") == "gzip"
    assert ("Content-Encoding", "gzip") in headers
    assert ("Content-Length", str(len(body))) in [(name.title(), value) for name, value in headers]
    assert gzip.decompress(body) == text.replace(b"10.0.0.1:9200", b"127.0.0.1:%d" % sniffed.port)


@pytest.mark.system
def test_without_the_option_addresses_are_the_clusters_own(gateway, cluster):
    text = b'{"nodes":{"a":{"http":{"publish_address":"10.0.0.1:9200"}}}}'
    cluster.script = lambda received: answer(text)
    assert gateway.request("GET", "/_nodes/http")[2] == text
