"""The searches that the cluster gets: the enlarged one and the stripped one."""

import base64
import json
from urllib.parse import quote

import pytest

from search_plugin import Plan, Reason, Rewrite
from search_plugin.pit import find_pit_indices
from search_plugin.rewrite import drop_parameters, edit_body
from tests.search_plugin.make import make_policy, plan_request

POLICY = make_policy(name="wine", indices=("wine*",), passage_fields=("title", "maker.name"))
QUERY = {"query": {"match": {"title": "red wine"}}}


def plan(body, parameters="", policy=POLICY, target="/wine/_search", **keywords):
    raw = json.dumps({**QUERY, **body}).encode()
    return plan_request(raw, f"{target}?{parameters}", policies=[policy], **keywords)


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("a=1&rerank=true&b=2", "?a=1&b=2"),
        ("rerank=true&a=1", "?a=1"),
        ("a=1;rerank=true;b=2&c", "?a=1;b=2&c"),
        ("rerank", ""),
        ("a=1&%72erank=x&&b", "?a=1&&b"),
        ("a=rerank&reranked=1", "?a=rerank&reranked=1"),
        ("", "?"),
    ],
)
def test_parameters_are_dropped_with_one_mark(query, left):
    assert drop_parameters(f"/wine/_search?{query}", {"rerank"}) == f"/wine/_search{left}"


@pytest.mark.parametrize(
    ("body", "edits", "edited"),
    [
        ('{"a": 1.50, "b":[1 ,2]}', {"a": None}, '{"b":[1 ,2]}'),
        ('{"a": 1.50, "b":[1 ,2]}', {"b": "3"}, '{"a":1.50,"b":3}'),
        (" ", {"b": "3"}, '{"b":3}'),
        ('{"a":1}', {"a": None, "c": None}, "{}"),
    ],
)
def test_members_are_edited_and_the_others_stay_as_they_are_written(body, edits, edited):
    assert edit_body(body, edits) == edited


@pytest.mark.parametrize(
    ("body", "parameters", "added"),
    [
        pytest.param({}, "", (), id="whole source"),
        pytest.param({"_source": True}, "", (), id="whole source, said"),
        pytest.param(
            {"stored_fields": ["a"], "_source": True}, "", (), id="whole source beside stored fields"
        ),
        pytest.param({"docvalue_fields": ["a"]}, "", (), id="docvalue_fields"),
        pytest.param({"_source": False}, "", ("title", "maker.name"), id="no source"),
        pytest.param({"_source": ["title"]}, "", ("maker.name",), id="part of the source"),
        pytest.param({"_source": "t*"}, "", ("maker.name",), id="a pattern"),
        pytest.param({"_source": ["title", "maker"]}, "", (), id="the object around a field"),
        pytest.param(
            {"_source": {"includes": ["*"], "excludes": ["*.name"]}}, "", ("maker.name",), id="both"
        ),
        pytest.param({"_source": {"excludes": ["x"]}}, "", (), id="excludes"),
        pytest.param({"_source": {"exclude": "maker"}}, "", ("maker.name",), id="excludes the object"),
        pytest.param({"_source": 7}, "", ("title", "maker.name"), id="malformed"),
        pytest.param({"_source": ["x"]}, "_source=true", (), id="the url overrules the body"),
        pytest.param({}, "_source=false", ("title", "maker.name"), id="no source, url"),
        pytest.param({}, "_source=title,x", ("maker.name",), id="part of the source, url"),
        pytest.param({}, "_source_includes=title", ("maker.name",), id="includes, url"),
        pytest.param({}, "_source_excludes=title", ("title",), id="excludes, url"),
        pytest.param({}, "stored_fields=a", ("title", "maker.name"), id="stored_fields, url"),
        pytest.param({"stored_fields": ["a"]}, "", ("title", "maker.name"), id="stored_fields"),
        pytest.param({"script_fields": {"a": {}}}, "", ("title", "maker.name"), id="script_fields"),
        pytest.param(
            {"_source": False, "fields": ["title"]}, "", ("maker.name",), id="the client's own field"
        ),
        pytest.param(
            {"_source": False, "fields": [{"field": "m*"}]}, "", ("title",), id="the client's pattern"
        ),
    ],
)
def test_fields_that_the_source_may_lack_are_asked_for(body, parameters, added):
    planned = plan(body, parameters)
    assert planned.added_fields == added
    if added:
        assert json.loads(planned.enlarged.body)["fields"] == [*body.get("fields", []), *added]
    assert planned.stripped.body is None


def test_a_passage_of_all_texts_needs_the_source():
    policy = make_policy(passage_fields=())
    assert isinstance(plan({}, policy=policy), Plan)
    assert plan({"_source": False}, policy=policy).reason is Reason.NO_SOURCE


@pytest.mark.parametrize(("source", "is_planned"), [(True, True), (["title", "maker"], True), (False, False)])
def test_fields_are_not_fetched_beside_a_suggester_which_would_show_them(source, is_planned):
    decision = plan({"_source": source, "suggest": {"s": {"prefix": "r", "completion": {"field": "c"}}}})
    assert isinstance(decision, Plan) is is_planned
    assert is_planned or decision.reason is Reason.NO_SOURCE


