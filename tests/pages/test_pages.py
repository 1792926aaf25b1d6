"""The pages as HTTP answers: what they say, and what a browser is told beside it."""

import html
import json
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from flask import Flask

from gateway.pages.compare import Choices
from gateway.pages.reasons import REASONS
from gateway.pages.views import HEADERS, Pages, make_pages
from gateway.settings import GatewaySettings
from search_plugin import Reason
from tests.browser import PACKAGES, install_packages
from tests.conftest import wait_until
from tests.pages.conftest import ATTACK, CONFIG, N_HITS

pytestmark = pytest.mark.system

BROWSER = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


def find_inline_code(page):
    """Tags that bring code or looks with them, as a browser reads them."""
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.feed(page)
    assert tags
    for tag, attributes in tags:
        is_inline = tag == "style" or (tag == "script" and "src" not in attributes)
        if is_inline or any(name == "style" or name.startswith("on") for name in attributes):
            yield tag, attributes


def read_text(page):
    """What a page says, without markup, each run of spaces as one."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


def read_order(page, side):
    """The numbers of the hits in one of the two tables, from the top."""
    found = re.search(rf'<table class="order {side}">(.*?)</table>', page, re.DOTALL)
    return [int(number) for number in re.findall(r'<tr data-hit="(\d+)"', found[1])] if found else None


def compare(product, *headers, **choices):
    target = "&".join(f"{name}={quote(value, safe='')}" for name, value in choices.items())
    return product.get(f"/ui/compare?{target}", *headers)


@pytest.mark.parametrize("page", ["/ui/", "/ui/compare", "/ui/reasons", "/ui/compare?query=a&index=books"])
def test_every_page_tells_the_browser_to_run_nothing_but_our_files(product, page):
    status, headers, body = product.get(page)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert HEADERS.items() <= {name.title(): value for name, value in headers.items()}.items()
    assert "'unsafe" not in headers["content-security-policy"]
    assert list(find_inline_code(body)) == []


def test_a_title_says_where_one_is(product):
    paths = ("/ui/", "/ui/compare", "/ui/compare?query=some+books&index=books", "/ui/reasons")
    titles = [re.search("<title>(.*?) · rerank-sidecar</title>", product.get(path)[2])[1] for path in paths]
    assert titles == ["Overview", "Compare", "some books · Compare", "Reasons"]


def test_static_files_may_be_kept_for_as_long_as_their_address_holds(product):
    _, _, page = product.get("/ui/")
    addresses = re.findall(r'(?:src|href)="/_rerank(/ui/static/[^"]+)"', page)
    assert len(addresses) == 4
    for address in addresses:
        status, headers, body = product.get(address)
        assert (status, bool(body)) == (200, True)
        assert "max-age=31536000" in headers["cache-control"]
        other = re.sub(r"static/\w+", "static/0", address)
        assert "max-age=0" in product.get(other)[1]["cache-control"]


@pytest.mark.parametrize(
    "name", ["%2e%2e/views.py", "../views.py", "..%2fviews.py", "nothing.css"], ids=lambda name: name
)
def test_no_other_file_is_served(product, name):
    assert product.get(f"/ui/static/0/{name}")[0] == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param((BROWSER,), 302, id="a browser goes to the pages"),
        pytest.param(("Accept: application/json",), 404, id="a program finds nothing there"),
    ],
)
def test_the_start_of_our_paths(product, headers, status):
    found, told, _ = product.get("/", *headers)
    assert found == status
    assert told.get("location") == ("/_rerank/ui/" if status == 302 else None)


def test_both_orders_come_from_one_search(product):
    """The window's five are turned round, the sixth stays behind them."""
    _, _, page = compare(product, query="some books", index="books")
    assert read_order(page, "before") == [1, 2, 3, 4, 5, 6]
    assert read_order(page, "after") == [5, 4, 3, 2, 1, 6]
    (search,) = product.cluster.searches()
    assert (search.method, search.target.partition("?")[0]) == ("POST", "/books/_search")
    sent = json.loads(search.body)
    assert sent["query"]["multi_match"]["query"] == "some books"
    assert sent["query"]["multi_match"]["fields"] == ["title", "blurb"]
    text = read_text(page)
    assert f"5 of {N_HITS} hits were scored, 4 of the first 6 moved" in text
    assert "The model has it at 1 of 5 (score 0.8176), the cluster at 5 (score 5)." in text
    assert "The model has not read it: it lies behind the window of 5 hits." in text
    for stage in ("cluster", "queue", "model", "merge"):
        assert re.search(rf"{stage} \d+\.\d ms", text)


