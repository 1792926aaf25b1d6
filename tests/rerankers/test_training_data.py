"""Training data: what is read, what is refused, what a group is made of."""

import json
import random

import pytest

from relevance.rows import TrainingRow
from rerankers import BadTrainingFile
from rerankers.base import Instruction
from rerankers.finetune.groups import (
    DrawSampler,
    Group,
    GroupCollator,
    GroupDataset,
    Texts,
    draw_negatives,
    shuffle_text,
)
from rerankers.finetune.ranking import compute_ndcg
from rerankers.finetune.rows import read_rows, refuse_leaks, sample_rows
from rerankers.sequences import pad_rows
from tests.rerankers.training import train, write_rows

ROW = {"query": "delete a folder", "pos": ["remove a tree"], "neg": ["sort list", "parse json text"]}
SCORED = ROW | {"pos_scores": [3.5], "neg_scores": [-1, 0.5]}
OTHER = SCORED | {"query": "other"}
PLAIN = Texts(Instruction(None, "{}{}"), Instruction(None, "{}{}"))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("{", "not JSON: Expecting", id="no json"),
        pytest.param("[]", "expected a JSON object", id="no object"),
        pytest.param(b"\xff\xfe", "not UTF-8: byte 0", id="no utf-8"),
        pytest.param({"query": 3}, "query: expected a text, found int 3", id="query"),
        pytest.param({"query": None}, "query: .*nothing", id="no query"),
        pytest.param({"query": " \t"}, r"query: expected a text, found str ' \\t'", id="blank query"),
        pytest.param({"query": "a\ud800"}, "query: broken text", id="half a character"),
        pytest.param({"pos": []}, "pos: expected a list of at least one text", id="no pos"),
        pytest.param({"pos": "text"}, "pos: .*found str 'text'", id="pos is a text"),
        pytest.param({"neg": ["a", None]}, r"neg\[1\]: .*nothing", id="neg with null"),
        pytest.param({"neg": None}, "neg: ", id="no neg"),
        pytest.param({"neg": ["\udfff", "b"]}, r"neg\[0\]: broken text", id="half a character in neg"),
        pytest.param({"neg": ["remove a tree", "b"]}, "pos and neg: both have 'remove a", id="pos and neg"),
        pytest.param({"prompt": 1}, "prompt: expected a text", id="prompt is a number"),
        pytest.param({"prompt": ""}, "prompt: expected a text", id="an empty prompt"),
        pytest.param({"query_prompt": []}, "query_prompt: expected a text", id="query_prompt is a list"),
        pytest.param({"pos_scores": None, "neg_scores": None}, "pos_scores: missing", id="no scores"),
        pytest.param({"pos_scores": None}, "expected both pos_scores", id="half of the scores"),
        pytest.param({"neg_scores": [1]}, "neg_scores: 1 scores for 2 passages", id="too few scores"),
        pytest.param({"neg_scores": [1, "2"]}, "neg_scores: expected a list", id="score is a text"),
        pytest.param({"neg_scores": [1, float("nan")]}, "NaN is no number in JSON", id="score is nan"),
        pytest.param({"neg_scores": [1, True]}, "neg_scores: expected a list", id="score is a boolean"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, told):
    file = tmp_path / "train.jsonl"
    text = json.dumps(OTHER | line).encode() if isinstance(line, dict) else line
    file.write_bytes(
        json.dumps(SCORED).encode() + b"\n\n" + (text if isinstance(text, bytes) else text.encode())
    )
    with pytest.raises(BadTrainingFile, match=rf"train\.jsonl:3: {told}"):
        read_rows([str(file)], needs_scores=True)


@pytest.mark.parametrize(
    ("second", "told"),
    [
        pytest.param(ROW, r"b\.jsonl:1: the same row as .*a\.jsonl:2", id="a row again"),
        pytest.param(
            {"query": ROW["query"], "pos": ["sort list"], "neg": ["x"]},
            r"b\.jsonl:1: 'sort list' is pos for 'delete a folder', but neg in .*a\.jsonl:2",
            id="a passage that was a negative",
        ),
        pytest.param(
            {"query": ROW["query"], "pos": ["x"], "neg": ["remove a tree"]},
            r"b\.jsonl:1: 'remove a tree' is neg for 'delete a folder', but pos in .*a\.jsonl:2",
            id="a passage that was relevant",
        ),
    ],
)
def test_rows_that_cannot_go_together_are_refused_by_both_their_places(tmp_path, second, told):
    write_rows(tmp_path / "a.jsonl", [ROW | {"query": "first"}, ROW])
    write_rows(tmp_path / "b.jsonl", [second])
    with pytest.raises(BadTrainingFile, match=told):
        read_rows([str(tmp_path)], needs_scores=False)


