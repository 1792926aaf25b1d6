"""Training: what is read, what is learned, what is saved."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from rerankers import BadArgument, BadCheckpoint, BadTrainingFile, FlagAutoReranker, FlagReranker
from rerankers.finetune.arguments import build_parser
from rerankers.finetune.groups import GroupDataset, TrainingRow, draw_negatives, read_rows
from rerankers.finetune.loss import compute_group_loss
from rerankers.finetune.run import finetune
from rerankers.finetune.trainer import score_batch
from rerankers.hub import HubAccess
from rerankers.loading import load_classifier
from rerankers.sequences import Limits, pad_rows

TOLERANCE = 1e-4
PAIRS = [("delete a folder", "remove a tree"), ("sort a list", "sort list by key"), ("parse json", "files")]
ROW = {"query": "delete a folder", "pos": ["remove a tree"], "neg": ["sort list", "parse json text"]}
SCORED = ROW | {"pos_scores": [3.5], "neg_scores": [-1, 0.5]}
LORA = ["--lora_rank", "4", "--learning_rate", "0.05"]


@pytest.fixture(params=["bert", "xlmr"])
def folder(request):
    """Those that training knows how to lay an adapter over."""
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture
def train_file(tmp_path):
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(SCORED) + "\n" for _ in range(8)))
    return file


@pytest.fixture
def train(train_file, tmp_path):
    """Trains two steps from a base with further options; gives the trained model and its folder."""

    def run(base, *options):
        written = tmp_path / "written"
        arguments = ["--model_name_or_path", str(base), "--train_data", str(train_file)]
        arguments += ["--output_dir", str(written), "--max_steps", "2", "--per_device_train_batch_size", "2"]
        arguments += ["--train_group_size", "3", "--use_cpu", "--disable_tqdm", "true", *options]
        parsed = build_parser("finetune").parse_args_into_dataclasses(arguments, look_for_args_file=False)
        return finetune(*parsed), written

    return run


def score_in_memory(model, reranker):
    """Score with a model as training left it."""
    rows = reranker.encoder.encode(PAIRS, Limits(384, 512, 512))
    with torch.inference_mode():
        return score_batch(model.eval(), pad_rows(rows, reranker.tokenizer.pad_token_id), 512).tolist()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param([], id="every linear layer"),
        pytest.param(["--target_modules", "query", "value"], id="named layers"),
        pytest.param(["--knowledge_distillation", "--lora_dropout", "0.1"], id="with a teacher"),
    ],
)
def test_a_saved_adapter_scores_as_the_trained_model(folder, train, options):
    untrained = FlagReranker(folder, devices="cpu").compute_score(PAIRS)
    model, written = train(folder, *LORA, *options)
    reloaded = FlagReranker(folder, devices="cpu", peft_path=written)
    scores = reloaded.compute_score(PAIRS)
    assert scores == pytest.approx(score_in_memory(model, reloaded), abs=TOLERANCE)
    assert scores != pytest.approx(untrained, abs=TOLERANCE)


def test_a_base_without_a_head_gets_one_with_the_adapter(bert_base_folder, train):
    """The adapter's folder alone is enough to load both; all linear layers are the pooler's too."""
    model, written = train(bert_base_folder, *LORA)
    reloaded = FlagAutoReranker.from_finetuned(written, devices="cpu")
    assert reloaded.compute_score(PAIRS) == pytest.approx(score_in_memory(model, reloaded), abs=TOLERANCE)
    names = load_file(written / "adapter_model.safetensors")
    assert "base_model.model.classifier.weight" in names
    assert "base_model.model.bert.pooler.dense.lora_A.weight" in names


def test_a_head_that_would_be_lost_is_refused(bert_base_folder, train):
    """peft saves the classifier in any case, but not a pooler that starts from scratch."""
    with pytest.raises(BadCheckpoint, match="classifier"):
        train(bert_base_folder, *LORA, "--modules_to_save", "pooler")


def test_an_adapter_is_saved_in_the_precision_asked_for(bert_folder, train):
    """And still scores nearly as the trained model."""
    model, written = train(bert_folder, *LORA, "--adapter_dtype", "float16")
    assert {t.dtype for t in load_file(written / "adapter_model.safetensors").values()} == {torch.float16}
    reloaded = FlagReranker(bert_folder, devices="cpu", peft_path=written)
    assert reloaded.compute_score(PAIRS) == pytest.approx(score_in_memory(model, reloaded), abs=0.05)


def test_a_model_trained_whole_is_a_reranker(bert_folder, train):
    model, written = train(bert_folder)
    reloaded = FlagAutoReranker.from_finetuned(written, devices="cpu")
    assert reloaded.compute_score(PAIRS) == pytest.approx(score_in_memory(model, reloaded), abs=TOLERANCE)


def test_training_makes_the_relevant_passage_score_best(bert_folder, train):
    _, written = train(bert_folder, "--max_steps", "30", "--learning_rate", "3e-3")
    reranker = FlagReranker(written, devices="cpu")
    query, passages = ROW["query"], ROW["pos"] + ROW["neg"]
    best, *others = reranker.compute_score([(query, passage) for passage in passages])
    assert best > max(others) + 1


def test_the_same_seed_trains_the_same_model(bert_folder, train, tmp_path):
    first, written = train(bert_folder, *LORA, "--seed", "3")
    written.rename(tmp_path / "first")
    second, _ = train(bert_folder, *LORA, "--seed", "3")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_accumulated_steps_train_as_one_large_step(bert_folder, train, tmp_path):
    """The loss is a mean over groups, however they come; dropout is off."""
    config = json.loads((bert_folder / "config.json").read_text())
    options = ["--max_steps", "1", "--train_group_size", "2", "--optim", "sgd", "--learning_rate", "0.1"]
    options += ["--max_grad_norm", "0"]  # clipping would hide a gradient of another scale
    still = shutil.copytree(bert_folder, tmp_path / "still")
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (still / "config.json").write_text(json.dumps(config))
    one_negative = json.dumps(ROW | {"neg": ["sort list"]}) + "\n"
    (tmp_path / "train.jsonl").write_text(one_negative * 4)
    large, written = train(still, *options, "--per_device_train_batch_size", "4")
    written.rename(tmp_path / "large")
    small, _ = train(
        still, *options, "--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"
    )
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_slices_of_a_batch_score_as_the_whole(reranker, folder):
    """Small forward passes over rows of like length, in the batch's order."""
    model = load_classifier(str(folder), torch.float32, HubAccess())[0].eval()
    rows = reranker.encoder.encode([("a", "list " * n) for n in (3, 20, 1, 9, 20)], Limits(9, 30, 50))
    batch = pad_rows(rows, reranker.tokenizer.pad_token_id)
    whole = model(**batch).logits.view(-1).tolist()
    for token_budget in (1, 50, 70):
        assert score_batch(model, batch, token_budget).tolist() == pytest.approx(whole, abs=TOLERANCE)


