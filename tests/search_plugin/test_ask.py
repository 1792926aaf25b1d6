"""What a request asks of us, wherever it says so."""

import json

import pytest

from search_plugin import BadAsk, Plan, Reason
from tests.search_plugin.make import make_policy, plan_request

QUERY = {"query": {"match": {"title": "red wine"}}}
POLICY = make_policy(name="wine", indices=("wine*",), model="small", max_window=200, max_deadline_ms=5000)


def plan(body=None, parameters="", headers=None, policy=POLICY, target="/wine/_search", **rules):
    raw = json.dumps({**QUERY, **(body or {})}).encode()
    return plan_request(raw, f"{target}?{parameters}", headers or {}, [policy], **rules)


def ext(**clause):
    return {"ext": {"rerank": clause}}


def retriever(child=None, **clause):
    said = {
        "retriever": child or {"standard": {"query": {"match": {"title": "wine"}}}},
        "field": "title",
        "inference_id": "sidecar-big",
        "inference_text": "red wine",
        **clause,
    }
    return {"retriever": {"text_similarity_reranker": {k: v for k, v in said.items() if v is not None}}}


@pytest.mark.parametrize(
    ("clause", "option", "value"),
    [
        pytest.param({"model": "big"}, "model", "big", id="model"),
        pytest.param({"document_fields": ["a", "b.c"]}, "passage_fields", ("a", "b.c"), id="fields"),
        pytest.param({"rank_window_size": 100}, "window", 100, id="window"),
        pytest.param({"rank_window_size": 1}, "window", 1, id="a small window"),
        pytest.param({"min_score": 0.25}, "min_score", 0.25, id="min_score"),
        pytest.param({"timeout": "300ms"}, "deadline_ms", 300, id="milliseconds"),
        pytest.param({"timeout": "1.5s"}, "deadline_ms", 1500, id="seconds"),
        pytest.param({"score_mode": "rrf"}, "score_mode", "rrf", id="score_mode"),
        pytest.param({"weight": 0.5}, "weight", 0.5, id="weight"),
        pytest.param({"rank_constant": 10}, "rank_constant", 10, id="rank_constant"),
        pytest.param({"keep_previous_score": True}, "keep_previous_score", True, id="keep_previous_score"),
        pytest.param({"mode": "shadow"}, "mode", "shadow", id="shadow"),
        pytest.param({"model": None}, "model", "small", id="null says nothing"),
        pytest.param({}, "window", 50, id="nothing"),
    ],
)
def test_the_clause_is_laid_over_the_policy(clause, option, value):
    assert getattr(plan(ext(**clause)).policy, option) == value


def test_the_fields_asked_for_replace_a_template():
    policy = make_policy(name="wine", passage_fields=(), passage_template="{title}: {text}")
    assert plan(ext(document_fields=["a"]), policy=policy).policy.fields == ("a",)


def test_chunks_are_asked_for_as_in_elasticsearch():
    settings = {"strategy": "word", "max_chunk_size": 100, "overlap": 20}
    chunks = plan(ext(chunk_rescorer={"size": 3, "chunking_settings": settings})).policy.chunks
    assert (chunks.words, chunks.overlap, chunks.by, chunks.most) == (100, 20, "word", 3)


@pytest.mark.parametrize(
    ("context", "text"),
    [
        pytest.param({"query_text": "dry wine"}, "dry wine", id="text"),
        pytest.param({"query_text_path": "query.match.title"}, "red wine", id="path"),
        pytest.param(
            {"query_text_path": "query.match.title.query"}, "red wine", id="path of the written-out clause"
        ),
    ],
)
def test_the_query_text_may_be_given_or_pointed_at(context, text):
    assert plan(ext(query_context=context)).query_text == text


@pytest.mark.parametrize(
    ("parameters", "option", "value"),
    [
        ("rerank_model=big", "model", "big"),
        ("rerank_window_size=70", "window", 70),
        ("rerank_fields=a,b.c", "passage_fields", ("a", "b.c")),
        ("rerank=shadow", "mode", "shadow"),
        ("rerank=true", "mode", "on"),
        ("rerank", "mode", "on"),
    ],
)
def test_the_url_is_laid_over_the_policy(parameters, option, value):
    planned = plan(parameters=f"pretty&{parameters}")
    assert getattr(planned.policy, option) == value
    assert planned.stripped.target == "/wine/_search?pretty"


