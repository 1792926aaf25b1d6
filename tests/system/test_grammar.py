"""Every way to ask for a search, on the real product: the same query comes in the same order."""

import json
from urllib.parse import quote

import pytest
import urllib3

from tests.system.conftest import QUERY, WINDOW, ids, match

SIZE = 10
SEARCH = match(QUERY, size=SIZE)
JSON = {"Content-Type": "application/json"}


def exchange(stack, method, target, body=None, *, direct=False, **headers):
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    base = stack.engine.url if direct else stack.url
    return urllib3.request(
        method, base + target, body=raw, headers={**JSON, **headers}, retries=False, timeout=30.0
    )


def search(stack, body=SEARCH, parameters="", **headers):
    return exchange(stack, "POST", f"/pages/_search{parameters}", body, **headers)


def multi_search(stack):
    items = [{"index": "pages"}, SEARCH, {}, match("sorted list", size=3), {"index": "pages"}, {"size": 0}]
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in items)
    answer = exchange(stack, "POST", "/pages/_msearch", lines)
    first, second, third = answer.json()["responses"]
    assert [hit["_id"] for hit in second["hits"]["hits"]] == ids(search(stack, match("sorted list", size=3)))
    assert third["hits"]["hits"] == []
    assert answer.headers["X-Rerank-Reason"] == "size_0"
    return first


def template(stack):
    if stack.engine.name == "elasticsearch":
        pytest.skip("the distribution for tests has no templates")
    source = json.dumps(SEARCH).replace(json.dumps(QUERY), '"{{text}}"')
    return exchange(
        stack, "POST", "/pages/_search/template", {"source": source, "params": {"text": QUERY}}
    ).json()


def point_in_time(stack):
    opened = {"opensearch": ("_search/point_in_time", "pit_id"), "elasticsearch": ("_pit", "id")}
    endpoint, name = opened[stack.engine.name]
    pit = exchange(stack, "POST", f"/pages/{endpoint}?keep_alive=1m").json()[name]
    answer = exchange(stack, "POST", "/_search", {**SEARCH, "pit": {"id": pit}})
    assert answer.headers["X-Rerank-Status"] == "applied", (answer.headers["X-Rerank-Reason"], pit)
    return answer.json()


def retriever(stack):
    """OpenSearch has none, and Elasticsearch wants a licence for it."""
    reranker = {
        "retriever": {"standard": {"query": SEARCH["query"]}},
        "inference_id": "sidecar-demo",
        "inference_text": QUERY,
        "field": "title",
        "rank_window_size": WINDOW,
    }
    answer = search(stack, {"retriever": {"text_similarity_reranker": reranker}, "size": SIZE})
    by_fields = search(stack, {**SEARCH, "ext": {"rerank": {"document_fields": ["title"]}}})
    assert ids(answer) == ids(by_fields)
    return


WAYS = {
    "another text in the query": lambda stack: search(
        stack,
        {**SEARCH, "ext": {"rerank": {"query_context": {"query_text_path": "query.multi_match.query"}}}},
    ).json(),
    "asked for in the url": lambda stack: search(stack, parameters="?rerank=true&rerank_model=demo").json(),
    "asked for in headers": lambda stack: search(stack, **{"X-Rerank-Window": str(WINDOW)}).json(),
    "the body in the url": lambda stack: exchange(
        stack,
        "GET",
        f"/pages/_search?source={quote(json.dumps(SEARCH))}&source_content_type=application/json",
    ).json(),
    "without source": lambda stack: search(stack, {**SEARCH, "_source": False}).json(),
    "with part of the source": lambda stack: search(stack, {**SEARCH, "_source": ["title"]}).json(),
    "with part of the answer": lambda stack: search(stack, parameters="?filter_path=hits.hits._id").json(),
    "among others": multi_search,
    "as a template": template,
    "at a point in time": point_in_time,
    "by a retriever": retriever,
}


@pytest.mark.parametrize("ask", WAYS.values(), ids=WAYS)
def test_every_way_to_ask_gives_the_same_order(stack, ask):
    plain = search(stack)
    assert plain.headers["X-Rerank-Status"] == "applied"
    assert ids(plain) != ids(exchange(stack, "POST", "/pages/_search", SEARCH, direct=True))
    answer = ask(stack)
    if answer is not None:
        assert [hit["_id"] for hit in answer["hits"]["hits"]] == ids(plain)


def test_what_was_fetched_for_scoring_only_is_not_in_the_answer(stack):
    hits = search(stack, {**SEARCH, "_source": False}).json()["hits"]["hits"]
    assert {name for hit in hits for name in hit} == {"_index", "_id", "_score"}
    own = search(stack, {**SEARCH, "_source": False, "fields": ["title"]}).json()["hits"]["hits"]
    assert {name for hit in own for name in hit["fields"]} == {"title"}


def test_off_in_a_header_is_the_clusters_answer(stack):
    direct = exchange(stack, "POST", "/pages/_search", SEARCH, direct=True).json()
    assert {**search(stack, **{"X-Rerank": "off"}).json(), "took": 0} == {**direct, "took": 0}


@pytest.mark.parametrize("mode", ["replace", "linear", "rrf"])
def test_both_scores_are_told_to_who_asks(stack, mode):
    clause = {"score_mode": mode, "keep_previous_score": True, "profile": True}
    answer = search(stack, {**SEARCH, "ext": {"rerank": clause}}).json()
    hits, told = answer["hits"]["hits"], answer["ext"]["rerank"]
    assert (told["status"], told["score_mode"], told["reranked"]) == ("applied", mode, WINDOW)
    assert [hit["_score"] for hit in hits] == sorted((hit["_score"] for hit in hits), reverse=True)
    previous = [hit["fields"]["_rerank.previous_score"][0] for hit in hits]
    assert previous == pytest.approx([hit["previous_score"] for hit in told["hits"]])
    direct = exchange(stack, "POST", "/pages/_search", {**SEARCH, "size": WINDOW}, direct=True).json()
    first_stage = {hit["_id"]: hit["_score"] for hit in direct["hits"]["hits"]}
    assert previous == [first_stage[hit["_id"]] for hit in hits]


def test_hits_below_min_score_are_left_out(stack):
    scores = [hit["_score"] for hit in search(stack, {**SEARCH, "size": WINDOW}).json()["hits"]["hits"]]
    edge = (scores[4] + scores[5]) / 2
    answer = search(stack, {**SEARCH, "size": WINDOW, "ext": {"rerank": {"min_score": edge}}})
    assert [hit["_score"] for hit in answer.json()["hits"]["hits"]] == scores[:5]


def test_chunks_of_long_texts_are_scored_each(stack):
    clause = {"chunk_rescorer": {"size": 2, "chunking_settings": {"strategy": "word", "max_chunk_size": 20}}}
    answer = search(stack, {**SEARCH, "ext": {"rerank": clause}})
    assert answer.headers["X-Rerank-Status"] == "applied"


def test_a_dry_run_tells_what_is_scored(stack):
    told = exchange(stack, "POST", "/_rerank/explain/pages/_search", SEARCH).json()
    assert (told["reranked"], told["query_text"], len(told["hits"])) == (True, QUERY, WINDOW)
    assert all(hit["passages"][0].startswith(hit["_id"]) for hit in told["hits"])
