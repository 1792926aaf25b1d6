"""Every kind of search through the application: a cluster that speaks HTTP, and scripted scores."""

from __future__ import annotations

import gzip
import json
import os
import time

import pytest

from gateway.scoring import ScoringFailed
from search_plugin import Reason
from tests.gateway.doubles import answer, search_answer
from tests.gateway.test_search import MATCH, TITLES, Search, titles, told

BEST = ["dddd", "bbb"]


@pytest.fixture
def search(cluster, config):
    search = Search(cluster, config, search_body_limit_bytes=5000)
    yield search
    search.pool.close()


def script(search, *rules):
    """Answer each target that begins with a rule's by its answer; others with a search's."""

    def respond(received):
        found = (respond for start, respond in rules if received.target.startswith(start))
        chosen = next(found, None)
        body = chosen(received) if callable(chosen) else chosen
        return answer(search_answer(*TITLES) if body is None else body)

    search.cluster.script = respond


def own(answered):
    """Its own part of the parsed answer."""
    return json.loads(answered.data).get("ext", {}).get("rerank")


def test_a_search_that_asks_is_told_in_the_answer(search):
    body = {**MATCH, "ext": {"rerank": {"profile": True, "rank_window_size": 3}}}
    answered = search.post(body=body)
    assert titles(answered) == ["bbb", "cc"]
    note = own(answered)
    assert (note["status"], note["window"], note["reranked"], note["model"]) == ("applied", 3, 3, "tiny")
    assert [hit["previous_rank"] for hit in note["hits"]] == [
        TITLES.index(title) + 1 for title in titles(answered)
    ]
    assert json.loads(search.cluster.received[-1].body) == MATCH


def test_a_search_that_does_not_ask_is_not(search):
    assert own(search.post()) is None


def test_a_failure_is_told_in_the_answer_too(search):
    search.scorer._script = lambda *_: (_ for _ in ()).throw(ScoringFailed(Reason.TIMEOUT))
    note = own(search.post("/books/_search?size=2&rerank=true"))
    assert (note["status"], note["reason"], note["reranked"]) == ("failed", "timeout", 0)


def test_a_search_that_wants_no_other_order_gets_an_error_without_scores(search):
    search.scorer._script = lambda *_: (_ for _ in ()).throw(ScoringFailed(Reason.NO_WORKER))
    answered = search.post(body={**MATCH, "ext": {"rerank": {"allow_rerank_failures": False}}})
    assert answered.status_code == 500
    assert answered.get_json()["error"]["type"] == "rerank_failed_exception"
    assert told(answered) == ("failed", "no_worker")


@pytest.mark.parametrize(
    ("target", "body", "headers", "place"),
    [
        ("/books/_search", {**MATCH, "ext": {"rerank": {"windows": 1}}}, [], "ext.rerank.windows"),
        ("/books/_search?rerank=perhaps", MATCH, [], "rerank"),
        ("/books/_search", MATCH, [("X-Rerank-Window", "x")], "x-rerank-window"),
        ("/_rerank/explain/books/_search?rerank_model=x", MATCH, [], "rerank_model"),
    ],
)
def test_a_wrong_wish_is_a_400_in_the_engines_shape(search, target, body, headers, place):
    answered = search.post(target, body, headers)
    assert answered.status_code == 400
    error = answered.get_json()
    assert error["status"] == 400
    assert error["error"]["type"] == error["error"]["root_cause"][0]["type"] == "illegal_argument_exception"
    assert error["error"]["reason"].startswith(f"[{place}] ")
    assert set(search.targets) <= {"/"}  # asked which engine it is


