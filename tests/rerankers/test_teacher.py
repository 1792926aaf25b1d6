"""The teacher made of an embedding model and judgments, and the command that scores rows by it."""

import json
import sys

import pytest
import torch
from torch.nn.functional import normalize

from relevance.rows import TrainingRow, read_rows
from rerankers.__main__ import main
from rerankers.cosine import CosineModel
from rerankers.finetune.teach import Lesson
from rerankers.finetune.teacher import COSINE_SCALE, Teacher, fit_teacher

N_PASSAGES, N_DIMENSIONS = 40, 16
HALF = range(N_PASSAGES // 2)
SEED = 3


@pytest.fixture(scope="module")
def passages():
    generator = torch.Generator().manual_seed(SEED)
    return normalize(torch.randn(N_PASSAGES, N_DIMENSIONS, generator=generator), dim=-1)


@pytest.fixture(scope="module")
def queries(passages):
    """Each passage's own vector with its dimensions in another order: the untrained cosine is blind to it."""
    return passages.roll(1, dims=1)


@pytest.fixture(scope="module")
def teacher(queries, passages) -> Teacher:
    """Taught by the first half of the queries."""
    return fit_teacher(queries[: len(HALF)], passages, [{place: 1.0} for place in HALF], SEED)


def mean_rank(cosines, wanted):
    """1 is best."""
    ranks = [int((row >= row[place]).sum()) for row, place in zip(cosines, wanted, strict=True)]
    return sum(ranks) / len(ranks)


@pytest.mark.parametrize(
    "places",
    [
        pytest.param(HALF, id="queries it learned from"),
        pytest.param(range(len(HALF), N_PASSAGES), id="queries it has not seen"),
    ],
)
def test_relevant_passages_come_nearer_to_their_queries(teacher, queries, passages, places):
    asked = queries[list(places)]
    untrained = mean_rank(asked @ passages.T, places)
    taught = mean_rank(teacher.turn_queries(asked) @ teacher.turn_passages(passages).T, places)
    assert taught < 0.8 * untrained


def test_turned_vectors_have_length_one(teacher, queries, passages):
    turned = torch.cat([teacher.turn_queries(queries), teacher.turn_passages(passages)])
    assert turned.norm(dim=1).tolist() == pytest.approx([1.0] * len(turned), abs=1e-5)


def test_the_same_seed_gives_the_same_teacher_and_leaves_others_numbers_alone(teacher, queries, passages):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    again = fit_teacher(queries[: len(HALF)], passages, [{place: 1.0} for place in HALF], SEED)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(again.turn_queries(queries), teacher.turn_queries(queries))


def test_the_greater_weight_draws_more(queries, passages):
    taught = fit_teacher(queries[:1], passages, [{5: 5.0, 6: 1.0}], SEED)
    cosines = taught.turn_queries(queries[:1]) @ taught.turn_passages(passages).T
    assert cosines[0, 5] > cosines[0, 6] > cosines.median()


ROWS = [
    {"query": "delete a folder", "pos": ["remove a tree"], "neg": ["sort list", "parse json text"]},
    {"query": "sort a list", "pos": ["sort list by key", "list key"], "neg": ["remove files"], "prompt": "?"},
    {"query": "parse text", "pos": ["json text"], "neg": ["remove a tree", "sort list"]},
]


@pytest.fixture
def teach(embedding_folder, tmp_path, monkeypatch, capsys):
    """Runs the command on rows; gives what it printed and the rows it wrote."""

    def run(rows, *options):
        (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        output = tmp_path / "taught.jsonl"
        paths = [str(tmp_path / "rows.jsonl"), "--cosine", str(embedding_folder), "--output", str(output)]
        monkeypatch.setattr(sys, "argv", ["rerankers", "teach", *paths, *options])
        main()
        return capsys.readouterr().out, list(read_rows(output))

    return run


def test_rows_come_back_with_scores(teach, embedding_folder):
    _, rows = teach(ROWS)
    assert [(row.query, [*row.pos], [*row.neg], row.prompt) for row in rows] == [
        (row["query"], row["pos"], row["neg"], row.get("prompt")) for row in ROWS
    ]
    assert [(len(row.pos_scores), len(row.neg_scores)) for row in rows] == [(1, 2), (2, 1), (1, 2)]


def test_cosines_as_they_are_teach_where_judgments_do_not_help(teach, embedding_folder):
    """One query: there is no other to learn from."""
    told, [row] = teach(ROWS[:1])
    assert told.endswith("the teacher is the cosine as it is\n")
    model = CosineModel(str(embedding_folder), "cpu", 512)
    [query], passages = model.embed([row.query]), model.embed([*row.pos, *row.neg])
    expected = (COSINE_SCALE * passages @ query).tolist()
    assert [*row.pos_scores, *row.neg_scores] == pytest.approx(expected, abs=1e-3)


class Turned:
    """An embedding model to which a text is a number, as vectors of queries and passages that do not meet."""

    def __init__(self, queries, passages) -> None:
        self._vectors = {f"q{place}": row for place, row in enumerate(queries)}
        self._vectors |= {f"p{place}": row for place, row in enumerate(passages)}

    def embed(self, texts):
        return torch.stack([self._vectors[text] for text in texts])


def test_a_teacher_is_judged_by_queries_it_has_not_seen(queries, passages):
    """Judgments that mean something help with them; those drawn by lot do not."""

    def make_rows(find_relevant):
        everything = [f"p{place}" for place in range(N_PASSAGES)]
        for place in range(N_PASSAGES):
            relevant = f"p{find_relevant(place)}"
            yield TrainingRow(f"q{place}", [relevant], [other for other in everything if other != relevant])

    drawn = torch.randperm(N_PASSAGES, generator=torch.Generator().manual_seed(SEED)).tolist()
    for find_relevant, helps in ((lambda place: place, True), (lambda place: drawn[place], False)):
        lesson = Lesson(list(make_rows(find_relevant)), Turned(queries, passages))
        untrained, turned = lesson.cross_validate(SEED).values()
        assert (turned > 1.5 * untrained) is helps


@pytest.mark.parametrize(
    ("rows", "options", "told"),
    [
        pytest.param([{"query": "a", "pos": []}], [], "rows.jsonl:1: pos: expected a list", id="a bad row"),
        pytest.param([], [], "rows.jsonl: no training rows in it", id="no rows"),
        pytest.param(ROWS, ["--cosine", "no/such"], "no/such: no such folder", id="no model"),
        pytest.param(ROWS, ["--output", "no/such/file"], "no/such/file: can't be written", id="no folder"),
    ],
)
def test_a_mistake_ends_with_a_sentence(teach, rows, options, told):
    with pytest.raises(SystemExit) as ended:
        teach(rows, *options)
    assert told in str(ended.value)
