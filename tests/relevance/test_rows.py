"""Training rows and their negatives, and splits by query."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relevance.errors import BadChoice, BadFile
from relevance.judgments import JudgedQuery
from relevance.negatives import NegativeRules, make_row
from relevance.rows import TrainingRow, read_rows
from relevance.split import find_leaks, find_part, normalise_query, split

SHARES = {"train": 80.0, "dev": 10.0, "test": 10.0}
EIGHT = ["train", "dev", "train", "train", "test", "train", "dev", "train"]
"""The parts of queries 25 to 32; another order breaks what people have split."""


@pytest.mark.parametrize(
    "row",
    [
        TrainingRow("q", ("a",), ("b", "c")),
        TrainingRow("ö\n", ("a",), ("b",), (1.5,), (-2.0,), prompt="is it?"),
        TrainingRow("q", ("a",), ("b",), query_prompt="A: ", passage_prompt="B: "),
    ],
)
def test_what_is_written_is_read_again(tmp_path, row):
    file = tmp_path / "rows.jsonl"
    file.write_text(row.to_line() + "\n")
    assert list(read_rows(file)) == [row]


def make_fields(**more):
    return {"query": "q", "pos": ["a"], "neg": ["b"], **more}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param(make_fields(query=None), "query: expected a text, found nothing", id="no query"),
        pytest.param(make_fields(pos=[]), "pos: expected a list of at least one text", id="no relevant one"),
        pytest.param(make_fields(neg=["b", " "]), "neg[1]: expected a text, found str ' '", id="a blank"),
        pytest.param(make_fields(pos=[3]), "pos[0]: expected a text, found int 3", id="a number"),
        pytest.param(make_fields(pos_scores=[1]), "both pos_scores and neg_scores", id="scores of one side"),
        pytest.param(
            make_fields(pos_scores=[1], neg_scores=[1, 2]),
            "neg_scores: 2 scores for 1 passages",
            id="too many",
        ),
        pytest.param(
            make_fields(pos_scores=["x"], neg_scores=[1]),
            "pos_scores: expected a list of numbers",
            id="a word",
        ),
        pytest.param(make_fields(neg=["a"]), "pos and neg: both have 'a'", id="relevant and not"),
        pytest.param(make_fields(prompt=""), "prompt: expected a text", id="an empty prompt"),
    ],
)
def test_wrong_rows_are_named_by_file_and_line(tmp_path, fields, told):
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(make_fields()) + "\n" + json.dumps(fields) + "\n")
    with pytest.raises(BadFile) as caught:
        list(read_rows(file))
    assert str(caught.value).startswith(f"{file}:2: ")
    assert told in str(caught.value)


def test_a_file_without_rows_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("\n")
    with pytest.raises(BadFile, match="no training rows in it"):
        list(read_rows(tmp_path / "rows.jsonl"))


QUERY = JudgedQuery("q", "text", {"r1": 2, "r2": 1, "n": 0})
RANKING = ["r1", "d1", "d2", "n", "r2", "d3", "d4", "d5"]
PASSAGES = {id: f"passage of {id}" for id in RANKING}


def mine(scores=None, passages=PASSAGES, **rules):
    chosen = NegativeRules(**{"first": 2, "last": 7, "count": 10, **rules})
    row = make_row(QUERY, chosen.find_candidates(RANKING, QUERY), passages, chosen, scores)
    return row and ([text.removeprefix("passage of ") for text in row.pos], [x[11:] for x in row.neg])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        pytest.param(
            {}, (["r1", "r2"], ["d1", "d2", "n", "d3", "d4"]), id="the range without what is relevant"
        ),
        pytest.param(
            {"least_grade": 2}, (["r1"], ["d1", "d2", "n", "d3", "d4"]), id="helpful ones are neither"
        ),
        pytest.param({"first": 6, "last": 6}, (["r1", "r2"], ["d3"]), id="one rank"),
        pytest.param({"last": 100}, (["r1", "r2"], ["d1", "d2", "n", "d3", "d4", "d5"]), id="past the end"),
        pytest.param(
            {"passages": {**PASSAGES, "d2": PASSAGES["r2"], "d3": "", "d4": PASSAGES["d1"]}},
            (["r1", "r2"], ["d1", "n"]),
            id="what reads like a relevant one, nothing, or another negative is none",
        ),
        pytest.param({"passages": {"d1": "x"}}, None, id="no relevant passage"),
        pytest.param({"first": 50, "last": 60}, None, id="no negative"),
        pytest.param(
            {"scores": {"r1": 5, "r2": 3, "d1": 4, "d2": 3, "n": 2.5, "d3": 1, "d4": -1, "d5": 0}},
            (["r1", "r2"], ["n", "d3", "d4"]),
            id="a teacher leaves out what it finds as good",
        ),
        pytest.param(
            {
                "scores": {"r1": 5, "r2": 3, "d1": 4, "d2": 3, "n": 2.5, "d3": 1, "d4": -1, "d5": 0},
                "margin": 2,
            },
            (["r1", "r2"], ["d4"]),
            id="and what is near it",
        ),
    ],
)
def test_negatives(options, wanted):
    assert mine(**options) == wanted


def test_scores_stand_beside_their_passages():
    scores = {id: float(place) for place, id in enumerate(reversed(RANKING))}
    rules = NegativeRules(first=1, last=8, count=10)
    row = make_row(QUERY, ["d3", "d5"], PASSAGES, rules, scores)
    assert (row.pos_scores, row.neg_scores) == ((7.0, 3.0), (2.0, 0.0))


def test_drawing_is_the_same_each_time_and_follows_the_seed():
    drawn = {tuple(mine(count=2, seed=seed)[1]) for seed in range(20)}
    assert all(len(negatives) == 2 for negatives in drawn)
    assert len(drawn) > 3
    assert mine(count=2) == mine(count=2)


@pytest.mark.parametrize("rules", [{"first": 0}, {"first": 9, "last": 8}, {"count": 0}, {"least_grade": 0}])
def test_rules_that_cannot_be_followed_are_refused(rules):
    with pytest.raises(BadChoice):
        NegativeRules(**rules)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Delete a  folder?", "delete a folder"),
        ("ﬁle_name", "FILE NAME"),
        ("Straße!", "STRASSE"),
        (":=", ":="),
    ],
)
def test_spellings_of_one_query(text, same):
    assert normalise_query(text) == normalise_query(same)


@given(st.lists(st.text(min_size=1), max_size=50))
def test_no_query_is_in_two_parts(texts):
    spellings = [*texts, *(f" {text.upper()}. " for text in texts if text.upper().lower() == text.lower())]
    parts = split(spellings, str, SHARES)
    assert sorted(text for part in parts.values() for text in part) == sorted(spellings)
    assert find_leaks(parts) == []


def test_parts_have_their_shares_and_never_change():
    texts = [f"query {number}" for number in range(5000)]
    parts = split(texts, str, SHARES)
    assert {name: len(part) / 5000 for name, part in parts.items()} == pytest.approx(
        {"train": 0.8, "dev": 0.1, "test": 0.1}, abs=0.02
    )
    assert [find_part(f"query {number}", SHARES) for number in range(25, 33)] == EIGHT
    assert split(texts, str, SHARES, salt="x") != parts


def test_a_leak_is_named():
    (leak,) = find_leaks({"train": ["a b", "c"], "test": ["x", "A  b!"]})
    assert (leak.first, leak.second, leak.first_text, leak.second_text) == ("train", "test", "a b", "A  b!")


@pytest.mark.parametrize("shares", [{}, {"a": 0}, {"a": 1, "b": -1}])
def test_shares_must_be_positive(shares):
    with pytest.raises(BadChoice, match="a positive share"):
        find_part("x", shares)