@pytest.mark.parametrize("target", ["/books/_search?size=2", "/films/_search?size=2"])
def test_nothing_of_ours_reaches_the_cluster(search, target):
    body = {**MATCH, "ext": {"rerank": {"model": "tiny"}, "own": 1}}
    search.cluster.script = lambda received: answer(
        search_answer(*TITLES), headers=["X-Elastic-Product: Elasticsearch"]
    )
    search.post(f"{target}&rerank=true&rerank_window_size=3", body, [("X-Rerank-Model", "tiny")])
    received = search.cluster.received[-1]
    assert "rerank" not in received.target
    assert b"rerank" not in received.head.lower()
    assert json.loads(received.body) == {**MATCH, "ext": {"own": 1}}
    assert int(received.header("content-length")) == len(received.body)


def test_a_rewritten_body_is_sent_uncompressed_with_its_own_length(search):
    body = gzip.compress(json.dumps({**MATCH, "ext": {"rerank": {}}}).encode())
    answered = search.post(body=body, headers=[("Content-Encoding", "gzip")])
    assert told(answered) == ("applied", None)
    received = search.cluster.received[-1]
    assert received.header("content-encoding") is None
    assert json.loads(received.body) == MATCH


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, "application/json"),
        ("application/json", "application/json"),
        (
            "application/vnd.elasticsearch+json;compatible-with=9",
            "application/vnd.elasticsearch+json;compatible-with=9",
        ),
    ],
)
def test_a_search_that_gets_a_body_gets_its_type(search, accept, content_type):
    with search.app.test_client() as client:
        headers = [("Accept", accept)] if accept else []
        client.get("/books/_search?q=wine&_source=false", headers=headers)
    received = search.cluster.received[-1]
    assert json.loads(received.body) == {"fields": ["title"]}
    assert received.header("content-type") == content_type


def test_filter_path_is_applied_behind_the_reranking(search):
    answered = search.post("/books/_search?size=2&filter_path=hits.hits._source")
    assert json.loads(answered.data) == {"hits": {"hits": [{"_source": {"title": title}} for title in BEST]}}
    assert search.targets == ["/books/_search?size=4&filter_path=*&from=0"]


DEEP = '{"a":' * 400 + "1" + "}" * 400


def test_what_cannot_be_cut_is_asked_for_once_more_as_the_client_sent_it(search):
    """Documents may be nested more deeply than we filter; the cluster then does it itself."""
    page = search_answer(*TITLES).replace(b'"_source": {', b'"_source": {"deep":' + DEEP.encode() + b",")
    script(search, ("/books/_search?size=4", page))
    answered = search.post("/books/_search?size=2&filter_path=**.b&rerank=on")
    assert answered.data == search_answer(*TITLES)
    assert told(answered) == ("skipped", "backend_error")
    assert search.targets == [
        "/books/_search?size=4&filter_path=*&from=0",
        "/books/_search?size=2&filter_path=**.b",
    ]


def test_so_is_a_multi_search_that_cannot_be_cut(search):
    page = search_answer(*TITLES).replace(b'"_source": {', b'"_source": {"deep":' + DEEP.encode() + b",")
    answers = [b'{"responses":[' + page + b"]}", b'{"own":1}']
    script(search, ("/_msearch", lambda received: answers.pop(0)))
    body = ndjson((BOOKS, {**MATCH, "size": 2}))
    answered = search.post("/_msearch?filter_path=**.b", body)
    assert answered.data == b'{"own":1}'
    assert told(answered) == ("skipped", "backend_error")
    assert search.cluster.received[-1].body == body


@pytest.mark.parametrize("header", [b"[" * 4_000, b'{"a":' * 900])
def test_a_header_that_is_nested_too_deeply_is_the_clusters_to_refuse(search, header):
    answered = search.post("/books/_msearch", header + b"\n{}\n")
    assert told(answered) == ("skipped", "malformed_body")


def test_a_shadow_search_is_answered_as_it_was_and_scored(search):
    answered = search.post("/books/_search?size=2&rerank=shadow")
    assert titles(answered) == TITLES[:2]
    assert told(answered) == ("shadow", None)
    deadline = time.monotonic() + 5
    while not search.scorer.calls and time.monotonic() < deadline:
        time.sleep(0.01)
    assert search.scorer.calls


def ndjson(*items):
    return b"".join(json.dumps(line).encode() + b"\n" for item in items for line in item)


