"""Asynchronous searches, against answers as the engines document them: their plugins are not to be had."""

from __future__ import annotations

import json

import pytest

from tests.gateway.doubles import answer, search_answer
from tests.gateway.test_search import TITLES, Search, told

BEST = ["dddd", "bbb"]
ELASTIC, OPENSEARCH = "/_async_search", "/_plugins/_asynchronous_search"


@pytest.fixture
def search(cluster, config):
    search = Search(cluster, config)
    yield search
    search.pool.close()


def envelope(titles=TITLES, response=True, headers=(), **members):
    inner = {"response": json.loads(search_answer(*titles))} if response else {}
    return answer(json.dumps({"id": "FmRl==", **members, **inner}).encode(), headers=headers)


def read(answered):
    told = json.loads(answered.data)
    return told["id"], [
        hit["_source"]["title"] for hit in told.get("response", {"hits": {"hits": []}})["hits"]["hits"]
    ]


@pytest.mark.parametrize(
    ("endpoint", "done"),
    [(ELASTIC, {"is_partial": False, "is_running": False}), (OPENSEARCH, {"state": "SUCCEEDED"})],
)
def test_an_answer_that_is_there_at_once_is_reranked(search, endpoint, done):
    search.cluster.script = lambda received: envelope(**done)
    answered = search.post(f"/books{endpoint}?size=2&wait_for_completion_timeout=2s")
    assert read(answered)[1] == BEST
    assert told(answered) == ("applied", None)
    assert search.targets == [f"/books{endpoint}?size=4&wait_for_completion_timeout=2s&from=0"]


def test_opensearch_names_the_index_in_a_parameter(search):
    search.cluster.script = lambda received: envelope(state="SUCCEEDED")
    assert told(search.post(f"{OPENSEARCH}?index=books&size=2")) == ("applied", None)
    assert told(search.post(f"{OPENSEARCH}?index=films&size=2")) == ("skipped", "policy_off")
    assert told(search.post(f"{OPENSEARCH}?size=2")) == ("skipped", "policy_off")


@pytest.mark.parametrize(
    ("endpoint", "running", "done", "has_hits"),
    [
        (ELASTIC, {"is_partial": True, "is_running": True}, {"is_running": False}, True),
        (OPENSEARCH, {"state": "RUNNING"}, {"state": "STORE_RESIDENT"}, False),
    ],
)
def test_an_answer_that_comes_later_is_reranked_by_the_id(search, endpoint, running, done, has_hits):
    """Until then the hits so far are the cluster's; and any gateway can do it: the id says how."""
    search.cluster.script = lambda received: envelope(response=has_hits, **running)
    answered = search.post(f"/books{endpoint}?size=2&rerank_model=tiny")
    own_id, hits = read(answered)
    assert own_id.startswith("FmRl==~")
    assert hits == (TITLES[:2] if has_hits else [])
    assert told(answered) == ("skipped", "still_running")

    other = Search(search.cluster, search.config)
    other.cluster.script = lambda received: envelope(**done)
    with other.app.test_client() as client:
        later = client.get(f"{endpoint}/{own_id}?keep_alive=1m")
        escaped = client.get(f"{endpoint}/{own_id.replace('~', '%7E')}")
    other.pool.close()
    assert read(later) == read(escaped) == (own_id, BEST)
    assert told(later) == ("applied", None)
    assert search.cluster.received[-2].target == f"{endpoint}/FmRl==?keep_alive=1m"
    assert json.loads(later.data)["response"]["ext"]["rerank"]["status"] == "applied"


def test_state_and_end_of_a_search_are_asked_for_with_the_clusters_id(search):
    search.cluster.script = lambda received: envelope(response=False, is_running=True, headers=["X-A: 1"])
    own_id, _ = read(search.post(f"/books{ELASTIC}"))
    with search.app.test_client() as client:
        state = client.get(f"{ELASTIC}/status/{own_id}")
        client.delete(f"{ELASTIC}/{own_id}")
    assert json.loads(state.data)["id"] == own_id
    assert [f"{one.method} {one.target}" for one in search.cluster.received[1:]] == [
        f"GET {ELASTIC}/status/FmRl==",
        f"DELETE {ELASTIC}/FmRl==",
    ]


def test_the_id_in_a_header_is_ours_too(search):
    search.cluster.script = lambda received: envelope(
        is_running=True, headers=["X-Elasticsearch-Async-Id: FmRl=="]
    )
    answered = search.post(f"/books{ELASTIC}")
    assert answered.headers["X-Elasticsearch-Async-Id"] == json.loads(answered.data)["id"]


def test_filter_path_is_applied_to_the_whole_answer(search):
    search.cluster.script = lambda received: envelope(is_running=False)
    answered = search.post(f"/books{ELASTIC}?size=2&filter_path=response.hits.hits._source,id")
    told = json.loads(answered.data)
    assert told.keys() == {"id", "response"}
    assert told["response"] == {"hits": {"hits": [{"_source": {"title": title}} for title in BEST]}}


def test_an_id_without_a_ticket_of_ours_passes(search):
    search.cluster.script = lambda received: answer(b'{"id":"x"}')
    with search.app.test_client() as client:
        client.get(f"{ELASTIC}/FmRl==")
        client.get(f"{ELASTIC}/FmRl==~nonsense")
    assert search.targets == [f"{ELASTIC}/FmRl==", f"{ELASTIC}/FmRl==~nonsense"]


def test_a_search_that_is_left_alone_has_the_clusters_id(search):
    search.cluster.script = lambda received: envelope(is_running=False)
    answered = search.post(f"/films{ELASTIC}?size=2")
    assert read(answered) == ("FmRl==", TITLES)
    assert told(answered) == ("skipped", "policy_off")


def test_a_search_that_only_the_window_spoils_is_sent_as_it_came(search):
    def refuse(received):
        return answer(b"{}", "400 Bad") if "from=0" in received.target else envelope(is_running=False)

    search.cluster.script = refuse
    assert read(search.post(f"/books{ELASTIC}?size=2"))[0] == "FmRl=="


def test_an_answer_that_cannot_be_cut_comes_as_the_cluster_has_it(search):
    """Under its id the cluster has no other one."""
    deep = json.loads('{"a":' * 400 + "1" + "}" * 400)
    page = {"is_running": False, "aggregations": deep}
    search.cluster.script = lambda received: envelope(**page)
    answered = search.post(f"/books{ELASTIC}?size=2&filter_path=**.b")
    own_id, hits = read(answered)
    assert own_id.startswith("FmRl==~")
    assert hits == TITLES
    assert told(answered) == ("skipped", "backend_error")
