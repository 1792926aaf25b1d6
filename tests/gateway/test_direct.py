"""The rerank APIs of a running gateway; a stub worker scores a text by its number of characters."""

from __future__ import annotations

import gzip
import json
import math
from contextlib import contextmanager

import pytest

from gateway.direct.answers import Scored
from gateway.direct.asks import Ask
from gateway.errors import ConfigurationError
from gateway.keys import Keys
from gateway.settings import read_settings
from tests.conftest import find_free_port
from tests.gateway.doubles import Client, start_gateway, stop
from tests.gateway.stub_worker import length_of_each, stub_worker
from worker.contract import MAX_QUERY_CHARS

pytestmark = pytest.mark.system

KEY = "s3cret"
DOCUMENTS = ["a", "ccc", "bb"]
BY_LENGTH = [(1, 3.0), (2, 2.0), (0, 1.0)]


def sigmoid(logit):
    return float(f"{1 / (1 + math.exp(-logit)):.9g}")


class Api:
    """A client of one listener."""

    def __init__(self, port, prefix=""):
        self.port = port
        self._client = Client(port, 0)
        self._prefix = prefix

    def post(self, path, body, *headers, key=KEY):
        """Status, headers and content; ``body`` is bytes, or what becomes JSON."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [
            "Content-Type: application/json",
            *headers,
            *([f"Authorization: Bearer {key}"] if key else []),
        ]
        status, told, content = self._client.request("POST", self._prefix + path, sent, raw)
        return status, dict(told), json.loads(content)

    def get(self, path):
        status, _, content = self._client.request("GET", self._prefix + path)
        return status, json.loads(content)


@contextmanager
def gateway_with(cluster, config, redis_url, **flags):
    rerank_port = find_free_port()
    process, port = start_gateway(
        cluster.url, config, redis_url, rerank_bind=f"127.0.0.1:{rerank_port}", **flags
    )
    try:
        yield Api(rerank_port), Api(port, "/_rerank")
    finally:
        stop(process)


@pytest.fixture(scope="module")
def listeners(running_cluster, config, redis_url):
    limits = {"rerank_max_documents": "50", "rerank_body_limit_bytes": "100000"}
    with (
        stub_worker(redis_url, length_of_each),
        gateway_with(running_cluster, config, redis_url, api_keys=f"other, {KEY}", **limits) as both,
    ):
        yield both


@pytest.fixture
def api(listeners):
    return listeners[0]


def rerank(**members):
    return {"model": "tiny", "query": "wine", "documents": DOCUMENTS, **members}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_documents_are_told_best_first(api, path):
    status, _, answer = api.post(path, rerank())
    assert status == 200
    assert answer["model"] == "tiny"
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == [
        (index, sigmoid(logit)) for index, logit in BY_LENGTH
    ]
    assert not any("document" in result for result in answer["results"])
    assert "data" not in answer


@pytest.mark.parametrize(
    ("members", "indices"),
    [
        pytest.param({"top_n": 2}, [1, 2], id="the best two"),
        pytest.param({"top_n": 99}, [1, 2, 0], id="more than there are"),
        pytest.param({"top_n": 0}, [1, 2, 0], id="vLLM's zero is all"),
        pytest.param({"top_n": 2.0}, [1, 2], id="a whole number"),
        pytest.param({"top_n": None}, [1, 2, 0], id="Dify's null is all"),
        pytest.param({"top_k": 1}, [1], id="Voyage's name"),
        pytest.param({"model": None}, [1, 2, 0], id="no model is the first one declared"),
        pytest.param({"documents": ["b", "bb", "cc"]}, [1, 2, 0], id="like scores in the texts' order"),
        pytest.param({"documents": [{"text": "a"}, {"text": "ccc"}]}, [1, 0], id="objects with a text"),
        pytest.param(
            {"documents": [{"t": "aaaa", "u": "b"}, {"t": "a", "u": "bb"}], "rank_fields": ["u"]},
            [1, 0],
            id="rank_fields",
        ),
        pytest.param(
            {"max_chunks_per_doc": 10, "priority": 1, "x": {"y": []}}, [1, 2, 0], id="unknown members"
        ),
        pytest.param(
            {"documents": [{"t": "a\udfff"}, {"t": "abc"}]}, [1, 0], id="lone surrogates in objects"
        ),
        pytest.param({"documents": ["\x00\x1f", "", "abc"]}, [2, 0, 1], id="control characters, no text"),
    ],
)
def test_what_a_request_asks_for(api, members, indices):
    status, _, answer = api.post("/v1/rerank", rerank(**members))
    assert status == 200, answer
    assert [result["index"] for result in answer["results"]] == indices


def test_texts_are_quoted_on_request_in_each_vendors_way(api):
    _, _, answer = api.post("/v1/rerank", rerank(top_k=1, return_documents=True))
    assert answer["results"][0]["document"] == {"text": "ccc"}
    assert answer["data"][0]["document"] == "ccc"


def test_logits_are_told_on_request(api):
    _, _, answer = api.post("/v1/rerank", rerank(raw_scores=True))
    assert [(result["index"], result["relevance_score"]) for result in answer["results"]] == BY_LENGTH


def test_known_pairs_cost_no_tokens(api):
    _, _, answer = api.post("/v1/rerank", rerank(documents=["never seen before"]))
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert answer["meta"]["tokens"]["input_tokens"] == 7


@pytest.mark.parametrize(
    ("path", "members"),
    [
        pytest.param("/rerank", {"texts": DOCUMENTS}, id="TEI"),
        pytest.param("/tei/rerank", {"texts": DOCUMENTS}, id="TEI by its own path"),
        pytest.param("/tei/rerank", {"documents": DOCUMENTS}, id="Elasticsearch's hugging_face service"),
    ],
)
def test_tei_has_a_bare_list(api, path, members):
    _, _, answer = api.post(path, {"query": "wine", "raw_scores": True, "return_text": True, **members})
    assert answer == [
        {"index": index, "score": score, "text": DOCUMENTS[index]} for index, score in BY_LENGTH
    ]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"text_1": "wine", "text_2": DOCUMENTS}, id="one and many"),
        pytest.param({"queries": ["wine", "beer", "wine"], "documents": DOCUMENTS}, id="as many of both"),
        pytest.param({"data_1": ["wine"], "data_2": DOCUMENTS}, id="older names"),
        pytest.param({"queries": "wine", "items": DOCUMENTS}, id="items"),
    ],
)
def test_vllms_scores_stay_in_the_texts_order(api, path, members):
    _, _, answer = api.post(path, {"model": "tiny", "use_activation": False, **members})
    assert [item["score"] for item in answer["data"]] == [1.0, 3.0, 2.0]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        pytest.param(b"", 400, "not JSON", id="no body"),
        pytest.param(b"{", 400, "not JSON", id="half a body"),
        pytest.param(b"[]", 400, "object", id="not an object"),
        pytest.param(b'{"query": "q", "documents": ["a"], "top_n": NaN}', 400, "NaN", id="not a number"),
        pytest.param(b"[" * 100_000, 400, "not JSON", id="too deep"),
        pytest.param(rerank(documents=[]), 400, "documents", id="no documents"),
        pytest.param({"model": "tiny", "documents": DOCUMENTS}, 422, "query", id="no query"),
        pytest.param({"model": "tiny", "query": "q"}, 422, "documents", id="nothing to score"),
        pytest.param(rerank(query=""), 422, "query", id="an empty query"),
        pytest.param(rerank(query="q" * (MAX_QUERY_CHARS + 1)), 422, "query", id="too long a query"),
        pytest.param(rerank(query="a\ud800"), 422, "query", id="a lone surrogate"),
        pytest.param(rerank(documents="a"), 422, "documents", id="a text for a list"),
        pytest.param(rerank(documents=["a", 5]), 422, "documents.1: ", id="a number for a text"),
        pytest.param(rerank(documents=["a", [None]]), 422, "documents.1: ", id="a list for a text"),
        pytest.param(rerank(top_n=-1), 422, "top_n", id="a negative top_n"),
        pytest.param(rerank(top_n="many"), 422, "top_n", id="a word for a number"),
        pytest.param(rerank(documents=["a"] * 51), 422, "51 texts; at most 50", id="too many documents"),
        pytest.param(rerank(documents=["a" * 200_000]), 413, "100000 bytes", id="too long a body"),
        pytest.param(rerank(model="rerank-v3.5"), 404, "declared: tiny", id="an unknown model"),
    ],
)
def test_a_wrong_request_is_told_what_is_wrong_in_words_of_every_client(api, body, status, named):
    got, _, answer = api.post("/v1/rerank", body)
    assert got == status
    assert named in answer["message"]
    assert answer["detail"] == answer["error"]["message"] == answer["message"]
    assert answer["error"]["code"] == status


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        pytest.param("/rerank", {"texts": ["a"]}, 422, "Validation", id="no query"),
        pytest.param("/tei/rerank", {"query": "q", "texts": []}, 400, "Empty", id="no texts"),
        pytest.param("/tei/rerank", b"{", 422, "Validation", id="not JSON"),
    ],
)
def test_teis_errors_are_in_its_own_words(api, path, body, status, kind):
    got, _, answer = api.post(path, body)
    assert (got, answer["error_type"]) == (status, kind)
    assert isinstance(answer["error"], str)


def test_lengths_that_do_not_fit_are_told(api):
    status, _, answer = api.post("/score", {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]})
    assert status == 422
    assert "text_1 has 2 and text_2 3 texts" in answer["message"]


def test_a_compressed_body_is_read_and_a_bomb_is_not(api):
    def post(text):
        return api.post("/v1/rerank", gzip.compress(text), "Content-Encoding: gzip")

    assert post(json.dumps(rerank()).encode())[0] == 200
    assert post(b" " * 10_000_000)[0] == 413


@pytest.mark.parametrize("key", ["", "wrong", KEY.upper()], ids=["none", "wrong", "other case"])
def test_a_key_is_needed_on_both_listeners(listeners, key):
    for api in listeners:
        status, _, answer = api.post("/v1/rerank", rerank(), key=key)
        assert (status, answer["error"]["type"]) == (401, "authentication_error")


def test_the_search_port_has_the_same_paths_under_its_own_prefix(listeners):
    own, beside_searches = listeners
    for path, body in [
        ("/v1/rerank", rerank(raw_scores=True)),
        ("/tei/rerank", {"query": "q", "texts": ["a"]}),
    ]:
        answers = [api.post(path, body)[2] for api in (own, beside_searches)]
        for answer in answers:
            if isinstance(answer, dict):
                del answer["id"], answer["created"], answer["usage"], answer["meta"]
        assert answers[0] == answers[1]


def test_an_index_may_be_called_rerank(listeners, cluster):
    """On the search port the names are the cluster's."""
    cluster.reset()
    Api(listeners[1].port).get("/rerank")
    assert cluster.received[-1].target == "/rerank"


