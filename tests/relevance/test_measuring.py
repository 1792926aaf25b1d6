"""Rankings are measured as trec_eval does, and differences are told with how sure they are."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relevance.comparison import adjust, compare
from relevance.errors import BadChoice, BadFile
from relevance.evaluation import FIRST_STAGE, Evaluation
from relevance.judgments import JudgedQuery
from relevance.measures import DEFAULT_MEASURES, measure
from relevance.popularity import count_popularity, rank_by_popularity
from relevance.runs import read_run, reorder, write_run

QUERY = JudgedQuery("q", "text", {"a": 3, "b": 1, "c": 0, "d": 1})


@pytest.mark.parametrize(
    ("name", "ranking", "value"),
    [
        pytest.param("nDCG@10", "abdc", 1.0, id="ideal"),
        pytest.param(
            "nDCG@10",
            "cab",
            (3 / math.log2(3) + 1 / math.log2(4)) / (3 + 1 / math.log2(3) + 1 / math.log2(4)),
            id="gains are grades, discounted by log2",
        ),
        pytest.param("nDCG@1", "ba", 1 / 3, id="cut"),
        pytest.param("MRR@10", "xcab", 1 / 3, id="the first relevant one, unjudged ones are not"),
        pytest.param("MRR@2", "xca", 0.0, id="too deep"),
        pytest.param("MAP@100", "axb", (1 / 1 + 2 / 3) / 3, id="over all relevant documents"),
        pytest.param("MAP(rel=2)@100", "ba", 1 / 2, id="relevant from a grade on"),
        pytest.param("Recall@2", "abd", 2 / 3, id="recall"),
        pytest.param("P@5", "ab", 2 / 5, id="precision counts missing hits"),
        pytest.param("nDCG@10", "", 0.0, id="no hits"),
    ],
)
def test_measures_have_the_values_of_their_definitions(name, ranking, value):
    assert measure([QUERY], {"q": [*ranking]}, [name]) == {name: [pytest.approx(value)]}


def test_a_query_without_a_ranking_counts_nothing_in_its_place():
    other = JudgedQuery("r", "other", {"a": 1})
    assert measure([other, QUERY], {"q": ["a", "b", "d"]}, ["nDCG@10"]) == {"nDCG@10": [0.0, 1.0]}


def test_ties_keep_their_order():
    ranking = [*"cxbda"]
    values = measure([QUERY], {"q": ranking}, DEFAULT_MEASURES)
    assert measure([QUERY], {"q": reorder(ranking, [0.5] * 5)}, DEFAULT_MEASURES) == values


@pytest.mark.parametrize("name", ["nonsense@10", "nDCG@", "nDCG@ten", "", "__import__('os')"])
def test_unknown_measures_are_refused(name):
    with pytest.raises(BadChoice, match="is unknown; expected such as nDCG@10"):
        measure([QUERY], {}, [name])


def test_runs_are_read_by_score_and_written_in_order(tmp_path):
    file = tmp_path / "a.run"
    file.write_text("q Q0 a 1 0.5 x\nq Q0 b 2 0.7 x\nq Q0 c 3 0.5 x\nr Q0 a 1 -1e3 x\n")
    run = read_run(file)
    assert run == {"q": ["b", "a", "c"], "r": ["a"]}
    write_run(file, run, "my run")
    assert read_run(file) == run
    assert file.read_text().splitlines()[0] == "q Q0 b 1 3 my-run"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("q Q0 a 1 0.5\n", "a.run:1: expected query Q0 document rank score tag, found 5 columns"),
        ("q Q0 a 1 best x\n", "a.run:1: score: expected a number, found 'best'"),
        ("q Q0 a 1 nan x\n", "a.run:1: score: expected a number, found nan"),
        ("q Q0 a 1 1 x\nq Q0 a 2 0 x\n", "a.run:2: query 'q': document 'a' is ranked twice"),
        ("", "a.run: no ranking in it"),
    ],
)
def test_malformed_runs_are_named(tmp_path, content, told):
    (tmp_path / "a.run").write_text(content)
    with pytest.raises(BadFile) as caught:
        read_run(tmp_path / "a.run")
    assert told in str(caught.value)


values = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=60)


@settings(deadline=None)  # the first call imports scipy
@given(values)
def test_a_comparison_is_the_other_ones_mirror(pairs):
    ours, theirs = zip(*pairs, strict=True)
    one, other = compare(ours, theirs), compare(theirs, ours)
    assert one.difference == pytest.approx(-other.difference, abs=1e-12)
    assert one.low == pytest.approx(-other.high, abs=1e-9)
    assert (one.wins, one.losses, one.ties) == (other.losses, other.wins, other.ties)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.wins + one.losses + one.ties == len(pairs)
    assert 0 <= one.p_value <= 1
    assert one.low - 1e-9 <= one.difference <= one.high + 1e-9


def test_chance_is_seldom_called_sure():
    """Of rankings that do not differ one in twenty has p < 0.05, and its interval misses 0 as often."""
    rng = np.random.default_rng(7)
    found = [compare(*rng.random((2, 60))) for _ in range(400)]
    assert 0.02 < np.mean([one.p_value < 0.05 for one in found]) < 0.09
    assert 0.02 < np.mean([not one.low <= 0 <= one.high for one in found]) < 0.09


@pytest.mark.parametrize(
    ("ours", "theirs", "p_value"),
    [
        pytest.param([0.5, 0.2], [0.5, 0.2], 1.0, id="equal"),
        pytest.param([1.0], [0.5], 1.0, id="one query says nothing"),
        pytest.param([1.0] * 6, [0.5] * 6, 2 / 64, id="always the same difference: six tosses of a coin"),
        # by hand: differences 1 2 3 4 5, mean 3, standard error sqrt(2.5 / 5): t = 4.2426 with 4 degrees
        pytest.param([1, 2, 3, 4, 5], [0, 0, 0, 0, 0], 0.01324, id="paired t-test"),
    ],
)
def test_p_values(ours, theirs, p_value):
    assert compare(ours, theirs).p_value == pytest.approx(p_value, rel=1e-3)


def test_comparisons_need_queries():
    with pytest.raises(ValueError, match="at least one query"):
        compare([], [])


def test_holms_adjustment():
    """The smallest times three, the next times two, never smaller than one before, never above one."""
    assert adjust([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert adjust([0.9, 0.8]) == [1.0, 1.0]
    assert adjust([]) == []


def test_popularity_does_not_read_the_query():
    training = [JudgedQuery("1", "x", {"c": 2, "b": 1}), JudgedQuery("2", "y", {"b": 2, "z": 5})]
    run = rank_by_popularity({"q": [*"abcd"], "r": [*"da"]}, count_popularity(training))
    assert run == {"q": [*"bcad"], "r": [*"da"]}


def evaluate(model, first_stage, n_queries=30, **control):
    """An evaluation of one relevant document a query, at these ranks from 1."""
    queries = [JudgedQuery(f"q{n}", f"text {n}", {"good": 1}) for n in range(n_queries)]

    def make_run(rank):
        return {query.id: [*(f"bad{n}" for n in range(rank - 1)), "good"] for query in queries}

    evaluation = Evaluation(queries, ["nDCG@10", "MRR@10"])
    evaluation.add(FIRST_STAGE, make_run(first_stage), "first stage")
    for name, rank in control.items():
        evaluation.add(name, make_run(rank), "control")
    evaluation.add("model", make_run(model), notes=["a note"])
    return evaluation


@pytest.mark.parametrize(
    ("ranks", "warned"),
    [
        pytest.param({"model": 1, "first_stage": 3, "cosine": 2}, [], id="better than all"),
        pytest.param(
            {"model": 2, "first_stage": 3, "cosine": 1}, ["the control 'cosine'"], id="than the first stage"
        ),
        pytest.param(
            {"model": 4, "first_stage": 3, "cosine": 1},
            ["the first stage", "the control 'cosine'"],
            id="worse",
        ),
    ],
)
def test_a_model_that_loses_is_warned_of(ranks, warned):
    *warnings, note = evaluate(**ranks).find_warnings()
    assert note == "model: a note"
    assert [told.split(":")[0] for told in warnings] == [f"model loses to {x}" for x in warned]


def test_few_queries_are_warned_of():
    assert "only 3 queries" in evaluate(1, 2, n_queries=3).find_warnings()[-1]


def test_two_rankings_of_one_name_are_refused():
    evaluation = evaluate(1, 2)
    with pytest.raises(BadChoice, match="model: two rankings have this name"):
        evaluation.add("model", {})
    with pytest.raises(BadChoice, match="no queries"):
        Evaluation([], ["nDCG@10"])
    with pytest.raises(BadChoice, match="'x' is unknown"):
        Evaluation([QUERY], ["x"])
