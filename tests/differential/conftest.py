"""One cluster and three gateways in front of it: without policies, with one for other indices, and with a
policy for every index whose model keeps the cluster's order."""

import json
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.differential.books import BOOKS, MAPPING
from tests.differential.wire import Peer, ask
from tests.processes import running_gateway

ENGINES = ("opensearch", "elasticsearch", "elasticsearch-7")
WINDOW = 20

POLICY = """
[models.identity]
path = "nobody loads it"

[[policies]]
name = "one"
indices = ["{indices}"]
model = "identity"
passage_fields = ["title", "body"]
window = {window}
deadline_ms = 10000
"""

# gateway: what its rerank.toml says
GATEWAYS = {
    "no policy": "",
    "other index": POLICY.format(indices="elsewhere*", window=WINDOW),
    "identity": POLICY.format(indices="*", window=WINDOW),
}


@dataclass(frozen=True)
class Peers:
    """The cluster and, by name, the gateways in front of it."""

    engine: str
    cluster: Peer
    gateways: dict[str, Peer]


def pytest_generate_tests(metafunc):
    if "node" in metafunc.fixturenames:
        metafunc.parametrize("node", ENGINES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def peers(node, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"differential-{node.name}")
    with ExitStack() as stack:
        cluster = Peer(node.url)
        stack.callback(cluster.close)
        load(cluster)
        gateways = {}
        for name, config in GATEWAYS.items():
            gateways[name] = peer = Peer(stack.enter_context(running_gateway(node.url, config, folder)))
            stack.callback(peer.close)
        yield Peers(node.name, cluster, gateways)


def load(cluster):
    """The index ``books``, and a twin-like second one to search both."""
    for index in ("books", "books-too"):
        created = cluster.exchange(ask(f"PUT /{index}", MAPPING))
        assert created.status == 200, created
        lines = [line for book in BOOKS for line in ({"index": {"_id": book["id"]}}, book)]
        bulk = cluster.exchange(ask(f"POST /{index}/_bulk?refresh=true", lines))
        assert json.loads(bulk.body)["errors"] is False, bulk
        assert cluster.exchange(ask(f"POST /{index}/_forcemerge?max_num_segments=1&flush=true")).status == 200
