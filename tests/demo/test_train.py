import random

import numpy as np
import pytest

from demo.train import GRADE_STEP, Pool, Row, build_rows, first_sentence, search_bm25, write_rows
from rerankers.finetune.groups import TrainingRow


@pytest.fixture
def pool() -> Pool:
    """Six passages on a circle: the higher the number, the less like the query at (1, 0)."""
    angles = np.linspace(0, 1, 6, dtype=np.float32)
    return Pool(
        passages=[f"passage {number}" for number in range(6)],
        vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1),
        bm25_hits=np.array([[5, 4, 3]]),
    )


@pytest.fixture
def row(pool) -> Row:
    [row] = build_rows({"query": {4: 3, 5: 1}}, np.array([[1, 0]], np.float32), pool, random.Random(0))
    return row


def test_the_best_judged_passages_are_the_positives(row):
    assert row.pos == ["passage 4"]


def test_all_others_are_negatives_once(row):
    assert sorted(row.neg) == ["passage 0", "passage 1", "passage 2", "passage 3", "passage 5"]


def test_judged_passages_are_lifted_above_everything_else_by_grade(row):
    scores = dict(zip(row.neg, row.neg_scores, strict=True))
    assert row.pos_scores[0] == pytest.approx(scores["passage 5"] + 2 * GRADE_STEP)
    assert scores["passage 5"] > max(score for name, score in scores.items() if name != "passage 5")


def test_the_others_have_the_teacher_s_order(row):
    scores = dict(zip(row.neg, row.neg_scores, strict=True))
    assert scores["passage 0"] > scores["passage 1"] > scores["passage 2"] > scores["passage 3"]


def test_the_file_is_what_finetune_reads(row, tmp_path):
    write_rows([row], tmp_path / "train.jsonl")
    read = TrainingRow.parse((tmp_path / "train.jsonl").read_text(), needs_scores=True)
    assert vars(read) == vars(row)


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