def respond_each(received):
    """One answer for each item: a search's, or an error for a window above 1000."""
    bodies = [json.loads(line or b"{}") for line in received.body.split(b"\n")[1::2]]
    texts = [search_answer(*TITLES[: body.get("size", 10)]) for body in bodies]
    return b'{"took":3,"responses":[' + b",".join(texts) + b"]}"


BOOKS = {"index": "books"}
FILMS = {"index": "films"}


def hits_of(answered):
    responses = json.loads(answered.data)["responses"]
    return [[hit["_source"]["title"] for hit in response["hits"]["hits"]] for response in responses]


def test_each_item_of_a_multi_search_is_a_search_of_its_own(search):
    script(search, ("/_msearch", respond_each))
    body = ndjson((BOOKS, {**MATCH, "size": 2}), (FILMS, {**MATCH, "size": 2}), (BOOKS, {**MATCH, "size": 1}))
    answered = search.post("/_msearch?typed_keys=true", body)
    assert hits_of(answered) == [BEST, TITLES[:2], BEST[:1]]
    assert told(answered) == ("applied", "policy_off")
    assert search.targets == ["/_msearch?typed_keys=true"]
    sent = search.cluster.received[0].body.split(b"\n")
    assert sent[2:4] == body.split(b"\n")[2:4]
    assert json.loads(sent[1]) == {**MATCH, "from": 0, "size": 4}


def test_the_path_names_the_indices_of_items_that_name_none(search):
    script(search, ("/books/_msearch", respond_each))
    assert hits_of(search.post("/books/_msearch", ndjson(({}, {**MATCH, "size": 2})))) == [BEST]


def test_a_multi_search_without_a_search_of_ours_passes_as_it_came(search):
    script(search, ("/_msearch", respond_each))
    body = ndjson((FILMS, MATCH)).replace(b"{", b"{ ")
    answered = search.post("/_msearch", body)
    assert search.cluster.received[0].body == body
    assert told(answered) == ("skipped", "policy_off")


def test_items_of_a_multi_search_may_ask_and_are_told(search):
    script(search, ("/_msearch", respond_each))
    asks = {"ext": {"rerank": {"rank_window_size": 3}}}
    body = ndjson((BOOKS, {**MATCH, **asks}), (BOOKS, {**MATCH, "sort": "price"}), (BOOKS, MATCH))
    answered = search.post("/_msearch", body)
    responses = json.loads(answered.data)["responses"]
    assert [response.get("ext", {}).get("rerank", {}).get("window") for response in responses] == [
        3,
        None,
        None,
    ]
    assert b"rerank" not in search.cluster.received[0].body
    assert told(answered) == ("applied", "sort_not_score")


def test_a_wrong_wish_in_a_multi_search_names_the_item(search):
    body = ndjson((BOOKS, MATCH), (BOOKS, {**MATCH, "ext": {"rerank": {"model": "none"}}}))
    answered = search.post("/_msearch", body)
    assert answered.status_code == 400
    assert answered.get_json()["error"]["reason"].startswith("[searches[1].ext.rerank.model] no such model")


def test_an_item_that_only_the_window_spoils_is_asked_again(search):
    def refuse_enlarged(received):
        if len(search.targets) > 1:
            assert received.body == ndjson((BOOKS, {**MATCH, "size": 1}))
            return b'{"took":1,"responses":[' + search_answer("own") + b"]}"
        enlarged = b'{"error":{"type":"x"},"status":400}'
        return b'{"took":1,"responses":[' + enlarged + b"," + search_answer(*TITLES) + b"]}"

    script(search, ("/_msearch", refuse_enlarged))
    answered = search.post("/_msearch", ndjson((BOOKS, {**MATCH, "size": 1}), (BOOKS, {**MATCH, "size": 2})))
    assert hits_of(answered) == [["own"], BEST]
    assert told(answered) == ("applied", "cluster_refused")


