"""Clients that nobody here wrote get through the gateway what the cluster gives them, in a better order."""

import elasticsearch
import elasticsearch.helpers
import opensearchpy
import opensearchpy.helpers
import pytest

from tests.system.conftest import QUERY, match

pytestmark = pytest.mark.system

OFFICIAL = {
    "opensearch": (opensearchpy.OpenSearch, opensearchpy.helpers, opensearchpy.NotFoundError),
    "elasticsearch": (elasticsearch.Elasticsearch, elasticsearch.helpers, elasticsearch.NotFoundError),
}
# what differs from one run to the next, whoever is asked
VOLATILE = {"took", "_seq_no", "_primary_term", "_shards", "uuid", "creation_date", "provided_name", "health"}


@pytest.fixture
def connect(stack):
    clients = []

    def connect(url, **options):
        clients.append(OFFICIAL[stack.engine.name][0](url, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def run_session(client, helpers, not_found, index):
    """What an application does in a day; yields every answer."""
    yield client.indices.create(index=index, body={"settings": {"number_of_replicas": 0}})
    actions = [{"_index": index, "_id": str(i), "title": f"page {i}", "n": i} for i in range(25)]
    yield helpers.bulk(client, actions, refresh=True)
    yield client.count(index=index)
    yield client.get(index=index, id="7")
    yield client.search(index=index, body={"query": {"match": {"title": "page"}}, "size": 3, "sort": ["n"]})
    yield client.search(index=index, body={"size": 0, "aggs": {"highest": {"max": {"field": "n"}}}})
    yield client.msearch(
        body=[{"index": index}, {"query": {"term": {"n": 3}}}, {}, {"query": {"term": {"n": 4}}}]
    )
    yield client.index(
        index=index, id="1/2 ü%", body={"title": "an id with a slash, a blank and a percent sign"}
    )
    yield client.get(index=index, id="1/2 ü%")
    yield client.delete(index=index, id="7", refresh=True)
    yield client.exists(index=index, id="7")
    yield bool(client.indices.exists(index=index))
    yield bool(client.indices.exists(index=f"{index}-missing"))
    yield client.cat.count(index=index, format="json", h="count")
    yield client.cat.indices(index=index, h="index,docs.count")
    with pytest.raises(not_found) as error:
        client.search(index=f"{index}-missing", body={"query": {"match": {"title": "x"}}})
    yield error.value.status_code if hasattr(error.value, "status_code") else error.value.meta.status
    yield client.indices.delete(index=index)


def scrub(value, index):
    """Leave out what differs from run to run, and the index's name."""
    if hasattr(value, "body"):
        value = value.body
    if isinstance(value, dict):
        return {key: scrub(inner, index) for key, inner in value.items() if key not in VOLATILE}
    if isinstance(value, list | tuple):
        return [scrub(inner, index) for inner in value]
    return value.replace(index, "INDEX") if isinstance(value, str) else value


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_official_client_gets_the_same_answers_through_the_gateway(stack, connect, compress):
    """Everyday calls, on an index without and one with a policy, against the cluster itself."""
    _, helpers, not_found = OFFICIAL[stack.engine.name]
    option = {"http_compress": compress}
    direct, through = connect(stack.engine.url, **option), connect(stack.url, **option)
    expected = [scrub(answer, "direct") for answer in run_session(direct, helpers, not_found, "direct")]
    for index in ("other", "pages-too"):
        answers = [scrub(answer, index) for answer in run_session(through, helpers, not_found, index)]
        assert answers == expected


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_official_client_sees_the_reranked_order(stack, connect, compress):
    """Only the address is changed, and what was asked for comes first."""
    direct, through = (connect(url, http_compress=compress) for url in (stack.engine.url, stack.url))
    before = direct.search(index="pages", body=match(QUERY))["hits"]
    after = through.search(index="pages", body=match(QUERY))["hits"]
    assert after["hits"][0]["_id"] == "shutil.rmtree"
    assert [hit["_id"] for hit in after["hits"]] != [hit["_id"] for hit in before["hits"]]
    assert after["total"] == before["total"]
    assert after["max_score"] == after["hits"][0]["_score"]
