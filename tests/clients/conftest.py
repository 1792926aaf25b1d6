"""A gateway in front of a real node whose model turns the cluster's order round."""

import pytest

from tests.clients.programs import LANGUAGES
from tests.processes import running_gateway

ENGINES = ("opensearch", "elasticsearch")

CONFIG = """
[models.reverse]
path = "nobody loads it"

[[policies]]
name = "stories"
indices = ["story-*"]
model = "reverse"
passage_fields = ["title"]
window = 20
deadline_ms = 10000
"""


def pytest_generate_tests(metafunc):
    if "node" in metafunc.fixturenames:
        metafunc.parametrize("node", ENGINES, indirect=True, scope="session")
    if "language" in metafunc.fixturenames:
        metafunc.parametrize("language", LANGUAGES)


@pytest.fixture(scope="session")
def gateway(node, tmp_path_factory):
    """Its address."""
    with running_gateway(node.url, CONFIG, tmp_path_factory.mktemp(f"clients-{node.name}")) as url:
        yield url
