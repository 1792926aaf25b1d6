"""The decision for one search."""

import json

import pytest

from search_plugin import Plan, Policy, Reason, Rewrite
from tests.search_plugin.make import plan_request

POLICY = Policy(name="wine", indices=("wine*",), model="small", passage_fields=("title",), window=50)
OTHER = Policy(name="rest", indices=("*",), model="big", passage_fields=("title",), window=20)
MATCH = {"query": {"match": {"title": "red wine"}}}


def plan(body=MATCH, target="/wine/_search", headers=None, policies=(POLICY,), method="POST"):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return plan_request(raw, target, headers, policies, method)


def test_a_search_is_planned():
    """The plan holds the policy, the text, the page and the target that asks for the window."""
    planned = plan({**MATCH, "from": 10, "size": 5}, "/wine/_search?preference=x")
    assert planned == Plan(
        policy=POLICY,
        query_text="red wine",
        page_from=10,
        page_size=5,
        enlarged=Rewrite("/wine/_search?preference=x&from=0&size=50"),
        stripped=Rewrite("/wine/_search?preference=x"),
    )


@pytest.mark.parametrize(
    ("target", "policy"), [("/wine/_search", POLICY), ("/beer/_search", OTHER), ("/_search", OTHER)]
)
def test_the_plan_follows_the_policy_of_the_indices(target, policy):
    planned = plan(target=target, policies=(POLICY, OTHER))
    assert planned.policy is policy
    assert planned.enlarged.target == f"{target}?from=0&size={policy.window}"


@pytest.mark.parametrize(
    ("body", "parameters", "page"),
    [
        pytest.param({}, "", (0, 10), id="the engines' defaults"),
        pytest.param({"from": 5, "size": 7}, "", (5, 7), id="body"),
        pytest.param({"from": "5", "size": "7"}, "", (5, 7), id="digits in strings"),
        pytest.param({"from": 5, "size": 7}, "size=3", (5, 3), id="the target overrules the body"),
        pytest.param({}, "from=4&size=3", (4, 3), id="target"),
        pytest.param({}, "size=9&size=3", (0, 3), id="the last of a repeated parameter"),
    ],
)
def test_the_page_is_read_from_body_and_target(body, parameters, page):
    planned = plan({**MATCH, **body}, f"/wine/_search?{parameters}")
    assert (planned.page_from, planned.page_size) == page


@pytest.mark.parametrize(
    ("page_from", "page_size", "asked"),
    [
        pytest.param(0, 10, 50, id="inside the window"),
        pytest.param(40, 10, 50, id="up to the window's end"),
        pytest.param(45, 10, 55, id="across the window's end"),
        pytest.param(0, 1000, 1000, id="more than the window"),
        pytest.param(49, 1, 50, id="the last hit of the window"),
    ],
)
def test_the_window_or_the_pages_end_is_asked_for(page_from, page_size, asked):
    planned = plan(target=f"/wine/_search?from={page_from}&size={page_size}")
    assert planned.enlarged.target == f"/wine/_search?from=0&size={asked}"


@pytest.mark.parametrize(
    "sort",
    [
        "_score",
        ["_score"],
        {"_score": "desc"},
        [{"_score": "DESC"}],
        [{"_score": {"order": "desc"}}],
        [{"_score": {}}],
        [],
    ],
    ids=str,
)
def test_a_sort_by_score_is_no_sort(sort):
    assert isinstance(plan({**MATCH, "sort": sort}), Plan)


