"""`filter_path`, as the engines apply it."""

import json

import pytest

from search_plugin import filter_answer

ANSWER = {
    "took": 1,
    "hits": {
        "total": {"value": 2, "relation": "eq"},
        "hits": [
            {"_id": "1", "_score": 1.5, "_source": {"title": "a", "tags": ["x", "y"], "a.b": 1}},
            {"_id": "2", "_score": 0.5, "_source": {"title": "b", "price": {"eur": 1, "usd": 2}}},
        ],
    },
    "aggregations": {"by": {"buckets": []}},
}


@pytest.mark.parametrize(
    ("filter_path", "kept"),
    [
        ("took", {"took": 1}),
        ("took,hits.total.value", {"took": 1, "hits": {"total": {"value": 2}}}),
        ("hits.hits._id", {"hits": {"hits": [{"_id": "1"}, {"_id": "2"}]}}),
        ("hits.hits._source.price", {"hits": {"hits": [{"_source": {"price": {"eur": 1, "usd": 2}}}]}}),
        ("hits.hits._source.*.eur", {"hits": {"hits": [{"_source": {"price": {"eur": 1}}}]}}),
        ("**.eur", {"hits": {"hits": [{"_source": {"price": {"eur": 1}}}]}}),
        ("h*.t*.v*", {"hits": {"total": {"value": 2}}}),
        ("hits.hits._source.a\\.b", {"hits": {"hits": [{"_source": {"a.b": 1}}]}}),
        ("aggregations.by.buckets", {"aggregations": {"by": {"buckets": []}}}),
        ("aggregations.by.buckets.key", {}),
        ("nothing", {}),
        ("aggregations,-aggregations.by.buckets.key", {"aggregations": {"by": {"buckets": []}}}),
        ("hits,-hits.hits.*,-hits.total", {}),
        ("-hits", {"took": 1, "aggregations": {"by": {"buckets": []}}}),
        ("hits,-hits.hits", {"hits": {"total": {"value": 2, "relation": "eq"}}}),
        (
            "hits.hits,-hits.hits._source",
            {"hits": {"hits": [{"_id": "1", "_score": 1.5}, {"_id": "2", "_score": 0.5}]}},
        ),
        ("", ANSWER),
    ],
)
@pytest.mark.parametrize("style", [{}, {"indent": 2}, {"separators": (",", ":")}], ids=str)
def test_the_answer_keeps_what_is_named_as_it_is_written(filter_path, kept, style):
    filtered = filter_answer(json.dumps(ANSWER, **style), filter_path)
    assert json.loads(filtered) == kept
    if kept:
        assert filtered == json.dumps(kept, **style)


def test_numbers_and_escapes_stay_as_they_are_written():
    answer = '{"a":{"b":1.50,"c":"\\u00fc"},"d":1e400}'
    assert filter_answer(answer, "a,-a.c") == '{"a":{"b":1.50}}'


@pytest.mark.parametrize(
    ("answer", "filter_path", "kept"),
    [
        pytest.param('{"a":{"b":1,"c":2,"b":3}}', "-a.c", '{"a":{"b":1,"b":3}}', id="a name twice"),
        pytest.param(
            '{"a":{"b":[1],"c":[]},"d":{}}', "-a.*.x", '{"a":{"b":[1],"c":[]},"d":{}}', id="entered, empty"
        ),
        pytest.param('{"a?":1,"ab":2,"[a]":3}', "a?,[a]", '{"a?":1,"[a]":3}', id="only * is a wildcard"),
    ],
)
def test_odd_names_and_empty_parts(answer, filter_path, kept):
    assert filter_answer(answer, filter_path) == kept


@pytest.mark.parametrize("filter_path", ["**." * 1_000 + "x", "**.a." * 500 + "x", "**.*." * 500 + "x"])
def test_any_number_of_wildcards_is_soon_done(filter_path):
    """Each path's rest is followed once, however many ways lead to it."""
    assert filter_answer('{"a":' * 20 + '{"x":1}' + "}" * 20, filter_path) in (
        "{}",
        '{"a":' * 20 + '{"x":1}' + "}" * 20,
    )


@pytest.mark.parametrize(
    ("filter_path", "since_8", "before"),
    [
        ("-a.x", {"a": {}, "b": [], "c": [[]]}, {"b": [], "c": [[]]}),
        ("-b.x", {"a": {}, "b": [], "c": [[]]}, {"a": {}, "c": [[]]}),
        ("-c.x", {"a": {}, "b": [], "c": [[]]}, {"a": {}, "b": []}),
        ("a.x,b.x", {}, {}),
        ("a,b", {"a": {}, "b": []}, {"a": {}, "b": []}),
    ],
)
def test_what_was_empty_before_stays_in_some_engines(filter_path, since_8, before):
    answer = '{"a":{},"b":[],"c":[[]]}'
    assert json.loads(filter_answer(answer, filter_path)) == since_8
    assert json.loads(filter_answer(answer, filter_path, keeps_empty=False)) == before