def test_a_query_may_have_several_rows(tmp_path):
    """With other passages, or with another prompt."""
    rows = [ROW, ROW | {"neg": ["x"]}, ROW | {"prompt": "p"}]
    assert len(read_rows([str(write_rows(tmp_path / "a.jsonl", rows))], needs_scores=False)) == 3


def test_scores_are_needed_only_to_distil(tmp_path):
    write_rows(tmp_path / "train.jsonl", [ROW])
    assert read_rows([str(tmp_path)], needs_scores=False) == [TrainingRow.read(ROW)]


@pytest.mark.parametrize("content", [None, "", "\n \n"], ids=["no file", "empty file", "empty lines"])
def test_no_rows_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(BadTrainingFile, match=r"train\.jsonl"):
        read_rows([str(tmp_path / "train.jsonl")], needs_scores=False)


def test_a_file_that_is_named_twice_is_refused(tmp_path):
    write_rows(tmp_path / "a.jsonl", [ROW])
    with pytest.raises(BadTrainingFile, match=r"a\.jsonl: is named twice"):
        read_rows([str(tmp_path), str(tmp_path / "a.jsonl")], needs_scores=False)


def test_an_empty_file_among_others_is_refused(tmp_path):
    write_rows(tmp_path / "a.jsonl", [ROW])
    (tmp_path / "b.jsonl").touch()
    with pytest.raises(BadTrainingFile, match=r"b\.jsonl: no training rows"):
        read_rows([str(tmp_path)], needs_scores=False)


@pytest.mark.parametrize("query", ["delete a folder", "Delete  a FOLDER "], ids=["the same", "but for case"])
def test_a_leak_between_splits_is_refused_by_both_its_places(bert_folder, tmp_path, query):
    """Before a model is loaded."""
    train_file = write_rows(tmp_path / "train.jsonl", [OTHER, ROW])
    eval_file = write_rows(
        tmp_path / "eval.jsonl", [ROW | {"query": "new"}, ROW | {"query": query, "neg": ["x"]}]
    )
    with pytest.raises(BadTrainingFile, match=r"eval\.jsonl:2: the query .* \(.*train\.jsonl:2\)"):
        train("no/such/model", train_file, tmp_path / "written", "--eval_data", eval_file)
    refuse_leaks([TrainingRow(**ROW)], [TrainingRow(**ROW | {"query": "another"})])


def test_a_sample_of_a_file_is_the_same_each_time():
    rows = [TrainingRow(**ROW | {"query": str(number)}) for number in range(20)]
    sample = sample_rows(rows, 5, seed=1)
    assert sample == sample_rows(rows, 5, seed=1) != sample_rows(rows, 5, seed=2)
    assert len({row.query for row in sample}) == 5
    assert sample_rows(rows, 20, seed=1) == rows


