"""Scores to the order and the scores that the client sees."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin import FirstStage, place_hits
from search_plugin.blend import elasticsearch_score
from tests.search_plugin.make import make_plan, make_policy


def place(first_stage_scores, logits, *, scores_like_elasticsearch=False, **options):
    hits = [{"_id": str(i), "_score": score} for i, score in enumerate(first_stage_scores)]
    first_stage = FirstStage.parse(json.dumps({"hits": {"hits": hits}}))
    policy = make_policy(**{"window": max(len(logits), 1), **options})
    plan = make_plan(policy=policy, scores_like_elasticsearch=scores_like_elasticsearch)
    return [(placed.hit, round(placed.score, 4)) for placed in place_hits(plan, first_stage, logits)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        pytest.param({}, [(2, 0.8808), (1, 0.5), (0, 0.1192)], id="replace"),
        # 0.5 * probability + 0.5 * (first - 1) / 3
        pytest.param(
            {"score_mode": "linear", "weight": 0.5}, [(0, 0.5596), (2, 0.4404), (1, 0.4167)], id="linear"
        ),
        pytest.param(
            {"score_mode": "linear", "weight": 1}, [(2, 0.8808), (1, 0.5), (0, 0.1192)], id="only the model"
        ),
        pytest.param(
            {"score_mode": "linear", "weight": 0},
            [(0, 1.0), (1, 0.3333), (2, 0.0)],
            id="only the first stage",
        ),
        # 1/61 + 1/63 twice, 2/62; of equal ones the model's better is first
        pytest.param({"score_mode": "rrf"}, [(2, 0.0323), (0, 0.0323), (1, 0.0323)], id="rrf"),
        pytest.param(
            {"score_mode": "rrf", "rank_constant": 1}, [(2, 0.75), (0, 0.75), (1, 0.6667)], id="rrf, steep"
        ),
    ],
)
def test_both_scores_are_blended(options, expected):
    assert place([4.0, 2.0, 1.0], [-2.0, 0.0, 2.0], **options) == expected


def test_a_linear_blend_of_equal_first_stage_scores_is_the_models_order():
    assert place([1.0, 1.0], [0.0, 2.0], score_mode="linear") == [(1, 0.9046), (0, 0.6)]


@pytest.mark.parametrize(
    ("options", "hits"),
    [
        pytest.param({"min_score": 0.5}, [2, 1], id="reached by equal"),
        pytest.param({"min_score": 0.9}, [], id="by none"),
        pytest.param({"min_score": 0.0, "window": 3}, [2, 1, 0], id="the tail is not read, so it goes"),
        pytest.param(
            {"min_score": 0.42, "score_mode": "linear", "weight": 0.5}, [0, 2], id="the blended score"
        ),
    ],
)
def test_hits_below_min_score_are_left_out(options, hits):
    placed = place([4.0, 2.0, 1.0, 0.5, 0.4][: 5 if "window" in options else 3], [-2.0, 0.0, 2.0], **options)
    assert [hit for hit, _ in placed] == hits


@pytest.mark.parametrize(
    ("logit", "score"), [(-1e308, 0.0), (-2.0, 0.1353), (0.0, 1.0), (0.5, 1.5), (7.25, 8.25), (1e308, 1e308)]
)
def test_elasticsearchs_normalisation(logit, score):
    assert elasticsearch_score(logit) == pytest.approx(score, abs=1e-4)


def test_a_score_fits_into_32_bits():
    assert place([2.0, 1.0], [1e308, -1e308], scores_like_elasticsearch=True)[0] == (0, 3e38)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=12),
    st.data(),
    st.sampled_from(["replace", "linear", "rrf"]),
    st.booleans(),
)
def test_whatever_the_blend_scores_are_positive_and_fall_down_to_the_tail(
    first, data, mode, like_elasticsearch
):
    first = sorted(first, reverse=True)
    window = data.draw(st.integers(1, len(first)))
    logits = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=window, max_size=window))
    placed = place(
        first, logits, score_mode=mode, window=window, scores_like_elasticsearch=like_elasticsearch
    )
    hits = [hit for hit, _ in placed]
    assert sorted(hits) == list(range(len(first)))
    assert hits[window:] == list(range(window, len(first)))
    assert all(low <= high for (_, high), (_, low) in itertools.pairwise(placed))


def test_a_tail_that_the_cluster_has_not_ordered_by_score_falls_too():
    hits = [{"_score": score} for score in (3.0, 2.0, 1.0, 5.0, 0.5)]
    first_stage = FirstStage.parse(json.dumps({"hits": {"hits": hits}}))
    placed = place_hits(make_plan(policy=make_policy(window=2)), first_stage, [1.0, 2.0])
    assert [place.hit for place in placed] == [1, 0, 2, 3, 4]
    assert [place.score for place in placed] == sorted((place.score for place in placed), reverse=True)
