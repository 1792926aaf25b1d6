"""A real OpenSearch with its plugins for models asks us for scores, side by side with the gateway."""

import json
import sys
from functools import partial

import pytest
import urllib3

from gateway.commands import register, unregister
from tests.conftest import find_free_port, wait_until
from tests.gateway.doubles import ClusterDouble, answer
from tests.processes import answers, running
from tests.system.conftest import DOCUMENTS, QUERY, ids, match, new_query

pytestmark = pytest.mark.system
ONLY_ON = ("opensearch-ml",)

KEYS = "first-key,second-key"
ALLOW = ["--allow", "trusted-endpoint,private-address"]
MAX_DOCUMENTS = 30
send = partial(urllib3.request, retries=False, timeout=60.0)

TEXTS = [
    "plain",
    'say "hi"',
    '"quoted"',
    '{"a": 1}',
    '["a", 1]',
    "null",
    r"back\slash \u0041 \n \" \\",
    "line\nbreak\r\n\ttab",
    "control \x00\x01\x1f\x7f\u2028",
    "emoji 😀 é 漢字",
    "${parameters.ask}",
    "${parameters.query} ${credential.api_key} $x ${parameters.x:-y} ${parameters.ask.toString()}",
    "</script> & ' <b> = %s {{x}}",
]


@pytest.fixture(scope="module")
def listener(stack, config, tmp_path_factory):
    """The address of the rerank API on a listener of its own that wants a key."""
    folder = tmp_path_factory.mktemp("listener")
    port, rerank_port = find_free_port(), find_free_port()
    environment = {
        "RERANK_GATEWAY_REDIS_URL": stack.redis_url,
        "RERANK_GATEWAY_CONFIG": str(config),
        "RERANK_GATEWAY_BIND": f"127.0.0.1:{port}",
        "RERANK_GATEWAY_RERANK_BIND": f"127.0.0.1:{rerank_port}",
        "RERANK_GATEWAY_RERANK_MAX_DOCUMENTS": str(MAX_DOCUMENTS),
        "RERANK_GATEWAY_API_KEYS": KEYS,
    }
    url = f"http://127.0.0.1:{rerank_port}"
    with running([sys.executable, "-m", "gateway"], environment, folder / "gateway.log") as gateway:
        wait_until(answers(f"{url}/health", gateway), timeout_s=60)
        yield url


@pytest.fixture
def registered(stack, listener):
    """``registered(*flags)`` registers the pipeline `pages` with them; all is taken back at the end."""
    before = take_stock(stack.engine.url)

    def run(*flags, url=listener, key="first-key", fields="body"):
        common = ["--url", url, "--api-key", key, "--model", "demo", "--document-fields", fields]
        return register.main([*name(stack), *common, *flags], "register")

    yield run
    assert unregister.main([*name(stack), "--apply"], "unregister") == 0
    assert take_stock(stack.engine.url) == before


def name(stack):
    return ["--cluster-url", stack.engine.url, "--pipeline", "pages"]


def take_stock(url):
    """All that registering could change."""

    def ask(method, path, **more):
        return send(method, f"{url}{path}", **more).json()

    def find(kind):
        found = ask("POST", f"/_plugins/_ml/{kind}/_search", json={"query": {"match_all": {}}})
        return [hit["_source"]["name"] for hit in found["hits"]["hits"]]

    return {
        "settings": ask("GET", "/_cluster/settings"),
        "pipelines": ask("GET", "/_search/pipeline"),
        "index": ask("GET", "/pages/_settings"),
        **{kind: find(kind) for kind in ("connectors", "models", "model_groups")},
    }


def search(stack, body, query="?search_pipeline=pages", index="pages"):
    url = f"{stack.engine.url}/{index}/_search{query}"
    return send("POST", url, json=body)


def ask_for(text):
    return {"rerank": {"query_context": {"query_text": text}}}


def test_the_cluster_ranks_as_the_gateway_does(stack, registered, capsys):
    """The same hits in the same order with the same scores, and a second run finds nothing to do."""
    assert registered("--apply", *ALLOW) == 0
    assert "got 0." in capsys.readouterr().out
    for text in (QUERY, new_query(), 'a list, a "text"'):
        body = match(text, size=10)
        by_cluster = search(stack, {**body, "ext": ask_for(text)})
        by_gateway = stack.search(
            {**body, "ext": {"rerank": {"document_fields": ["body"], "rank_window_size": 10}}}
        )
        assert by_gateway.headers["X-Rerank-Status"] == "applied"
        assert ids(by_cluster) == ids(by_gateway) != ids(search(stack, body, query=""))
        assert scores(by_cluster) == pytest.approx(scores(by_gateway), rel=1e-5)
    known = take_stock(stack.engine.url)
    assert registered("--apply") == 0
    assert "nothing to change" in capsys.readouterr().out
    assert take_stock(stack.engine.url) == known


def scores(answer):
    return [hit["_score"] for hit in answer.json()["hits"]["hits"]]