def test_filter_path_is_for_the_answer_and_all_is_asked_for():
    planned = plan({}, "filter_path=hits.hits._id&pretty")
    assert planned.enlarged.target == "/wine/_search?filter_path=*&pretty&from=0&size=50"
    assert planned.stripped.target == "/wine/_search?filter_path=hits.hits._id&pretty"
    assert planned.filter_path == "hits.hits._id"


@pytest.mark.parametrize("empty", ["", ",", "%20,"])
def test_an_empty_filter_path_is_none(empty):
    assert (
        plan({}, f"filter_path={empty}").enlarged.target
        == f"/wine/_search?filter_path={empty}&from=0&size=50"
    )


def test_a_body_in_the_url_is_planned_and_rewritten_there():
    source = quote(json.dumps({**QUERY, "_source": False, "ext": {"rerank": {}}}))
    planned = plan_request(b"", f"/wine/_search?source={source}&x", policies=[POLICY], method="GET")
    assert planned.query_text == "red wine"
    assert planned.stripped.body is None
    assert (
        planned.stripped.target
        == f"/wine/_search?source={quote('{', safe='')}" + planned.stripped.target[24:]
    )
    assert "ext" not in planned.stripped.target
    assert planned.enlarged.target.endswith("&x&from=0&size=50")


def test_an_item_of_a_batch_asks_for_the_window_in_its_body():
    from search_plugin import Rules, SearchRequest, plan_search

    body = b'{"size": 3, "query":{"match":{"title":"red  wine"}}, "boost" : 1.0E-5}'
    request = SearchRequest(("wine",), "/_msearch?filter_path=x", {}, body, in_body=True)
    planned = plan_search(request, Rules([POLICY]))
    assert planned.enlarged.body.decode() == (
        '{"size":50,"query":{"match":{"title":"red  wine"}},"boost":1.0E-5,"from":0}'
    )
    assert planned.stripped == Rewrite("/_msearch?filter_path=x")
    assert (planned.page_size, planned.filter_path) == (3, "x")


def write_pit(*indices, context=1, broken=False):
    """A point-in-time id as both engines lay it out.

    Of each shard: index name and id, shard, node, its search context's number, session; then index ids.
    """
    raw = b"\x83\xe3\xbaA" + bytes([len(indices)])
    for name in indices:
        encoded = name.encode()
        raw += bytes([len(encoded)]) + encoded + b"\x16" + b"Ab3_-xYzAb3_-xYzAb3_-x" + b"\x00\x16" + b"N" * 22
        raw += b"\x00" + context.to_bytes(8) + b"\x16" + b"s" * 22
    raw += b"\x01\x16" + b"Ab3_-xYzAb3_-xYzAb3_-x" + b"\x00\x00"
    return base64.urlsafe_b64encode(raw).decode().rstrip("=" if broken else "")


@pytest.mark.parametrize(
    ("pit", "indices"),
    [
        pytest.param({"id": write_pit("wine")}, ("wine",), id="one"),
        pytest.param({"id": write_pit("wine", "wine", "beer-2")}, ("wine", "beer-2"), id="shards of two"),
        pytest.param({"id": write_pit("a", "b", context=0x15B)}, ("a", "b"), id="a number like a name"),
        pytest.param({"id": write_pit("a", context=0x0261_62)}, ("a",), id="or a longer one"),
        pytest.param({"id": write_pit(".ds-logs-app-000001")}, ("logs-app",), id="OpenSearch's data stream"),
        pytest.param(
            {"id": write_pit(".ds-logs-a-2026.11.21-000012")}, ("logs-a",), id="Elasticsearch's data stream"
        ),
        pytest.param({"id": write_pit("wäin")}, ("wäin",), id="utf-8"),
        pytest.param({"id": write_pit("wine", broken=True)}, ("wine",), id="without padding"),
        pytest.param({"id": "x"}, (), id="not an id"),
        pytest.param({"id": "Ä"}, (), id="not base64"),
        pytest.param({"id": 1}, (), id="a number"),
        pytest.param("x", (), id="a text"),
        pytest.param(None, (), id="none"),
    ],
)
def test_the_indices_of_a_point_in_time_stand_in_its_id(pit, indices):
    assert find_pit_indices(pit) == indices


@pytest.mark.parametrize(
    ("indices", "is_planned"), [(("wine", "wine-2"), True), (("wine", "beer"), False), ((), False)]
)
def test_a_point_in_time_is_planned_where_a_policy_covers_its_indices(indices, is_planned):
    everything = make_policy(name="all", indices=("wine*",))
    decision = plan({"pit": {"id": write_pit(*indices)}}, policy=everything, target="/_search")
    assert isinstance(decision, Plan) is is_planned


def test_an_unreadable_point_in_time_is_not_all_indices():
    everything = make_policy(name="all")
    assert plan({"pit": {"id": "x"}}, policy=everything, target="/_search").reason is Reason.POLICY_OFF