@pytest.mark.parametrize("value", ["_score", "_score:desc", "_score%3Adesc", ""])
def test_a_sort_by_score_in_the_target_is_no_sort(value):
    assert isinstance(plan(target=f"/wine/_search?sort={value}"), Plan)


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"accept": "*/*", "content-type": "application/json"}, id="curl"),
        pytest.param({"content-type": "application/json; charset=UTF-8"}, id="charset"),
        pytest.param(
            {
                "accept": "application/vnd.elasticsearch+json; compatible-with=9",
                "content-type": "application/vnd.elasticsearch+json;compatible-with=9",
            },
            id="Elasticsearch clients",
        ),
        pytest.param({"accept": "application/vnd.opensearch.v1+json"}, id="OpenSearch"),
        pytest.param({"accept": "application/json, text/plain, */*"}, id="a list"),
    ],
)
def test_json_is_planned_by_whatever_name(headers):
    assert isinstance(plan(headers=headers), Plan)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        pytest.param("/wine/_search?q=title:dark+AND+beer", "dark beer", id="q overrules the body"),
        pytest.param("/wine/_search?q=s%C3%BC%C3%9F", "süß", id="utf-8"),
    ],
)
@pytest.mark.parametrize("body", [b"", b" \n", b"{}", json.dumps(MATCH).encode()])
def test_the_text_may_stand_in_the_target(body, target, text):
    assert plan(body, target, method="GET").query_text == text


def with_match(**keys):
    return {**MATCH, **keys}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(with_match(sort="price"), Reason.SORT_NOT_SCORE, id="sort, name"),
        pytest.param(with_match(sort=["_score", "price"]), Reason.SORT_NOT_SCORE, id="sort, tie-breaker"),
        pytest.param(with_match(sort={"_score": "asc"}), Reason.SORT_NOT_SCORE, id="sort, worst first"),
        pytest.param(
            with_match(sort={"_score": "desc", "price": "asc"}), Reason.SORT_NOT_SCORE, id="sort, two keys"
        ),
        pytest.param(
            with_match(sort=[{"_score": {"order": "asc"}}]), Reason.SORT_NOT_SCORE, id="sort, order asc"
        ),
        pytest.param(with_match(sort=[{"_score": None}]), Reason.SORT_NOT_SCORE, id="sort, malformed"),
        pytest.param(with_match(search_after=[1]), Reason.SEARCH_AFTER, id="search_after"),
        pytest.param(with_match(rescore={"query": {}}), Reason.RESCORE_CLAUSE, id="rescore"),
        pytest.param(with_match(rescore=[{"query": {}}]), Reason.RESCORE_CLAUSE, id="rescore, list"),
        pytest.param(
            with_match(collapse={"field": "a", "inner_hits": {"name": "b"}}),
            Reason.COLLAPSE_INNER_HITS,
            id="inner_hits",
        ),
        pytest.param(with_match(size=0), Reason.SIZE_0, id="size 0"),
        pytest.param(with_match(stored_fields="_none_"), Reason.NO_SOURCE, id="stored_fields"),
        pytest.param(with_match(stored_fields=["_none_"]), Reason.NO_SOURCE, id="stored_fields, list"),
        pytest.param(with_match(**{"from": 50}), Reason.FROM_PAST_WINDOW, id="from"),
        pytest.param({"query": {"match_all": {}}}, Reason.NO_QUERY_TEXT, id="match_all"),
        pytest.param({"knn": {"field": "v"}}, Reason.NO_QUERY_TEXT, id="knn"),
        pytest.param({}, Reason.NO_QUERY_TEXT, id="empty object"),
        pytest.param(b"", Reason.NO_QUERY_TEXT, id="empty body"),
        pytest.param(
            {"query": {"dis_max": {"queries": [{"match": {"a": "red"}}, {"match": {"a": "dry"}}]}}},
            Reason.AMBIGUOUS_QUERY,
            id="two texts",
        ),
        pytest.param(b"{", Reason.MALFORMED_BODY, id="not json"),
        pytest.param(b"[]", Reason.MALFORMED_BODY, id="not an object"),
        pytest.param(with_match(fields="title", _source=False), Reason.MALFORMED_BODY, id="fields no list"),
        pytest.param(with_match(fields=1, _source=False), Reason.MALFORMED_BODY, id="fields a number"),
        pytest.param(b"\xff\xfe\xfd", Reason.MALFORMED_BODY, id="not text"),
        pytest.param(b'{"a":' * 100_000, Reason.MALFORMED_BODY, id="nested too deeply to parse"),
        pytest.param(b'{"size":' + b"9" * 5000 + b"}", Reason.MALFORMED_BODY, id="a number too long to read"),
    ]
    + [
        pytest.param(with_match(**{key: value}), Reason.MALFORMED_BODY, id=f"{key} {value!r}")
        for key in ("from", "size")
        for value in (-1, 1.5, True, None, "a", "-1", "", [], float("nan"), 2**31)
    ],
)
def test_a_body_unfit_for_reranking_is_skipped(body, reason):
    assert plan(body).reason is reason