def test_nothing_is_loosened_unless_said(stack, registered, capsys):
    before = take_stock(stack.engine.url)
    assert registered() == 0
    assert registered("--apply") == 1
    assert "--allow trusted-endpoint,private-address" in capsys.readouterr().err
    assert take_stock(stack.engine.url) == before


def score(place):
    """With nine digits as ours have: ml-commons fails on eighteen."""
    return round(0.5 / (place + 1), 9)


def test_every_text_arrives_as_it_is(stack, registered):
    """Queries and documents with whatever JSON and the connector's template give a meaning to."""
    received, double = [], ClusterDouble()

    def script(request):
        if request.method == "GET":
            return answer(b'{"data": [{"id": "demo", "served": true}]}')
        body = json.loads(request.body)
        if body:
            received.append(body)
        places = range(len(body.get("documents", ())))
        results = [{"index": place, "relevance_score": score(place)} for place in reversed(places)]
        return answer(json.dumps({"results": results}).encode())

    double.script = script
    for number, text in enumerate(TEXTS):
        document = {"n": number, "text": text}
        send("PUT", f"{stack.engine.url}/texts/_doc/{number}?refresh=true", json=document)
    try:
        assert registered("--apply", *ALLOW, url=double.url, fields="text") == 0
        received.clear()
        for text in TEXTS:
            found = search(stack, {"sort": "n", "size": 50, "ext": ask_for(text)}, index="texts")
            assert scores(found) == pytest.approx([score(place) for place in range(len(TEXTS))])
        asked = [(body["model"], body["query"], body["documents"]) for body in received]
        assert asked == [("demo", text, TEXTS) for text in TEXTS]
    finally:
        double.close()
        send("DELETE", f"{stack.engine.url}/texts")


WITHOUT_SCORES = [
    pytest.param({}, 500, id="no ext.rerank"),
    pytest.param({"size": 0, "ext": ask_for(QUERY)}, 400, id="no hits wanted"),
    pytest.param({"from": 500, "ext": ask_for(QUERY)}, 400, id="a page past the end"),
    pytest.param({"track_total_hits": False, "ext": ask_for(QUERY)}, 500, id="no total"),
    pytest.param(
        {"size": MAX_DOCUMENTS + 5, "ext": ask_for(QUERY)}, 422, id="more hits than we score at once"
    ),
]


def test_a_search_without_scores_is_the_clusters_own(stack, registered):
    """Or an error, if that was wanted; the default of an index is one too."""
    assert len(DOCUMENTS) > MAX_DOCUMENTS
    assert registered("--apply", *ALLOW, "--index", "pages") == 0
    body = {"query": {"match_all": {}}}
    for more, _ in (case.values for case in WITHOUT_SCORES):
        own = search(stack, {**body, **more, "ext": {}}, query="?search_pipeline=_none").json()
        assert search(stack, {**body, **more}, query="").json()["hits"] == own["hits"]
    stack.wait_until_applied()  # the gateway's searches reach the cluster without ext.rerank
    assert registered("--apply", "--no-ignore-failure") == 0
    statuses = [
        search(stack, {**body, **more}, query="").status for more, _ in (c.values for c in WITHOUT_SCORES)
    ]
    assert statuses == [status for _, status in (case.values for case in WITHOUT_SCORES)]


def test_a_key_is_renewed(stack, registered, capsys):
    assert registered("--apply", *ALLOW) == 0
    assert registered("--apply", key="second-key") == 0
    assert "_undeploy" in capsys.readouterr().out
    assert registered(key="second-key") == 0
    assert "nothing to change" in capsys.readouterr().out
    assert search(stack, {**match(QUERY), "ext": ask_for(QUERY)}).status == 200


def test_an_address_that_the_cluster_does_not_reach_is_told(registered, capsys):
    assert registered("--apply", *ALLOW, url=f"http://127.0.0.1:{find_free_port()}") == 1
    assert "the cluster does not reach the rerank API" in capsys.readouterr().err


def test_what_others_made_stays(stack, registered):
    """Their connector that calls the same address keeps the settings too."""
    assert registered("--apply", *ALLOW) == 0
    connectors = f"{stack.engine.url}/_plugins/_ml/connectors"
    found = send("POST", f"{connectors}/_search", json={"query": {"match_all": {}}}).json()
    ours = found["hits"]["hits"][0]["_source"]
    theirs = {"name": "theirs", "description": "Not ours", "credential": {"a": "b"}}
    body = {**theirs, "version": "1", "protocol": "http", "actions": ours["actions"]}
    made = send("POST", f"{connectors}/_create", json=body).json()
    before = take_stock(stack.engine.url)["settings"]
    assert unregister.main([*name(stack), "--apply"], "unregister") == 0
    left = take_stock(stack.engine.url)
    assert (left["settings"], left["connectors"]) == (before, ["theirs"])
    send("DELETE", f"{connectors}/{made['connector_id']}")