@pytest.mark.parametrize(
    ("n_available", "n_wanted"), [(5, 3), (3, 3), (2, 7), (1, 4)], ids=["more", "as many", "fewer", "one"]
)
def test_negatives_repeat_only_when_too_few(n_available, n_wanted):
    drawn = draw_negatives(n_available, n_wanted, random.Random(0))
    assert len(drawn) == n_wanted
    assert set(drawn) <= set(range(n_available))
    assert max(drawn.count(i) for i in drawn) <= -(-n_wanted // n_available)


def make_dataset(row, texts=PLAIN, **options):
    options = {"group_size": 3, "shuffle_ratio": 0.0, "distil": True, "seed": 0} | options
    return GroupDataset([TrainingRow(**row)], texts, **options)


def test_a_group_starts_with_its_relevant_passage():
    """The teacher's scores stay with their passages."""
    group = make_dataset(SCORED)[0, 0]
    passages = [passage for _, passage in group.pairs]
    assert passages[0] == SCORED["pos"][0]
    scored = dict(zip([*SCORED["pos"], *SCORED["neg"]], [3.5, -1.0, 0.5], strict=True))
    assert group.teacher_scores == [scored[passage] for passage in passages]


def test_a_draw_depends_on_seed_epoch_and_row_alone():
    row = ROW | {"neg": [str(number) for number in range(50)]}
    first = [make_dataset(row)[epoch, 0].pairs for epoch in range(3)]
    random.seed(5)
    assert first == [make_dataset(row)[epoch, 0].pairs for epoch in range(3)]
    assert first[0] != first[1]
    assert first[0] != make_dataset(row, seed=1)[0, 0].pairs


def test_every_row_comes_once_an_epoch_in_another_order():
    sampler = DrawSampler(20, seed=0)
    first = list(sampler)
    sampler.epoch = 1
    second = list(sampler)
    assert sorted(first) == [(0, place) for place in range(20)]
    assert sorted(second) == [(1, place) for place in range(20)]
    assert [place for _, place in first] != [place for _, place in second]


def test_instructions_and_prompts_of_a_row_overrule():
    """A row's instruction only where there is one to overrule."""
    told = Texts(Instruction("Q", "{}: {}"), Instruction(None, "{}{}"))
    row = ROW | {"query_prompt": "ask", "passage_prompt": "tell", "prompt": "well?"}
    found = [make_dataset(given, told)[0, 0] for given in (row, ROW)]
    assert found[0].pairs[0] == ("ask: delete a folder", "remove a tree")
    assert found[1].pairs[0] == ("Q: delete a folder", "remove a tree")
    assert [group.prompt for group in found] == ["well?", None]


def test_long_relevant_passages_are_shuffled_in_thirds():
    text = " ".join(str(number) for number in range(100))
    rng = random.Random(0)
    shuffled = {shuffle_text(text, 1.0, rng) for _ in range(30)}
    assert len(shuffled) == 6
    assert all(sorted(other.replace(" ", "")) == sorted(text.replace(" ", "")) for other in shuffled)
    assert shuffle_text(text, 0.0, rng) == text
    assert shuffle_text("a short one", 1.0, rng) == "a short one"


def encode_words(pairs, prompt):
    """A token a word, and the prompt's number before them."""
    return [{"input_ids": [int(prompt or 0)] + [1] * len(passage.split())} for _, passage in pairs]


def test_a_batch_is_cut_into_slices_within_the_budget():
    """Of like length; the places bring their rows back into order, whatever their prompts."""
    groups = [
        Group([("q", "a " * length) for length in lengths], prompt)
        for prompt, lengths in (("7", (2, 8)), (None, (0,)), ("7", (7, 1)))
    ]

    def collate(token_budget):
        return GroupCollator(encode_words, lambda part: pad_rows(part, 0), token_budget)(groups)

    batch = collate(18)
    assert [tuple(part["input_ids"].shape) for part in batch["slices"]] == [(2, 9), (3, 3)]
    rows = [row for part in batch["slices"] for row in zip(*part.values(), strict=True)]
    in_order = [rows[place] for place in batch["places"]]
    assert [int(mask.sum()) for _, mask in in_order] == [3, 9, 1, 8, 2]
    assert [int(ids[0]) for ids, _ in in_order] == [7, 7, 0, 7, 7]
    assert len(collate(None)["slices"]) == 1


@pytest.mark.parametrize(
    ("scores", "n_relevant", "ndcg"),
    [
        pytest.param([3, 2, 1], 1, 1.0, id="relevant first"),
        pytest.param([2, 3, 1], 1, 0.6309, id="relevant second"),
        pytest.param([1, 1, 1], 1, 0.5, id="a tie counts against the model"),
        pytest.param([3, 1, 2], 2, 0.9197, id="two relevant, one of them last"),
        pytest.param([0, *range(1, 11)], 1, 0.0, id="beyond the tenth"),
    ],
)
def test_ndcg_of_an_order(scores, n_relevant, ndcg):
    assert compute_ndcg(scores, n_relevant) == pytest.approx(ndcg, abs=1e-4)