def test_the_rerank_listener_passes_nothing_to_the_cluster(api, cluster):
    status, answer = api.get("/_cat/indices")
    assert (status, answer["error"]["code"]) == (404, 404)
    assert not cluster.received


def test_the_document_of_the_api_is_told_on_both_listeners(listeners):
    documents = [api.get("/openapi.json") for api in listeners]
    assert documents[0] == documents[1]
    assert documents[0][0] == 200
    assert "/v1/rerank" in documents[0][1]["paths"]


def test_requests_are_counted(listeners):
    own, beside_searches = listeners
    own.post("/v1/rerank", rerank())
    _, _, told = Client(beside_searches.port, 0).request("GET", "/_rerank/metrics")
    assert b'rerank_gateway_direct_total{path="/v1/rerank",status="200"}' in told
    assert b'rerank_gateway_direct_seconds_count{path="/v1/rerank"}' in told


def test_another_method_is_told_which_one_is_right(api):
    status, headers, _ = api._client.request("GET", "/v1/rerank")
    assert (status, dict(headers)["Allow"]) == (405, "OPTIONS, POST") or dict(headers)[
        "Allow"
    ] == "POST, OPTIONS"


def test_what_is_declared_and_served_is_told(api):
    assert api.get("/health") == (200, {"status": "ok"})
    status, models = api.get("/v1/models")
    assert status == 200
    assert [(model["id"], model["served"]) for model in models["data"]] == [("tiny", True)]
    assert api.get("/info")[1]["max_client_batch_size"] == 50