def test_an_item_that_is_wrong_in_itself_is_not_asked_again(search):
    error = b'{"error":{"type":"index_not_found_exception"},"status":404}'
    script(search, ("/_msearch", b'{"took":1,"responses":[' + error + b"," + search_answer(*TITLES) + b"]}"))
    answered = search.post("/_msearch", ndjson((BOOKS, MATCH), (BOOKS, {**MATCH, "size": 2})))
    assert json.loads(answered.data)["responses"][0] == json.loads(error)
    assert told(answered) == ("applied", "cluster_refused")
    assert search.targets == ["/_msearch"]


@pytest.mark.parametrize("body", [b"{}\n{}", b"{}\n", b'{"index":1}\n{}\n', b"\n{}\n"])
def test_a_malformed_multi_search_passes_as_it_came(search, body):
    answered = search.post("/books/_msearch", body)
    assert search.cluster.received[0].body == body
    assert told(answered) == ("skipped", "malformed_body")


def test_filter_path_is_applied_to_a_whole_multi_search(search):
    script(search, ("/_msearch", respond_each))
    answered = search.post(
        "/_msearch?filter_path=responses.hits.hits._id", ndjson((BOOKS, {**MATCH, "size": 1}))
    )
    assert json.loads(answered.data) == {"responses": [{"hits": {"hits": [{"_id": "3"}]}}]}


def test_without_scores_each_item_is_the_clusters_own(search):
    script(search, ("/_msearch", respond_each))
    search.scorer._script = lambda *_: (_ for _ in ()).throw(ScoringFailed(Reason.TIMEOUT))
    answered = search.post("/_msearch", ndjson(*[(BOOKS, {**MATCH, "size": 2})] * 20))
    assert hits_of(answered) == [TITLES[:2]] * 20
    assert told(answered) == ("failed", "timeout")


RENDERED = b'{\n  "template_output" : {\n "query" : {"match":{"title":"red \\n wine"}}, "size":2 }}'


def test_a_template_is_rendered_and_then_a_search(search):
    script(search, ("/_render/template", RENDERED))
    template = {"id": "t", "params": {"q": "red wine"}, "explain": True}
    answered = search.post("/books/_search/template?typed_keys=true", template)
    assert titles(answered) == BEST
    assert told(answered) == ("applied", None)
    assert search.targets == ["/_render/template", "/books/_search/template?typed_keys=true"]
    assert json.loads(search.cluster.received[0].body) == template
    assert json.loads(search.cluster.received[1].body) == {
        "explain": True,
        "source": "{{#toJson}}search{{/toJson}}",
        "params": {"search": {"query": {"match": {"title": "red \n wine"}}, "size": 4, "from": 0}},
    }


@pytest.mark.parametrize(
    ("target", "rendered", "reason", "asked"),
    [
        pytest.param("/films/_search/template", RENDERED, "policy_off", 1, id="no policy: not rendered"),
        pytest.param("/books/_search/template", b'{"error":1}', "cluster_refused", 2, id="not rendered"),
        pytest.param(
            "/books/_search/template", b'{"template_output":{"size":0}}', "size_0", 2, id="not to be reranked"
        ),
    ],
)
def test_a_template_that_is_left_alone_passes_as_it_came(search, target, rendered, reason, asked):
    script(search, ("/_render/template", rendered))
    template = b'{ "id":"t" }'
    answered = search.post(target, template)
    assert told(answered) == ("skipped", reason)
    assert len(search.targets) == asked
    assert (search.targets[-1], search.cluster.received[-1].body) == (target, template)


def respond_each_template(received):
    """As `respond_each`; what is no template of ours gets an answer of its own."""
    lines = [json.loads(line) for line in received.body.split(b"\n")[1::2]]
    texts = [search_answer(*TITLES) if "search" in line.get("params", {}) else b'{"own":1}' for line in lines]
    return b'{"took":3,"responses":[' + b",".join(texts) + b"]}"


