"""Clients of four languages, each in its own, see through the gateway what they see of the cluster itself."""

from urllib.parse import urlsplit

import pytest

from tests.clients.programs import run_story
from tests.clients.relay import running_relay

pytestmark = pytest.mark.system


@pytest.fixture(scope="session")
def told_of(node):
    """By language, for `told`: a story is told once and looked at by several tests."""
    return {}


@pytest.fixture
def told(node, gateway, language, told_of):
    """What the program told of the cluster and of the gateway, and how many connections each of them saw."""
    if language not in told_of:
        index = f"story-{language.replace(' ', '-')}"
        told_of[language] = [tell(language, node.name, url, index) for url in (node.url, gateway)]
    return told_of[language]


def tell(language, engine, url, index):
    with running_relay(urlsplit(url).port) as relay:
        return run_story(language, engine, relay.url, index), relay.connections


def test_story_is_the_same_but_for_the_order(told):
    (direct, _), (through, _) = told
    assert direct["bulk"] == direct["count"] == 12
    assert direct["search"] == [str(n) for n in range(12)]
    assert through["search"] == direct["search"][::-1]
    same = set(direct) - {"search", "opted_out"}
    assert {name: through[name] for name in same} == {name: direct[name] for name in same}


def test_errors_are_the_clients_own(told):
    """Each told as [class, status, type]."""
    _, (through, _) = told
    assert through["not_found"][1:] == [404, "index_not_found_exception"]
    assert through["bad_request"][1] == 400


def test_a_header_keeps_the_clusters_order(told):
    (direct, _), (through, _) = told
    assert through["opted_out"] == direct["opted_out"] == direct["search"]


def test_connections_are_kept_as_with_the_cluster(told):
    """Some clients give one up whose last, empty chunk is not there when the body is."""
    (_, direct), (_, through) = told
    assert 1 <= through <= direct + 1  # of about 25 requests; once the cluster's own last chunk may be late