def test_the_url_may_give_the_query_text():
    assert plan(parameters="rerank_query=dry+wine").query_text == "dry wine"


@pytest.mark.parametrize(
    ("headers", "option", "value"),
    [
        ({"x-rerank-model": "big"}, "model", "big"),
        ({"x-rerank-window": "70"}, "window", 70),
        ({"x-rerank": "shadow"}, "mode", "shadow"),
    ],
)
def test_headers_are_laid_over_the_policy(headers, option, value):
    assert getattr(plan(headers=headers).policy, option) == value


@pytest.mark.parametrize(
    ("body", "parameters", "headers", "window"),
    [
        pytest.param(ext(rank_window_size=1), "rerank_window_size=2", {"x-rerank-window": "3"}, 1, id="body"),
        pytest.param({}, "rerank_window_size=2", {"x-rerank-window": "3"}, 2, id="url"),
        pytest.param({}, "", {"x-rerank-window": "3"}, 3, id="header"),
        pytest.param(ext(model="big"), "", {"x-rerank-window": "3"}, 3, id="each option by itself"),
        pytest.param({}, "", {}, 50, id="policy"),
    ],
)
def test_body_counts_before_url_before_headers_before_policy(body, parameters, headers, window):
    assert plan(body, parameters, headers).policy.window == window


OFF = make_policy(name="wine", model="small", mode="off")


@pytest.mark.parametrize(
    ("policy", "body", "parameters", "headers", "is_planned"),
    [
        pytest.param(OFF, {}, "", {}, False, id="nobody asks"),
        pytest.param(OFF, ext(), "", {}, True, id="an empty clause asks"),
        pytest.param(OFF, ext(mode="on"), "", {}, True, id="the body asks"),
        pytest.param(OFF, ext(model="big"), "", {}, True, id="whoever names a model asks"),
        pytest.param(OFF, {}, "rerank=true", {}, True, id="the url asks"),
        pytest.param(OFF, {}, "", {"x-rerank": "on"}, True, id="a header asks"),
        pytest.param(POLICY, {}, "rerank=false", {}, False, id="the url refuses"),
        pytest.param(POLICY, ext(mode="off"), "rerank=true", {}, False, id="the body refuses"),
        pytest.param(
            POLICY, ext(mode="on"), "rerank=true", {"x-rerank": "off"}, False, id="X-Rerank: off wins"
        ),
    ],
)
def test_reranking_is_on_where_it_is_asked_for(policy, body, parameters, headers, is_planned):
    decision = plan(body, parameters, headers, policy)
    assert isinstance(decision, Plan) is is_planned
    assert is_planned or decision.reason is Reason.POLICY_OFF


