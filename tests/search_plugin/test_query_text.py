"""The text that a person typed, found in a query."""

import pytest

from search_plugin.query_text import MAX_QUERY_CHARS, find_query_texts, find_typed_text

WINE = {"match": {"title": "red wine"}}
BEER = {"match": {"title": "dark beer"}}


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        pytest.param({"match": {"title": "red wine"}}, ["red wine"], id="match, short"),
        pytest.param(
            {"match": {"title": {"query": "red wine", "operator": "and"}}}, ["red wine"], id="match"
        ),
        pytest.param({"match_phrase": {"title": {"query": "red wine"}}}, ["red wine"], id="match_phrase"),
        pytest.param({"match_phrase_prefix": {"title": "red wi"}}, ["red wi"], id="match_phrase_prefix"),
        pytest.param({"match_bool_prefix": {"title": "red wi"}}, ["red wi"], id="match_bool_prefix"),
        pytest.param({"multi_match": {"query": "red wine", "fields": ["a"]}}, ["red wine"], id="multi_match"),
        pytest.param({"combined_fields": {"query": "red wine"}}, ["red wine"], id="combined_fields"),
        pytest.param({"query_string": {"query": "title:red AND wine"}}, ["red wine"], id="query_string"),
        pytest.param(
            {"simple_query_string": {"query": "red + wine*"}}, ["red wine"], id="simple_query_string"
        ),
        pytest.param({"bool": {"must": WINE}}, ["red wine"], id="bool.must, one clause"),
        pytest.param({"bool": {"must": [WINE], "should": [BEER]}}, ["red wine", "dark beer"], id="bool"),
        pytest.param(
            {"bool": {"filter": [WINE], "must_not": [BEER]}}, [], id="bool, clauses that don't score"
        ),
        pytest.param({"dis_max": {"queries": [WINE, BEER]}}, ["red wine", "dark beer"], id="dis_max"),
        pytest.param(
            {"function_score": {"query": WINE, "functions": [{"filter": BEER}]}},
            ["red wine"],
            id="function_score",
        ),
        pytest.param({"boosting": {"positive": WINE, "negative": BEER}}, ["red wine"], id="boosting"),
        pytest.param({"nested": {"path": "a", "query": WINE}}, ["red wine"], id="nested"),
        pytest.param({"script_score": {"query": WINE, "script": {}}}, ["red wine"], id="script_score"),
        pytest.param({"constant_score": {"filter": WINE}}, [], id="constant_score is a filter"),
        pytest.param({"has_child": {"type": "a", "query": WINE}}, [], id="has_child"),
        pytest.param({"has_parent": {"parent_type": "a", "query": WINE}}, [], id="has_parent"),
        pytest.param({"term": {"title": "red"}}, [], id="term"),
        pytest.param({"match_all": {}}, [], id="match_all"),
        pytest.param({"match": {"year": 2020}}, [], id="a number is no text"),
        pytest.param({"match": {"title": " \n"}}, [], id="blank"),
        pytest.param({"query_string": {"query": "*:*"}}, [], id="everything"),
        pytest.param(
            {"bool": {"must": [WINE, {"query_string": {"query": "*"}}]}}, ["red wine"], id="text and star"
        ),
        pytest.param(
            {"bool": {"must": WINE, "should": {"match_phrase": {"text": " Red\n WINE "}}}},
            ["red wine"],
            id="the same but for case and blanks",
        ),
        pytest.param(
            {"bool": {"should": [WINE, {"match": {"title": "red"}}]}},
            ["red wine", "red"],
            id="a part is another text",
        ),
        pytest.param(
            {"bool": {"must": {"function_score": {"query": {"dis_max": {"queries": [WINE]}}}}}},
            ["red wine"],
            id="compound in compound",
        ),
        pytest.param({"match": {"title": "caf\ud800é"}}, ["caf?é"], id="a lone surrogate"),
        pytest.param(None, [], id="no query"),
        pytest.param("red", [], id="not an object"),
        pytest.param({"match": "red", "bool": 1, "nested": []}, [], id="clauses that are not objects"),
        pytest.param(
            {"multi_match": {"fields": ["a"]}, "bool": {"must": [1, None]}}, [], id="texts left out"
        ),
    ],
)
def test_the_different_texts_of_a_query_are_found(query, texts):
    assert find_query_texts(query) == texts


