"""The engines' own tests end through the gateway as they end directly, whether it reranks or not."""

import os
import re
from contextlib import closing

import pytest

from tests.differential.conftest import POLICY, load
from tests.differential.spec import fetch_spec
from tests.differential.wire import Peer
from tests.differential.yaml_suite import YamlSuite
from tests.processes import running_gateway

pytestmark = pytest.mark.system

# engine: the newest of its jars on Maven Central that holds tests, and the version for which they choose;
# of 7.10's a quarter fails on Elasticsearch 9, and must fail the same way
SUITES = {
    "opensearch": ("org.opensearch", "3.1.0", (3, 6, 0)),
    "elasticsearch": ("org.elasticsearch", "7.10.2", (9, 5, 3)),
    "elasticsearch-7": ("org.elasticsearch", "7.10.2", (7, 17, 29)),
}

EACH = 1 if os.environ.get("WHOLE_SUITE") else 20  # the whole of both takes half an hour


@pytest.fixture
def gateway(node, tmp_path):
    """It reranks whatever it is asked by the whole text of the documents."""
    policy = re.sub("passage_fields = .*", "", POLICY.format(indices="*", window=20))
    with running_gateway(node.url, policy, tmp_path) as url, closing(Peer(url)) as peer:
        yield peer


def test_engines_own_tests_end_as_they_do_directly(peers, gateway):
    group, version, engine_version = SUITES[peers.engine]
    suite = YamlSuite(fetch_spec(group, version), engine_version)
    cases = suite.cases[::EACH]
    differences, n_passed, n_reranked = [], 0, 0
    try:
        for case in cases:
            direct = suite.run(case, peers.cluster, peers.cluster)
            through = suite.run(case, gateway, peers.cluster)
            n_passed += direct.result == "passed"
            n_reranked += through.n_reranked
            if (through.result, through.statuses) != (direct.result, direct.statuses):
                differences.append(f"{case.name}: {through} is not {direct}")
    finally:
        load(peers.cluster)  # the tests wipe it
    print(f"{len(cases)} tests, {n_passed} passed directly, {n_reranked} searches reranked")
    assert not differences, "\n".join(differences)
    assert n_passed > len(cases) * 0.6  # else the comparison is of nothing with nothing
    assert n_reranked or EACH > 1  # few have a text to rank by