def test_loss_is_least_when_the_relevant_passage_wins():
    """Without a teacher, the mean of the groups' cross entropies."""
    good, bad = torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[0.0, 9.0, 0.0]])
    assert compute_group_loss(good, None, 1.0) < 0.01 < 9 < compute_group_loss(bad, None, 1.0)
    both = torch.cat([good, bad])
    assert compute_group_loss(both, None, 1.0).item() == pytest.approx(
        (compute_group_loss(good, None, 1.0) + compute_group_loss(bad, None, 1.0)).item() / 2
    )


def test_the_teacher_counts_by_its_weight():
    scores, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, -1.0]])
    alone, once, thrice = (
        compute_group_loss(scores, t, w) for t, w in [(None, 0), (teacher, 1), (teacher, 3)]
    )
    assert (thrice - alone).item() == pytest.approx(3 * (once - alone).item())


@pytest.mark.parametrize(
    ("n_available", "n_wanted"), [(5, 3), (3, 3), (2, 7), (1, 4)], ids=["more", "as many", "fewer", "one"]
)
def test_negatives_repeat_only_when_too_few(n_available, n_wanted):
    drawn = draw_negatives(n_available, n_wanted)
    assert len(drawn) == n_wanted
    assert set(drawn) <= set(range(n_available))
    assert max(drawn.count(i) for i in drawn) <= -(-n_wanted // n_available)


def test_a_group_starts_with_its_relevant_passage(reranker):
    """The teacher's scores stay with their passages."""
    limits = Limits(20, 20, 40)
    row = TrainingRow.parse(json.dumps(SCORED), needs_scores=True)
    group = GroupDataset([row], reranker.encoder, limits, group_size=3, distil=True)[0]
    passages = [row.pos[0], *row.neg]
    ids = reranker.encoder.encode([(row.query, passage) for passage in passages], limits)
    scored = dict(zip(passages, [3.5, -1.0, 0.5], strict=True))
    found = [passages[ids.index(columns)] for columns in group.rows]
    assert found[0] == row.pos[0]
    assert group.teacher_scores == [scored[passage] for passage in found]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("{", "Expecting", id="no json"),
        pytest.param("[]", "expected an object", id="no object"),
        pytest.param({"query": 3}, "query: expected a text, found int 3", id="query"),
        pytest.param({"query": None}, "query: .*nothing", id="no query"),
        pytest.param({"pos": []}, "pos: expected a list of at least one text", id="no pos"),
        pytest.param({"pos": "text"}, "pos: .*found str 'text'", id="pos is a text"),
        pytest.param({"neg": ["a", None]}, "neg: .*unfit list", id="neg with null"),
        pytest.param({"neg": None}, "neg: ", id="no neg"),
        pytest.param({"pos_scores": None}, "pos_scores: missing", id="no scores"),
        pytest.param({"neg_scores": [1]}, "neg_scores: 1 scores for 2 passages", id="too few scores"),
        pytest.param({"neg_scores": [1, "2"]}, "neg_scores: expected a list of finite", id="score is a text"),
        pytest.param({"neg_scores": [1, float("nan")]}, "neg_scores: expected a list", id="score is nan"),
        pytest.param({"neg_scores": [1, True]}, "neg_scores: expected a list", id="score is a boolean"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, told):
    file = tmp_path / "train.jsonl"
    text = line if isinstance(line, str) else json.dumps(SCORED | line)
    file.write_text(f"{json.dumps(SCORED)}\n\n{text}\n")
    with pytest.raises(BadTrainingFile, match=rf"train\.jsonl:3: {told}"):
        read_rows([str(file)], needs_scores=True)


def test_scores_are_needed_only_to_distil(tmp_path):
    (tmp_path / "train.jsonl").write_text(json.dumps(ROW))
    assert read_rows([str(tmp_path)], needs_scores=False) == [TrainingRow(**ROW)]


@pytest.mark.parametrize("content", [None, ""], ids=["no file", "empty file"])
def test_no_rows_are_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "train.jsonl").write_text(content)
    with pytest.raises(BadTrainingFile, match=r"train\.jsonl"):
        read_rows([str(tmp_path / "train.jsonl")], needs_scores=False)


def test_a_folder_that_is_not_empty_is_not_written_to(bert_folder, train, tmp_path):
    (tmp_path / "written").mkdir()
    (tmp_path / "written" / "precious").touch()
    with pytest.raises(BadArgument, match=r"--output_dir: .*not empty"):
        train(bert_folder)


def test_a_group_without_negatives_is_refused(bert_folder, train):
    with pytest.raises(BadArgument, match="--train_group_size"):
        train(bert_folder, "--train_group_size", "1")