def test_a_comparison_is_what_a_client_gets(product):
    body = {"query": {"match": {"title": "same for both"}}}
    _, _, page = compare(product, body=json.dumps(body), index="books")
    request = json.dumps(body).encode()
    _, _, answered = product.client.request(
        "POST", "/books/_search", ["Content-Type: application/json"], request
    )
    ids = [hit["_id"] for hit in json.loads(answered)["hits"]["hits"]]
    assert [f"id-{number}{ATTACK}" for number in read_order(page, "after")] == ids


@pytest.mark.parametrize(
    ("choices", "status", "told"),
    [
        pytest.param({"query": "a", "index": "lonely"}, "failed", Reason.NO_WORKER, id="nobody serves it"),
        pytest.param({"query": "a", "index": "other"}, "skipped", Reason.POLICY_OFF, id="no policy"),
        pytest.param(
            {"body": '{"query": {"match_all": {}}}', "index": "books"},
            "skipped",
            Reason.NO_QUERY_TEXT,
            id="no text",
        ),
        pytest.param(
            {"body": '{"query": {"match": {"title": "a"}}, "sort": ["year"]}', "index": "books"},
            "skipped",
            Reason.SORT_NOT_SCORE,
            id="another order",
        ),
    ],
)
def test_a_search_that_is_not_reranked_says_why(product, choices, status, told):
    found, _, page = compare(product, **choices)
    text = read_text(page)
    assert found == 200
    assert f"{status} Not reranked: {REASONS[told].what} ( {told} ). {REASONS[told].remedy}".strip() in text
    assert read_order(page, "before") == [1, 2, 3, 4, 5, 6]
    assert read_order(page, "after") is None


def test_a_policy_may_be_tried_where_it_does_not_apply(product):
    """Also one that is off: the search asks for it. Its least score leaves hits out."""
    _, _, page = compare(product, query="a", index="lonely", policy="picky")
    text = read_text(page)
    assert read_order(page, "after") == [6, 5, 4]
    assert text.count("left out") >= 2
    assert "below the policy's min_score of 0.5" in text
    assert "The policy mixes both scores: the model's counts 0.8 of 1." in text
    assert "Clients' searches on lonely are not under this policy." in text
    (search,) = product.cluster.searches()
    assert search.header("x-rerank") is None
    assert "not under this policy" not in compare(product, query="a", index="books", policy="books")[2]


def test_all_scored_hits_have_their_place_whatever_page_a_body_asks_for(product):
    body = json.dumps({"query": {"match": {"title": "a"}}, "from": 2, "size": 2})
    _, _, page = compare(product, body=body, index="books")
    assert read_order(page, "before") == [1, 2, 3, 4, 5, 6]
    assert read_order(page, "after") == [5, 4, 3, 2, 1, 6]


@pytest.mark.parametrize(
    ("choices", "problem"),
    [
        pytest.param({"body": '{"query": '}, "search body: not JSON: Expecting value: line 1", id="not JSON"),
        pytest.param({"body": "[1]"}, "search body: expected a JSON object, found list", id="no object"),
        pytest.param({"query": "a", "policy": "gone"}, "policy: there is no 'gone'", id="no such policy"),
        pytest.param(
            {"body": '{"ext": {"rerank": {"weight": 2}}}', "index": "books"},
            "[ext.rerank.weight] Input should be less than or equal to 1",
            id="a wrong wish",
        ),
    ],
)
def test_a_wrong_choice_is_named_and_never_sent(product, choices, problem):
    status, _, page = compare(product, **choices)
    assert status == 400
    assert f"No comparison: {problem}" in read_text(page)
    assert product.cluster.searches() == []


@pytest.mark.parametrize(
    ("status_line", "error", "told"),
    [
        pytest.param(
            "404 Not Found",
            {"error": {"type": "index_not_found_exception", "reason": "no such index [books]"}},
            "the cluster answered 404: index_not_found_exception: no such index [books]",
            id="no index",
        ),
        pytest.param(
            "400 Bad Request",
            {
                "error": {
                    "type": "search_phase_execution_exception",
                    "reason": "all shards failed",
                    "caused_by": {"type": "query_shard_exception", "reason": "no field [x]"},
                }
            },
            "all shards failed; query_shard_exception: no field [x]",
            id="the deepest cause is told",
        ),
    ],
)
def test_what_the_cluster_refuses_is_told_in_its_words(product, status_line, error, told):
    product.cluster.refusal = (status_line, error)
    status, _, page = compare(product, query="a", index="books")
    assert status == int(status_line[:3])
    assert told in read_text(page)