def test_a_query_may_be_nested_deeply():
    """The walk does not recurse."""
    query = WINE
    for _ in range(50_000):
        query = {"bool": {"must": [query]}}
    assert find_query_texts(query) == ["red wine"]


def test_a_very_long_text_is_cut():
    (text,) = find_query_texts({"match": {"title": "x" * (MAX_QUERY_CHARS + 1)}})
    assert text == "x" * MAX_QUERY_CHARS


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("red wine", "red wine"),
        ("title:red", "red"),
        ('title:"red wine"', "red wine"),
        ("title:(red wine)", "red wine"),
        ("meta.title*:red", "red"),
        ("red AND wine OR beer", "red wine beer"),
        ("red && wine || beer", "red wine beer"),
        ("ANDROID ORACLE NOTES", "ANDROID ORACLE NOTES"),
        ("red NOT sweet", "red"),
        ("red !sweet", "red"),
        ("red -sweet +dry", "red dry"),
        ('red -"very sweet" wine', "red wine"),
        ("red -title:sweet wine", "red wine"),
        ("(red (dry -(sweet (very))) wine)", "red dry wine"),
        ("red NOT (sweet OR dry) wine", "red wine"),
        ("red - wine", "red wine"),
        ("well-known", "well-known"),
        ("red^2 wine~1 'x'^0.5", "red wine 'x'"),
        ('"red wine"~3', "red wine"),
        ("win* w?ne", "win wne"),
        ("what is ETL?", "what is ETL"),
        (r"C\+\+ a\:b", "C++ a:b"),
        (r'"say \"cheese\""', 'say "cheese"'),
        ("wine year:[2000 TO 2010] {1 TO 2}", "wine"),
        ("wine price:>=10", "wine"),
        ("wine /joh?n(ath[oa]n)/", "wine"),
        ("wine _exists_:price", "wine"),
        ('"red wine', "red wine"),
        ("((red) wine", "red wine"),
        ("red) wine", "red wine"),
        ("and/or", "and/or"),
        ("wine\\", "wine"),
        ("süßer Wein", "süßer Wein"),
    ],
)
def test_a_query_string_is_reduced_to_its_words(typed, words):
    assert find_typed_text(typed) == [words]


@pytest.mark.parametrize(
    "typed", ["", "*", "*:*", "-sweet", "NOT sweet", "title:*", "-(a b)", "?", '""', "+"]
)
def test_a_query_string_without_words_has_no_text(typed):
    assert find_typed_text(typed) == []


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("red + wine | beer", "red wine beer"),
        ("red -sweet", "red"),
        ('"red wine" -"very sweet"', "red wine"),
        ("(red | dry) -(sweet wine)", "red dry"),
        ("win* wnie~1", "win wnie"),
        ('"red wine"~2', "red wine"),
        (r"C\+\+", "C++"),
        ("title:red AND what?", "title:red AND what?"),
    ],
)
def test_a_simple_query_string_has_its_own_operators(typed, words):
    assert find_query_texts({"simple_query_string": {"query": typed}}) == [words]


@pytest.mark.parametrize("piece", ["(", '"', "/", "[", "a", "\\", "-", "~", "a:", "<"])
def test_hostile_query_strings_take_no_time(piece):
    """The reduction is linear: this would take minutes if it were not."""
    find_typed_text(piece * 100_000)


def test_a_hundred_thousand_brackets_are_soon_read():
    assert find_typed_text("(" * 100_000 + ")" * 100_000 + ") wine") == ["wine"]
