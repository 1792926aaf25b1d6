import math

import pytest

from demo.figures import compare, measure
from demo.judged import JudgedQuery

QUERIES = [JudgedQuery("a", {"x": 3, "y": 1}), JudgedQuery("b", {"z": 3})]


def test_a_perfect_ranking_measures_one():
    values = measure(QUERIES, {"a": ["x", "y", "z"], "b": ["z", "x"]})
    assert values == {"nDCG@10": [1.0, 1.0], "MRR@10": [1.0, 1.0]}


@pytest.mark.parametrize(
    ("ranking", "ndcg", "mrr"),
    [
        pytest.param(["x"], 1 / math.log2(2), 1.0, id="first"),
        pytest.param(["-", "x"], 1 / math.log2(3), 1 / 2, id="second"),
        pytest.param([*"0123456789", "x"], 0.0, 0.0, id="beyond the tenth"),
        pytest.param([], 0.0, 0.0, id="no hits"),
    ],
)
def test_the_place_of_the_wanted_document_counts(ranking, ndcg, mrr):
    values = measure([JudgedQuery("q", {"x": 3}), QUERIES[1]], {"q": ranking, "b": ["z"]})
    assert (values["nDCG@10"][0], values["MRR@10"][0]) == pytest.approx((ndcg, mrr))


def test_a_comparison_counts_queries_and_says_how_sure_it_is():
    found = compare([0.9, 0.8, 0.5, 0.1], [0.1, 0.2, 0.5, 0.2])
    assert (found.wins, found.losses) == (2, 1)
    assert 0 < found.p_value < 1


def test_equal_rankings_do_not_differ():
    assert compare([0.5, 0.5], [0.5, 0.5]).p_value == 1.0