def test_the_cluster_may_ask_the_browser_who_it_is(product):
    """And is told what the browser says."""
    product.cluster.challenge = 'Basic realm="cluster"'
    status, headers, _ = compare(product, query="a", index="books")
    assert (status, headers["www-authenticate"]) == (401, 'Basic realm="cluster"')
    product.cluster.double.received.clear()
    assert compare(product, "Authorization: Basic dTpw", query="a", index="books")[0] == 200
    assert {one.header("authorization") for one in product.cluster.double.received} == {"Basic dTpw"}


def test_the_address_is_the_shortest_that_shows_the_same(product):
    _, headers, page = compare(product, query="a b", index="books", policy="", body="", size="10")
    assert headers["hx-push-url"] == "/_rerank/ui/compare?query=a+b&index=books"
    assert f'href="{html.escape(headers["hx-push-url"])}">Link to this comparison' in page


@pytest.mark.parametrize("size", ["7", "", "x", "-1", "²"], ids=lambda size: size or "none")
def test_a_size_that_is_not_offered_counts_as_none(size):
    assert Choices.read({"size": size}) == Choices()


def test_the_overview_tells_policies_workers_and_counts(product):
    body = json.dumps({"query": {"match": {"title": "counted"}}}).encode()
    for index in ("books", "lonely"):
        product.client.request("POST", f"/{index}/_search", ["Content-Type: application/json"], body)
    text = read_text(product.get("/ui/")[2])
    assert "Cluster green double, 3 nodes, opensearch" in text
    assert "Reranking in part no worker for absent" in text
    assert "books on books* books , books-1 tiny 5 5,000 ms replace" in text
    assert "picky off never nothing tiny" in text
    assert "tiny stub-0 1 100,000 0 0" in text
    assert "absent no worker 0 0 0 characters" in text
    assert re.search(r"applied — [1-9]", text)
    assert re.search(rf"failed no_worker {REASONS[Reason.NO_WORKER].what} [1-9]", text)
    assert re.search(r"Scores from the cache \d+%", text)
    assert ".own" not in text
    resolved = {one.target for one in product.cluster.double.received if "_resolve" in one.target}
    assert resolved == {"/_resolve/index/books*,lonely*,never*"}


def test_the_overview_says_what_is_wrong(product):
    """A mistake in the file, and a cluster that tells nothing to strangers."""
    product.config.write_text(CONFIG + "\nnonsense = 1")
    product.cluster.challenge = "Basic"
    try:
        found = "A newer rerank.toml is not in force"
        text = wait_until(lambda: found in (text := read_text(product.get("/ui/")[2])) and text)
    finally:
        product.config.write_text(CONFIG)
    assert "nonsense" in text
    assert "Cluster refused" in text
    wait_until(lambda: found not in read_text(product.get("/ui/")[2]))


def test_without_redis_the_overview_still_comes(product):
    product.redis.pause()
    try:
        status, _, page = product.get("/ui/")
    finally:
        product.redis.resume()
    assert status == 200
    assert "Redis unreachable searches have the cluster's order" in read_text(page)


def test_flower_is_linked_where_it_is_configured(product):
    assert '<a href="http://flower.example:5555">Flower</a>' in product.get("/ui/")[2]


@pytest.mark.parametrize("has_jobs", [False, True], ids=["without", "with"])
def test_jobs_are_linked_only_where_they_are(has_jobs):
    app = Flask(__name__)
    pages = Pages(None, None, None, None, jobs=object() if has_jobs else None)
    app.register_blueprint(make_pages(pages), url_prefix="/_rerank")
    page = app.test_client().get("/_rerank/ui/reasons").text
    assert ('href="/_rerank/ui/jobs"' in page) == has_jobs


def test_every_reason_has_words():
    assert list(REASONS) == list(Reason)


def test_an_address_of_flower_that_runs_scripts_is_refused():
    with pytest.raises(ValueError, match="flower_url"):
        GatewaySettings(flower_url="javascript:alert(1)")


def test_htmx_is_what_npm_has():
    """To the byte, and its licence beside it."""
    package = install_packages() / "htmx.org"
    static = PACKAGES / "static"
    assert (static / "htmx.min.js").read_bytes() == (package / "dist" / "htmx.min.js").read_bytes()
    assert (static / "htmx.LICENSE.txt").read_bytes() == (package / "LICENSE").read_bytes()