@pytest.mark.parametrize(
    ("body", "parameters", "headers", "message"),
    [
        pytest.param(ext(windows=1), "", {}, "[ext.rerank.windows] unknown", id="unknown key"),
        pytest.param(ext(**{"\ud800": 1}), "", {}, "[ext.rerank.\ud800] unknown", id="no text for a key"),
        pytest.param({"ext": {"rerank": 1}}, "", {}, "[ext.rerank] must be an object", id="no object"),
        pytest.param(ext(rank_window_size=0), "", {}, "[ext.rerank.rank_window_size] ", id="too small"),
        pytest.param(ext(rank_window_size="x"), "", {}, "[ext.rerank.rank_window_size] ", id="no number"),
        pytest.param(
            ext(rank_window_size=201), "", {}, "[ext.rerank.rank_window_size] must be at most 200", id="max"
        ),
        pytest.param(ext(timeout="6s"), "", {}, "[ext.rerank.timeout] must be at most 5000ms", id="max time"),
        pytest.param(
            ext(timeout="9" * 400 + "s"), "", {}, "[ext.rerank.timeout] expected a time", id="endless time"
        ),
        pytest.param(
            ext(chunk_rescorer={"chunking_settings": {"strategy": ["word"]}}),
            "",
            {},
            "[ext.rerank.chunk_rescorer] chunking_settings.strategy: expected one of",
            id="a list of strategies",
        ),
        pytest.param(
            ext(chunk_rescorer={"\ud800": 1}), "", {}, "[ext.rerank.chunk_rescorer] unknown: ?", id="no text"
        ),
        pytest.param(
            ext(chunk_rescorer={"chunking_settings": {"strategy": "word", "overlap": 126}}),
            "",
            {},
            "[ext.rerank.chunk_rescorer] overlap must be at most half of words",
            id="chunks that hardly move on",
        ),
        pytest.param(
            ext(timeout=300), "", {}, "[ext.rerank.timeout] expected a time", id="time without unit"
        ),
        pytest.param(ext(model="x"), "", {}, "[ext.rerank.model] no such model: 'x'", id="model"),
        pytest.param(ext(weight=2), "", {}, "[ext.rerank.weight] ", id="weight"),
        pytest.param(ext(score_mode="sum"), "", {}, "[ext.rerank.score_mode] ", id="score_mode"),
        pytest.param(ext(document_fields=[]), "", {}, "[ext.rerank.document_fields] ", id="no field"),
        pytest.param(ext(document_fields=["a", 1]), "", {}, "[ext.rerank.document_fields.1] ", id="field"),
        pytest.param(
            ext(chunk_rescorer={"chunking_settings": {"strategy": "x"}}),
            "",
            {},
            "[ext.rerank.chunk_rescorer] chunking_settings.strategy: expected one of",
            id="chunks",
        ),
        pytest.param(
            ext(query_context="x"),
            "",
            {},
            "[ext.rerank.query_context] query_context must be a map",
            id="context",
        ),
        pytest.param(
            ext(query_context={}),
            "",
            {},
            '[ext.rerank.query_context] Must specify either "query_text" or "query_text_path"',
            id="empty context",
        ),
        pytest.param(
            ext(query_context={"query_text": "a", "query_text_path": "b"}),
            "",
            {},
            '[ext.rerank.query_context] Cannot specify both "query_text" and "query_text_path"',
            id="both",
        ),
        pytest.param(
            ext(query_context={"query_text_path": "query.match"}),
            "",
            {},
            "[ext.rerank.query_context.query_text_path] query_text_path must point to a string field",
            id="a path to no text",
        ),
        pytest.param({}, "rerank=maybe", {}, "[rerank] ", id="url mode"),
        pytest.param({}, "rerank_model=x", {}, "[rerank_model] no such model", id="url model"),
        pytest.param(
            {}, "rerank_window_size=201", {}, "[rerank_window_size] must be at most 200", id="url max"
        ),
        pytest.param({}, "", {"x-rerank": "maybe"}, "[x-rerank] ", id="header mode"),
        pytest.param({}, "", {"x-rerank-window": "x"}, "[x-rerank-window] ", id="header window"),
    ],
)
def test_a_wrong_wish_is_refused_and_named(body, parameters, headers, message):
    with pytest.raises(BadAsk) as refused:
        plan(body, parameters, headers)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("body", "stripped"),
    [
        pytest.param(
            '{"query":{},"ext":{"rerank":{"model":"big"}},"size":1e1}', '{"query":{},"size":1e1}', id="alone"
        ),
        pytest.param(
            '{"ext":{"a":[1.50],"rerank":{}}, "q" : "\\u00fc"}',
            '{"ext":{"a":[1.50]},"q":"\\u00fc"}',
            id="beside others",
        ),
    ],
)
def test_the_clause_never_reaches_the_cluster_and_the_rest_stays_as_it_was_written(body, stripped):
    decision = plan_request(body.encode(), "/beer/_search", policies=[POLICY], engine="elasticsearch")
    assert decision.reason is Reason.POLICY_OFF
    assert decision.stripped.body.decode() == stripped


@pytest.mark.parametrize(
    ("engine", "policy", "body", "parameters", "reason"),
    [
        pytest.param(
            "opensearch", POLICY, {}, "search_pipeline=p", Reason.SEARCH_PIPELINE, id="pipeline in the url"
        ),
        pytest.param(
            "opensearch", POLICY, {"search_pipeline": "p"}, "", Reason.SEARCH_PIPELINE, id="in the body"
        ),
        pytest.param(None, POLICY, {}, "search_pipeline=p", Reason.SEARCH_PIPELINE, id="engine not known"),
        pytest.param("opensearch", OFF, {}, "search_pipeline=p", Reason.SEARCH_PIPELINE, id="mode off"),
        pytest.param(
            "opensearch",
            make_policy(ext_rerank="passthrough"),
            {},
            "",
            Reason.SEARCH_PIPELINE,
            id="policy says passthrough",
        ),
        pytest.param("opensearch", make_policy(indices=("beer",)), {}, "", Reason.POLICY_OFF, id="no policy"),
    ],
)
def test_what_is_for_opensearchs_own_processor_stays(engine, policy, body, parameters, reason):
    decision = plan({**ext(windows=1), **body}, parameters, policy=policy, engine=engine)
    assert decision.reason is reason
    assert decision.stripped.body is None


