"""Hits to passages."""

import json

import pytest

from search_plugin import FirstStage, Reason, Skip, combine_scores, read_passages
from tests.search_plugin.make import make_plan, make_policy


def read(sources, *fields, scores=None, page_from=0, **options):
    """Passages of hits with these sources; a source None is one that the cluster left out."""
    policy = make_policy(passage_fields=fields or ("title",), **options)
    plan = make_plan(page_from, policy=policy)
    hits = [
        {"_id": str(i), "_score": score} | ({} if source is None else {"_source": source})
        for i, (source, score) in enumerate(zip(sources, scores or [1.0] * len(sources), strict=True))
    ]
    answer = json.dumps({"hits": {"max_score": 1.0, "hits": hits}})
    passages = read_passages(plan, FirstStage.parse(answer.encode()))
    return passages if isinstance(passages, Skip) else list(passages.texts)


OTHER = {"title": "other"}


@pytest.mark.parametrize(
    ("source", "fields", "passage"),
    [
        pytest.param(
            {"title": "red", "text": "dry"}, ("title", "text"), "red\ndry", id="fields in their order"
        ),
        pytest.param({"title": "red", "text": "dry"}, ("text", "title"), "dry\nred", id="the policy's order"),
        pytest.param({"text": "dry"}, ("title", "text"), "dry", id="a missing field leaves no separator"),
        pytest.param({"title": " ", "text": "dry"}, ("title", "text"), "dry", id="nor does a blank one"),
        pytest.param({"title": None}, ("title",), "", id="null"),
        pytest.param({"title": 7}, ("title",), "7", id="number"),
        pytest.param({"title": 0.5}, ("title",), "0.5", id="fraction"),
        pytest.param({"title": True}, ("title",), "true", id="boolean as it is written"),
        pytest.param({"title": ["red", None, 3, ["dry"]]}, ("title",), "red 3 dry", id="list"),
        pytest.param({"a": {"b": "red"}}, ("a.b",), "red", id="path"),
        pytest.param({"a.b": "red"}, ("a.b",), "red", id="key with a dot"),
        pytest.param({"a": {"b.c": "red"}}, ("a.b.c",), "red", id="key with a dot inside"),
        pytest.param({"a.b": {"c": "red"}}, ("a.b.c",), "red", id="key with a dot outside"),
        pytest.param(
            {"a": [{"b": "red"}, {"c": 1}, {"b": ["dry", "old"]}]}, ("a.b",), "red dry old", id="objects"
        ),
        pytest.param({"a": {"b": "red"}}, ("a",), "", id="an object is no text"),
        pytest.param({"a": "red"}, ("a.b",), "", id="a text has no fields"),
        pytest.param({"title": "süß 🍷"}, ("title",), "süß 🍷", id="unicode"),
        pytest.param({"title": "a\ud800b"}, ("title",), "a?b", id="a lone surrogate cannot be sent"),
        pytest.param(None, ("title",), "", id="no source"),
        pytest.param([1], ("title",), "", id="a source that is no object"),
    ],
)
def test_a_passage_is_the_policys_fields(source, fields, passage):
    assert read([source, dict.fromkeys(fields, "other")], *fields)[0] == passage


def test_separator_and_length_are_the_policys():
    sources = [{"title": "red", "text": "dry"}, OTHER]
    assert read(sources, "title", "text", separator=" | ", max_passage_chars=7) == ["red | d", "other"]


def test_only_the_window_gives_passages():
    assert read([{"title": str(i)} for i in range(5)], window=3) == ["0", "1", "2"]


def test_a_document_may_be_nested_deeply():
    """Reading a field does not recurse."""
    title = "red"
    for _ in range(400):
        title = [title]
    assert read([{"title": title}, OTHER]) == ["red", "other"]


@pytest.mark.parametrize(
    ("sources", "keywords", "reason"),
    [
        pytest.param([], {}, Reason.TOO_FEW_HITS, id="no hit"),
        pytest.param([OTHER], {}, Reason.TOO_FEW_HITS, id="one hit"),
        pytest.param([OTHER] * 3, {"page_from": 3}, Reason.TOO_FEW_HITS, id="none on the page"),
        pytest.param([OTHER] * 2, {"scores": [None, None]}, Reason.SORT_NOT_SCORE, id="no scores"),
        pytest.param([{"text": "a"}, None], {}, Reason.NO_SOURCE, id="no passages"),
        pytest.param([{"title": " "}, {"title": "\n"}], {}, Reason.NO_SOURCE, id="only blanks"),
    ],
)
def test_hits_unfit_for_scoring_are_skipped(sources, keywords, reason):
    assert read(sources, **keywords) == Skip(reason)


def test_a_document_twice_is_no_ranking():
    """OpenSearch's hybrid query gives the hits of its parts one after the other without a pipeline."""
    hit = {"_index": "wine", "_id": "1", "_score": 1.0, "_source": OTHER}
    for other, reason in (({"_id": "2"}, None), ({"_index": "beer"}, None), ({}, Reason.REPEATED_HITS)):
        answer = json.dumps({"hits": {"hits": [hit, {**hit, **other}]}})
        decision = read_passages(make_plan(), FirstStage.parse(answer))
        assert (decision.reason if isinstance(decision, Skip) else None) is reason


