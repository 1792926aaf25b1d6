"""Each API that the engines' own machine-readable lists name is asked once: none is treated differently."""

from __future__ import annotations

import json
import re
import zipfile

import pytest

from tests.differential.normal import find_difference
from tests.differential.spec import fetch_spec
from tests.differential.wire import ask

pytestmark = pytest.mark.system

# engine: the newest list there is on Maven Central for it or for its successor
SPECS = {
    "opensearch": ("org.opensearch", "3.1.0"),
    "elasticsearch": ("org.elasticsearch", "9.5.3"),
    "elasticsearch-7": ("org.elasticsearch", "9.5.3"),
}

# what the placeholders of paths stand for; everything else is "none"
PARTS = {
    "index": "books",
    "indices": "books",
    "id": "b01",
    "field": "title",
    "fields": "title",
    "metric": "_all",
}

# answers that are never the same twice, not even in their form
NEVER_THE_SAME = re.compile(
    r"hot_?threads|/_tasks$|/_cat/tasks|/_nodes/usage|/_nodes/[^/]+/usage|/_capabilities|/_cluster/state"
    r"|/_nodes/(?:[^/]+/)?stats"
)

TRIES = 3  # an answer may change between two looks: by then it has settled


def read_paths(group, version):
    """The paths of all APIs, placeholders filled, whatever their methods are."""
    jar = fetch_spec(group, version)
    with zipfile.ZipFile(jar) as spec:
        apis = [
            api
            for name in spec.namelist()
            if re.fullmatch(r"rest-api-spec/api/[^_].*\.json", name)
            for api in json.loads(spec.read(name)).values()
        ]
    paths = {path["path"] for api in apis for path in api["url"]["paths"]}
    return sorted(re.sub(r"\{(\w+)\}", lambda part: PARTS.get(part[1], "none"), path) for path in paths)


def find_lasting_difference(peers, request):
    for _ in range(TRIES):
        direct, through = peers.cluster.exchange(request), peers.gateways["identity"].exchange(request)
        difference = find_difference(request, direct, through)
        if not difference:
            break
    return difference


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_every_api_of_the_list_answers_through_the_gateway_as_directly(peers, method):
    paths = [path for path in read_paths(*SPECS[peers.engine]) if not NEVER_THE_SAME.search(path)]
    assert len(paths) > 150
    requests = [ask(f"{method} {path}", has_numbers_of_the_moment=True) for path in paths]
    differences = [told for request in requests if (told := find_lasting_difference(peers, request))]
    assert not differences, "\n".join(differences)
