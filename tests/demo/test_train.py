import random

import numpy as np
import pytest
import torch

from demo.train import Pool, build_rows, first_sentence, search_bm25
from relevance.rows import TrainingRow
from rerankers.finetune.teacher import COSINE_SCALE


@pytest.fixture
def pool() -> Pool:
    """Six passages on a circle: the higher the number, the less like the query at (1, 0)."""
    angles = np.linspace(0, 1, 6, dtype=np.float32)
    return Pool(
        passages=[f"passage {number}" for number in range(6)],
        vectors=torch.from_numpy(np.stack([np.cos(angles), np.sin(angles)], axis=1)),
        bm25_hits=np.array([[5, 4, 3]]),
    )


@pytest.fixture
def row(pool) -> TrainingRow:
    [row] = build_rows({"query": {4: 3, 5: 1}}, torch.tensor([[1.0, 0.0]]), pool, random.Random(0))
    return row


@pytest.mark.parametrize(
    ("grades", "positives"),
    [
        pytest.param({4: 3, 5: 1}, ["passage 4"], id="only helpful ones are left out"),
        pytest.param({4: 3, 5: 2}, ["passage 4", "passage 5"], id="good ones count too"),
        pytest.param(
            {2: 1, 5: 1}, ["passage 2", "passage 5"], id="only helpful ones, where there is no better"
        ),
    ],
)
def test_the_well_judged_passages_are_the_positives(pool, grades, positives):
    [row] = build_rows({"query": grades}, torch.tensor([[1.0, 0.0]]), pool, random.Random(0))
    assert row.pos == positives


def test_all_others_are_negatives_once(row):
    assert sorted(row.neg) == ["passage 0", "passage 1", "passage 2", "passage 3", "passage 5"]


def test_all_scores_are_the_teacher_s_cosines(row):
    scores = dict(zip(row.pos + row.neg, row.pos_scores + row.neg_scores, strict=True))
    expected = [COSINE_SCALE * np.cos(angle) for angle in np.linspace(0, 1, 6)]
    assert [scores[f"passage {number}"] for number in range(6)] == pytest.approx(expected, abs=1e-3)


def test_bm25_finds_other_forms_of_a_word():
    hits = search_bm25(["deleting folders", "sine of an angle", "open a file"], ["delete a folder"])
    assert hits[0][0] == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param("Delete it. All of it.", "Delete it.", id="first of two"),
        pytest.param("Delete it\n\nMore.", "Delete it", id="heading"),
        pytest.param("Return a.b of\nthe c. More.", "Return a.b of\nthe c.", id="dot inside a name"),
    ],
)
def test_the_first_sentence_ends_where_a_reader_would_say(body, sentence):
    assert first_sentence(body) == sentence