def test_nobody_who_scores_is_an_error_that_says_when_to_try_again(running_cluster, config, redis_server):
    with gateway_with(running_cluster, config, redis_server.url) as (api, _):
        status, headers, answer = api.post("/v1/rerank", rerank(), key="")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "no worker" in answer["message"]
        assert api.post("/tei/rerank", {"query": "q", "texts": ["a"]})[2]["error_type"] == "Unhealthy"
        assert api.get("/health")[0] == 503


def test_an_answer_that_does_not_come_in_time_is_an_error(running_cluster, config, redis_server):
    with (
        stub_worker(redis_server.url, lambda job: None),
        gateway_with(running_cluster, config, redis_server.url, rerank_deadline_ms="300") as (api, _),
    ):
        assert api.post("/v1/rerank", rerank())[0] == 504
        assert api.post("/rerank", {"query": "q", "texts": ["a"]})[0] == 424


def test_two_listeners_need_two_ports():
    with pytest.raises(ConfigurationError, match="another port"):
        read_settings(["--cluster-url", "http://c:1", "--bind", "a:9", "--rerank-bind", "b:9"])


@pytest.mark.parametrize(
    ("logit", "score"),
    [(0.0, "0.5"), (40.0, "1.0"), (-1000.0, "0.0"), (1.23456789012345, "0.774617062")],
)
def test_scores_are_numbers_with_a_fraction_and_few_digits(logit, score):
    """As OpenSearch's connector can cast."""
    told = json.dumps(Scored("m", Ask("", (("q", "p"),)), [logit]).scores[0])
    assert told == score or (score == "0.0" and float(told) < 1e-300 and len(told) < 20)


@pytest.mark.parametrize(
    ("keys", "header", "is_let_in"),
    [
        ([], None, True),
        (["a", "b"], b"Bearer b", True),
        (["a"], b"bearer  a ", True),
        (["a"], b"Basic a", False),
        (["a"], b"a", False),
        (["a"], None, False),
        (["a"], b"Bearer ", False),
    ],
)
def test_keys(keys, header, is_let_in):
    assert Keys(keys).let_in(header) is is_let_in