HIT = {
    "_source": {"title": "red", "year": 1990, "body": "the whole body"},
    "fields": {
        "title": ["RED"],
        "maker.name": ["Ann", "Bob"],
        "chunks": [{"text": ["one"]}, {"text": ["two"]}],
    },
    "highlight": {"body": ["the <em>whole</em>", "<b>body</b>"]},
    "inner_hits": {
        "parts": {
            "hits": {
                "hits": [
                    {"_nested": {"field": "parts", "offset": 0}, "_source": {"text": "first part"}},
                    {"_nested": {"field": "parts", "offset": 3}, "_source": {"text": "fourth part"}},
                ]
            }
        },
        "deep": {
            "hits": {
                "hits": [
                    {
                        "_nested": {"field": "a", "offset": 0, "_nested": {"field": "b", "offset": 1}},
                        "fields": {"a": [{"b": [{"text": ["deep text"]}]}]},
                    }
                ]
            }
        },
    },
}


def read_hit(tags=(), **options):
    policy = make_policy(**{"passage_fields": (), **options})
    plan = make_plan(policy=policy, highlight_tags=tags)
    hits = [{"_id": str(i), "_score": 1.0, **HIT} for i in range(2)]
    passages = read_passages(plan, FirstStage.parse(json.dumps({"hits": {"hits": hits}})))
    return passages if isinstance(passages, Skip) else passages.texts[0]


@pytest.mark.parametrize(
    ("options", "passage"),
    [
        pytest.param({}, "red 1990 the whole body", id="no fields: all of the source"),
        pytest.param({"passage_fields": ("title",)}, "red", id="the source counts first"),
        pytest.param({"passage_fields": ("maker.name",)}, "Ann Bob", id="then the fields"),
        pytest.param({"passage_fields": ("chunks.text",)}, "one two", id="nested fields"),
        pytest.param(
            {"passage_fields": ("title",), "passage_sources": ("fields", "_source")},
            "RED",
            id="another order",
        ),
        pytest.param(
            {"passage_fields": ("body", "title"), "passage_sources": ("highlight", "_source")},
            "the whole body\nred",
            id="highlights without their tags",
        ),
        pytest.param(
            {"passage_fields": ("parts.text",), "passage_sources": ("inner_hits",)},
            "first part fourth part",
            id="inner hits",
        ),
        pytest.param(
            {"passage_fields": ("a.b.text",), "passage_sources": ("inner_hits",)},
            "deep text",
            id="deep inner hits",
        ),
        pytest.param({"passage_template": "{title} ({year}): {none}!"}, "red (1990): !", id="template"),
        pytest.param({"passage_template": "{{{title}}}"}, "{red}", id="braces"),
        pytest.param(
            {"passage_template": "{none}: {nothing}"}, Skip(Reason.NO_SOURCE), id="an empty template"
        ),
    ],
)
def test_a_passage_is_read_from_what_the_hit_holds(options, passage):
    assert read_hit(("<em>", "</em>", "<b>", "</b>"), **options) == passage


def test_long_passages_are_cut_into_chunks_and_their_scores_combined():
    policy = make_policy(chunks={"words": 20, "by": "word"})
    plan = make_plan(policy=policy)
    sources = [" ".join(f"a{i}" for i in range(45)), "short", ""]
    hits = [{"_id": "x", "_score": 1.0, "_source": {"title": title}} for title in sources]
    passages = read_passages(plan, FirstStage.parse(json.dumps({"hits": {"hits": hits}})))
    assert passages.counts == (3, 1, 1)
    assert passages.texts[3:] == ("short", "")
    assert combine_scores(plan, passages, [1.0, 5.0, 2.0, 3.0, -1.0]) == [5.0, 3.0, -1.0]
    with pytest.raises(ValueError, match="expected 5 scores"):
        combine_scores(plan, passages, [1.0])


def test_no_more_passages_are_made_than_a_job_may_hold():
    policy = make_policy(window=1000, chunks={"words": 20, "by": "word", "most": 50})
    text = " ".join(f"a{i}" for i in range(45 * 20))
    hits = [{"_id": "x", "_score": 1.0, "_source": {"title": text}} for _ in range(1000)]
    passages = read_passages(make_plan(policy=policy), FirstStage.parse(json.dumps({"hits": {"hits": hits}})))
    assert set(passages.counts) == {10}


@pytest.mark.parametrize(
    "inner_hits",
    [
        1,
        [],
        {"a": None},
        {"a": {"hits": 1}},
        {"a": {"hits": {"hits": 1}}},
        {"a": {"hits": {"hits": [1, {"_nested": [], "_source": 1}, {"_nested": {"_nested": 1}}]}}},
    ],
)
def test_inner_hits_of_another_shape_have_no_text(inner_hits):
    hit = {"_score": 1.0, "_source": {"title": "red"}, "inner_hits": inner_hits}
    first_stage = FirstStage.parse(json.dumps({"hits": {"hits": [hit, hit]}}))
    policy = make_policy(passage_fields=("a.x", "title"), passage_sources=("inner_hits", "_source"))
    assert read_passages(make_plan(policy=policy), first_stage).texts == ("red", "red")