def test_collapse_without_inner_hits_is_planned():
    assert isinstance(plan(with_match(collapse={"field": "a"})), Plan)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        pytest.param("/beer/_search", Reason.POLICY_OFF, id="index"),
        pytest.param("/_search", Reason.POLICY_OFF, id="all indices"),
        pytest.param("/wine/_search?scroll=1m", Reason.SCROLL, id="scroll"),
        pytest.param("/wine/_search?sort=price:asc", Reason.SORT_NOT_SCORE, id="sort"),
        pytest.param("/wine/_search?sort=_score,price", Reason.SORT_NOT_SCORE, id="sort, tie-breaker"),
        pytest.param("/wine/_search?sort=_score:asc", Reason.SORT_NOT_SCORE, id="sort, worst first"),
        pytest.param("/wine/_search?size=0", Reason.SIZE_0, id="size 0"),
        pytest.param("/wine/_search?stored_fields=_none_", Reason.NO_SOURCE, id="stored_fields"),
        pytest.param("/wine/_search?from=50", Reason.FROM_PAST_WINDOW, id="from"),
        pytest.param("/wine/_search?format=yaml", Reason.UNSUPPORTED_FORMAT, id="yaml"),
        pytest.param("/wine/_search?format=cbor", Reason.UNSUPPORTED_FORMAT, id="cbor"),
        pytest.param(
            "/wine/_search?source_content_type=application/yaml", Reason.UNSUPPORTED_FORMAT, id="source"
        ),
        pytest.param("/wine/_search?q=", Reason.NO_QUERY_TEXT, id="an empty q overrules the body too"),
        pytest.param("/wine/_search?q=*", Reason.NO_QUERY_TEXT, id="q of all"),
        pytest.param("/wine/_search?size=", Reason.MALFORMED_BODY, id="empty size"),
        pytest.param("/wine/_search?size=-1", Reason.MALFORMED_BODY, id="negative size"),
        pytest.param("/wine/_search?from=x", Reason.MALFORMED_BODY, id="from no number"),
    ],
)
def test_a_target_unfit_for_reranking_is_skipped(target, reason):
    assert plan(target=target).reason is reason


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "application/yaml"},
        {"accept": "application/vnd.elasticsearch+cbor;compatible-with=9"},
        {"content-type": "application/smile"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"accept": ""},
    ],
    ids=str,
)
def test_other_formats_are_skipped(headers):
    assert plan(headers=headers).reason is Reason.UNSUPPORTED_FORMAT


def test_the_source_filter_in_the_target_overrules_the_bodys():
    assert isinstance(plan(with_match(_source=False), "/wine/_search?_source=title"), Plan)


def test_a_reason_is_what_the_wire_shows():
    assert f"{Reason.NO_QUERY_TEXT}" == "no_query_text"


@pytest.mark.parametrize("depth", range(800, 1_000, 10))
def test_a_clause_nested_too_deeply_costs_the_search_only_its_order(depth):
    """Also where the body can just be parsed, and what is made of it can't be written any more."""
    text = '{"ext":{"rerank":{}},"query":{"match":{"title":"red wine"}},"a":%s}'
    planned = plan((text % ("[" * depth + "]" * depth)).encode())
    assert isinstance(planned, Plan) or planned.reason is Reason.MALFORMED_BODY


@pytest.mark.parametrize(("pattern", "added"), [("titl?", ("title",)), ("[t]itle", ("title",)), ("tit*", ())])
def test_only_a_star_is_a_wildcard_in_a_source_filter(pattern, added):
    assert plan({**MATCH, "_source": [pattern]}).added_fields == added