def test_each_item_of_several_templates_is_rendered_where_a_policy_covers_it(search):
    script(search, ("/_render/template", RENDERED), ("/_msearch/template", respond_each_template))
    answered = search.post("/_msearch/template", ndjson((BOOKS, {"id": "a"}), (FILMS, {"id": "b"})))
    reranked, own = json.loads(answered.data)["responses"]
    assert [hit["_source"]["title"] for hit in reranked["hits"]["hits"]] == BEST
    assert own == {"own": 1}
    assert told(answered) == ("applied", "policy_off")
    assert search.targets == ["/_render/template", "/_msearch/template"]
    assert search.cluster.received[1].body.split(b"\n")[2:4] == [b'{"index": "films"}', b'{"id": "b"}']


def test_a_template_that_cannot_be_rendered_is_left_to_the_cluster_and_the_others_are_not(search):
    def render(received):
        return RENDERED if b"good" in received.body else b'{"error":1}'

    script(search, ("/_render/template", render), ("/_msearch/template", respond_each_template))
    answered = search.post("/_msearch/template", ndjson((BOOKS, {"id": "bad"}), (BOOKS, {"id": "good"})))
    own, reranked = json.loads(answered.data)["responses"]
    assert own == {"own": 1}
    assert [hit["_source"]["title"] for hit in reranked["hits"]["hits"]] == BEST


def test_explain_tells_what_would_be_done(search):
    answered = search.post("/_rerank/explain/books/_search?size=2").get_json()
    assert answered["reranked"] is True
    assert answered["policy"]["name"] == "books"
    assert answered["query_text"] == "wine"
    assert answered["page"] == {"from": 0, "size": 2}
    assert answered["request"] == {"target": "/books/_search?size=4&from=0", "body": MATCH}
    assert [hit["passages"] for hit in answered["hits"]] == [[title] for title in TITLES[:4]]
    assert search.scorer.calls == []


@pytest.mark.parametrize(
    ("target", "body", "reason"),
    [
        ("/films/_search", MATCH, "policy_off"),
        ("/books/_search?sort=price", MATCH, "sort_not_score"),
        ("/books/_search", {}, "no_query_text"),
        ("/books/_search", b"{", "malformed_body"),
    ],
)
def test_explain_tells_why_not(search, target, body, reason):
    answered = search.post(f"/_rerank/explain{target}", body).get_json()
    assert (answered["reranked"], answered["reason"]) == (False, reason)
    assert [policy["name"] for policy in answered["policies"]] == ["books"]


def test_explain_tells_what_the_cluster_says(search):
    search.cluster.script = lambda received: answer(b'{"error":"no"}', "404 Not Found")
    answered = search.post("/_rerank/explain/books/_search").get_json()
    assert answered["reason"] == "cluster_refused"
    assert answered["cluster"] == {"status": 404, "body": {"error": "no"}}


def test_explain_is_for_searches(search):
    assert search.post("/_rerank/explain/books/_count").status_code == 404


def test_a_changed_file_counts_without_a_restart_and_a_wrong_one_does_not(search, cluster, tmp_path, config):
    """The second look is at least a second after the first."""
    path = tmp_path / "rerank.toml"
    path.write_text(config.read_text())
    reloading = Search(cluster, path)

    def write(text):
        path.write_text(text)
        os.utime(path, ns=(time.time_ns(), time.time_ns()))
        time.sleep(1.1)

    def health():
        with reloading.app.test_client() as client:
            return client.get("/_rerank/health").get_json()

    try:
        assert told(reloading.post("/films/_search")) == ("skipped", "policy_off")
        write(config.read_text().replace('indices = ["books"]', 'indices = ["films"]'))
        assert told(reloading.post("/films/_search")) == ("applied", None)
        assert "config_error" not in health()
        write("[[policies]]\nname = 1")
        assert told(reloading.post("/films/_search")) == ("applied", None)
        assert "policy 1: " in health()["config_error"]
        write(config.read_text())
        assert told(reloading.post("/films/_search")) == ("skipped", "policy_off")
        assert "config_error" not in health()
    finally:
        reloading.pool.close()
