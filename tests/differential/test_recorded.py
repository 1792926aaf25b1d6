"""Every API answers through a gateway as it answers directly: status, headers in order, bytes of the body."""

import json
from itertools import count

import pytest

from tests.differential.normal import find_difference
from tests.differential.recorded import BOTH, KNOWN_DIFFERENCES, STORIES
from tests.differential.wire import ask

pytestmark = pytest.mark.system

runs = count()


def tell(peer, story, index):
    """Run a story's requests one after another; what each of them was and how it was answered."""
    names = {"index": index}
    for request in story:
        filled = request.fill(names)
        answer = peer.exchange(filled)
        yield filled, answer
        for name, field in request.captures.items():
            names[name] = str(json.loads(answer.body)[field])


def find_differences(peers, story):
    """Run the story directly and through each gateway, on twin indices, and hold the answers together."""
    run = next(runs)
    expected = list(tell(peers.cluster, story, twin := f"twin-{run:04}-0"))
    for number, (name, gateway) in enumerate(peers.gateways.items(), start=1):
        own = f"twin-{run:04}-{number}"
        for (_, direct), (request, through) in zip(expected, tell(gateway, story, own), strict=True):
            difference = find_difference(request, direct, through, {"index": twin}, {"index": own})
            if difference:
                yield f"{name}: {difference}"


@pytest.mark.parametrize("name", STORIES)
def test_story_is_the_same_through_every_gateway(peers, name):
    differences = list(find_differences(peers, STORIES[name]))
    known = KNOWN_DIFFERENCES.get((peers.engine, name))
    if known:
        assert differences, f"no longer different: {known}"
        pytest.xfail(known)
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize(
    ("gateway", "status", "reason"),
    [
        ("no policy", "skipped", "policy_off"),
        ("other index", "skipped", "policy_off"),
        ("identity", "applied", None),
    ],
)
def test_gateways_do_what_they_are_compared_for(peers, gateway, status, reason):
    """Else the comparison would be of nothing with nothing."""
    answer = peers.gateways[gateway].exchange(ask("POST /books/_search", BOTH))
    assert (answer.header("x-rerank-status"), answer.header("x-rerank-reason")) == (status, reason)