def test_a_retriever_of_ours_is_unwrapped():
    """Query text, field and window are its own; the child becomes the search."""
    body = json.dumps({"size": 3, **retriever(rank_window_size=30, min_score=0.5)}).encode()
    planned = plan_request(body, "/wine/_search", policies=[POLICY])
    assert json.loads(planned.stripped.body) == {"size": 3, "query": {"match": {"title": "wine"}}}
    assert planned.enlarged.target == "/wine/_search?from=0&size=30"
    assert (planned.query_text, planned.policy.fields) == ("red wine", ("title",))
    assert (planned.policy.window, planned.policy.model, planned.policy.min_score) == (30, "big", 0.5)
    assert planned.scores_like_elasticsearch


@pytest.mark.parametrize(
    ("child", "clause", "stripped"),
    [
        pytest.param(
            {"standard": {"query": {"term": {"a": 1}}, "filter": {"term": {"b": 2}}, "min_score": 2}},
            {"filter": [{"term": {"c": 3}}]},
            {
                "query": {
                    "bool": {"must": {"term": {"a": 1}}, "filter": [{"term": {"c": 3}}, {"term": {"b": 2}}]}
                },
                "min_score": 2,
            },
            id="filters",
        ),
        pytest.param(
            {"standard": {"filter": {"term": {"b": 2}}}},
            {},
            {"query": {"bool": {"filter": [{"term": {"b": 2}}]}}},
            id="only a filter",
        ),
        pytest.param(
            {"rrf": {"retrievers": [], "rank_window_size": 20}},
            {"filter": {"term": {"c": 3}}},
            {
                "retriever": {
                    "rrf": {"retrievers": [], "rank_window_size": 20, "filter": [{"term": {"c": 3}}]}
                }
            },
            id="another retriever",
        ),
    ],
)
def test_what_remains_of_a_retriever_of_ours(child, clause, stripped):
    body = json.dumps(retriever(child, **clause)).encode()
    assert json.loads(plan_request(body, "/wine/_search", policies=[POLICY]).stripped.body) == stripped


def test_a_retriever_of_ours_is_unwrapped_where_no_policy_covers_the_search():
    decision = plan_request(json.dumps(retriever()).encode(), "/beer/_search", policies=[POLICY])
    assert decision.reason is Reason.POLICY_OFF
    assert json.loads(decision.stripped.body) == {"query": {"match": {"title": "wine"}}}


@pytest.mark.parametrize("inference_id", ["my-cohere", None])
def test_the_clusters_own_reranker_is_left_to_it(inference_id):
    body = json.dumps(retriever(inference_id=inference_id)).encode()
    decision = plan_request(body, "/wine/_search", policies=[POLICY])
    assert decision.reason is Reason.RESCORE_CLAUSE
    assert decision.stripped.body is None


@pytest.mark.parametrize(
    ("clause", "place"),
    [
        ({"inference_id": "sidecar-none"}, "inference_id"),
        ({"field": None}, "field"),
        ({"inference_text": None}, "inference_text"),
        ({"rank_window_size": 0}, "rank_window_size"),
        ({"rank_window_size": 201}, "rank_window_size"),
        ({"window": 3}, "window"),
        ({"child": {"standard": 1}}, "retriever.standard"),
        ({"child": {"standard": {}, "rrf": {}}}, "retriever"),
        ({"child": {"standard": {"size": 2}}, "extra": {"size": 3}}, "retriever"),
    ],
)
def test_a_wrong_retriever_is_refused_and_named(clause, place):
    said = {key: value for key, value in clause.items() if key != "extra"}
    body = json.dumps({**retriever(**said), **clause.get("extra", {})}).encode()
    with pytest.raises(BadAsk) as refused:
        plan_request(body, "/wine/_search", policies=[POLICY])
    assert refused.value.place == f"retriever.text_similarity_reranker.{place}"
