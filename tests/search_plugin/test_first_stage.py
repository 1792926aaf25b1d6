"""Where hits and scores stand in the cluster's answer."""

import json

import pytest

from search_plugin import FirstStage, SearchPluginError, UnreadableAnswer

HIT = '{"_index":"w","_id":"1","_score":%s,"_source":{"title":"red"}}'


ANSWER = '{"took":1,"hits":{"total":{"value":1},"max_score":%s,"hits":%s},"x":1}'


def parse(text):
    return FirstStage.parse(text.encode("utf-8", "surrogateescape"))


def test_spans_and_values_are_found():
    text = ANSWER % ("1.50", f"[{HIT % '1.50'}]")
    first_stage = parse(text)
    (hit,) = first_stage.hits
    assert text[hit.start : hit.end] == HIT % "1.50"
    score = hit.scan()["_score"]
    assert text[score.start : score.end] == "1.50"
    assert hit.first_stage_score == 1.5
    assert hit.source == {"title": "red"}
    assert text[first_stage.start : first_stage.end] == f"[{HIT % '1.50'}]"
    assert first_stage.max_score.value == 1.5


def test_only_the_top_levels_hits_are_read():
    """Hits inside hits, aggregations or a document are none of the answer's."""
    inner = {"hits": {"total": 1, "max_score": 9.0, "hits": [{"_id": "inner", "_score": 9.0}]}}
    hit = {"inner_hits": {"a": inner}, "_source": {"hits": [1], "_score": 8.0}, "_id": "1", "_score": 2.0}
    answer = {"aggregations": {"top": inner}, "hits": {"hits": [hit], "max_score": 2.0}, "suggest": inner}
    first_stage = parse(json.dumps(answer, indent=1))
    assert [hit.first_stage_score for hit in first_stage.hits] == [2.0]
    assert first_stage.max_score.value == 2.0


@pytest.mark.parametrize("written", ["null", '"1"', "true", "NaN", "1e400", "9" * 400])
def test_a_score_that_is_no_number_is_none(written):
    first_stage = parse(ANSWER % (written, f"[{HIT % written}]"))
    assert first_stage.max_score is None
    assert first_stage.hits[0].first_stage_score is None


def test_score_and_source_may_be_missing():
    (hit,) = parse('{"hits":{"hits":[{"_id":"1"}]}}').hits
    assert (hit.value("_score"), hit.source, hit.first_stage_score) == (None, None, None)


@pytest.mark.parametrize("hits", ["[]", "[ ]"])
def test_an_answer_may_have_no_hits(hits):
    first_stage = parse(ANSWER % ("null", hits))
    assert first_stage.hits == ()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("<html>", id="not json"),
        pytest.param("[]", id="not an object"),
        pytest.param('{"error":{},"status":400}', id="an error"),
        pytest.param('{"hits":[]}', id="hits not an object"),
        pytest.param('{"hits":{"total":1}}', id="no array"),
        pytest.param('{"hits":{"hits":{}}}', id="array not an array"),
        pytest.param('{"hits":{"hits":null}}', id="array null"),
        pytest.param('{"hits":{"hits":[1]}}', id="a hit not an object"),
        pytest.param('{"hits":{"hits":[]}', id="cut off"),
        pytest.param('{"hits":{"hits":[]}} {}', id="more behind it"),
        pytest.param('{"hits":{"hits":[{"_source":' + "[" * 100_000, id="nested too deeply"),
    ],
)
def test_another_shape_is_unreadable(text):
    with pytest.raises(UnreadableAnswer) as caught:
        parse(text)
    assert isinstance(caught.value, SearchPluginError)
