"""Training of each family: what is learned, what is saved, how it is scored afterwards."""

import json
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file

from relevance.rows import TrainingRow
from rerankers import (
    BadArgument,
    BadCheckpoint,
    FlagAutoReranker,
    FlagLLMReranker,
    FlagReranker,
    LayerWiseFlagLLMReranker,
    LightWeightFlagLLMReranker,
)
from rerankers.auto import QWEN3_FORMAT
from rerankers.finetune.arguments import read_options
from rerankers.finetune.groups import GroupCollator
from rerankers.finetune.loss import compute_group_loss, compute_loss
from rerankers.finetune.prepare import make_model, make_student, read_texts, tell_arguments, tell_config
from tests.rerankers.training import (
    LORA,
    PAIRS,
    PROMPTED,
    ROWS,
    list_arguments,
    make_still,
    read_figures,
    same_weights,
    train,
    write_rows,
)

TOLERANCE = 1e-4

FAMILIES = {
    "encoder": ("bert", FlagReranker, []),
    "padded encoder": ("distilbert", FlagReranker, []),
    "decoder": ("llama", FlagLLMReranker, PROMPTED),
    "layerwise": ("minicpm", LayerWiseFlagLLMReranker, PROMPTED),
    "lightweight": (
        "gemma",
        LightWeightFlagLLMReranker,
        [*PROMPTED, "--compress_layers", "1", "3", "--compress_ratios", "1", "2"],
    ),
}
"""The tiny model of each, the class that scores it, and what it is trained with."""
WHOLE = ["--lora_rank", "0"]


@pytest.fixture(params=FAMILIES)
def family(request):
    """Each family in turn: its folder, its class, options."""
    name, reranker, options = FAMILIES[request.param]
    return request.getfixturevalue(f"{name}_folder"), reranker, options


@pytest.fixture
def train_file(tmp_path):
    return write_rows(tmp_path / "train.jsonl")


@pytest.fixture
def prepare(train_file, tmp_path):
    """A student and its model as a command line makes them, not trained yet."""

    def make(base, *options):
        model, data, training = read_options(
            list_arguments(base, train_file, tmp_path / "none", *options), "finetune"
        )
        student = make_student(tell_config(model), model, data)
        return student, make_model(student, model, training)

    return make


def score_in_memory(student, model, prompt=None):
    """Score with a model as training left it, by the sequences of scoring where these are the same."""
    instructed = [("A: " + q, "B: " + p) if student.task_type == "CAUSAL_LM" else (q, p) for q, p in PAIRS]
    batch = GroupCollator(student.encode, student.make_batch, None).cut(student.encode(instructed, prompt))
    with torch.inference_mode():
        found = [student.score(model.eval(), part, None) for part in batch["slices"]]
    return torch.cat(found, dim=1)[0, batch["places"]].tolist()


def score_after(student, base, written, scored_by):
    """Score with what was saved, as a user loads it."""
    arguments = {"peft_path": written} if (written / "adapter_config.json").exists() else {}
    asked = {} if scored_by is FlagReranker else {"prompt": "is it so"}
    return scored_by(base if arguments else written, devices="cpu", **arguments, **asked).compute_score(PAIRS)


@pytest.mark.parametrize("kind", [LORA, [*WHOLE, "--learning_rate", "1e-3"]], ids=["adapter", "whole"])
def test_what_is_saved_scores_as_the_trained_model(family, kind, prepare, train_file, tmp_path):
    """An adapter by peft_path, a whole model by itself; and both by the folder alone."""
    base, scored_by, options = family
    written = tmp_path / "written"
    model = train(base, train_file, written, *kind, *options)
    student, _ = prepare(base, *kind, *options)
    scores = score_after(student, base, written, scored_by)
    assert scores == pytest.approx(score_in_memory(student, model), abs=TOLERANCE)
    assert scores != pytest.approx(scored_by(base, devices="cpu").compute_score(PAIRS), abs=TOLERANCE)
    by_itself = FlagAutoReranker.from_finetuned(written, devices="cpu")
    assert type(by_itself) is scored_by
    assert by_itself.compute_score(PAIRS) == pytest.approx(scores, abs=TOLERANCE)


def test_the_loss_falls_on_rows_seen_often(family, train_file, tmp_path):
    base, _, options = family
    steps = ["--max_steps", "12", "--logging_steps", "1", "--per_device_train_batch_size", "6"]
    train(base, train_file, tmp_path / "written", *LORA, *options, *steps, "--lora_dropout", "0")
    losses = read_figures(tmp_path / "written")
    assert sum(losses[-3:]) < 0.7 * sum(losses[:3])


@pytest.mark.parametrize(
    ("name", "options", "trained", "frozen"),
    [
        pytest.param("bert", WHOLE, ["."], [], id="whole encoder"),
        pytest.param("bert", LORA, ["lora_", "classifier"], ["base_layer", "embeddings"], id="encoder"),
        pytest.param("llama", LORA, ["lora_"], ["base_layer", "lm_head", "embed_tokens"], id="decoder"),
        pytest.param("minicpm", LORA, ["lora_"], ["base_layer", "embed_tokens", "norm"], id="layer-wise"),
        pytest.param("gemma", LORA, ["lora_"], ["base_layer", "embed_tokens", "norm"], id="lightweight"),
        pytest.param("minicpm", WHOLE, ["."], [], id="whole layer-wise"),
        pytest.param(
            "minicpm", [*WHOLE, "--start_layer", "3"], ["lm_head.1", "lm_head.2"], ["lm_head.0"], id="later"
        ),
        pytest.param(
            "gemma", [*LORA, "--target_modules", "q_proj"], ["q_proj.lora_"], ["head"], id="queries"
        ),
    ],
)
def test_gradients_reach_what_is_trained_and_nothing_else(request, name, options, trained, frozen, prepare):
    """Every head of the layers that are trained, too."""
    asked = [] if name == "bert" else PROMPTED
    student, model = prepare(request.getfixturevalue(f"{name}_folder"), *options, *asked)
    batch = GroupCollator(student.encode, student.make_batch, 64).cut(
        student.encode([(q, p) for q, p in PAIRS[:2]], None)
    )
    scores = torch.cat(
        [student.score(model.train(), part, random.Random(0)) for part in batch["slices"]], dim=1
    )
    compute_loss(scores.view(len(scores), 1, 2), None).backward()
    for label, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, label
        if any(part in label for part in frozen):
            assert not parameter.requires_grad, label
        elif trained == ["."]:
            assert parameter.requires_grad, label
    for part in trained:
        assert any(part in label and p.grad is not None for label, p in model.named_parameters()), part


def test_a_base_without_a_head_gets_one_with_the_adapter(bert_base_folder, train_file, tmp_path):
    """The adapter's folder alone is enough to load both; all linear layers are the pooler's too."""
    train(bert_base_folder, train_file, tmp_path / "written", *LORA)
    assert FlagAutoReranker.from_finetuned(tmp_path / "written", devices="cpu").compute_score(PAIRS)
    names = load_file(tmp_path / "written" / "adapter_model.safetensors")
    assert "base_model.model.classifier.weight" in names
    assert "base_model.model.bert.pooler.dense.lora_A.weight" in names


def test_a_head_that_would_be_lost_is_refused(bert_base_folder, train_file, tmp_path):
    """peft saves the classifier in any case, but not a pooler that starts from scratch."""
    with pytest.raises(BadCheckpoint, match="classifier"):
        train(bert_base_folder, train_file, tmp_path / "written", *LORA, "--modules_to_save", "pooler")


def test_an_adapter_is_saved_in_the_precision_asked_for(bert_folder, train_file, tmp_path):
    train(bert_folder, train_file, tmp_path / "written", *LORA, "--adapter_dtype", "float16")
    weights = load_file(tmp_path / "written" / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}


def test_training_makes_the_relevant_passage_score_best(bert_folder, train_file, tmp_path):
    train(bert_folder, train_file, tmp_path / "written", "--max_steps", "30", "--learning_rate", "3e-3")
    reranker = FlagReranker(tmp_path / "written", devices="cpu")
    row = ROWS[0]
    best, *others = reranker.compute_score([(row["query"], p) for p in row["pos"] + row["neg"]])
    assert best > max(others) + 1


def test_the_same_seed_trains_the_same_model(bert_folder, train_file, tmp_path):
    first, second, other = (
        train(bert_folder, train_file, tmp_path / name, *LORA, "--seed", seed)
        for name, seed in [("first", 3), ("second", 3), ("other", 4)]
    )
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_accumulated_steps_train_as_one_large_step(bert_folder, train_file, tmp_path):
    """The loss is a mean over groups, however they come; dropout is off."""
    still = make_still(bert_folder, tmp_path)
    # clipping would hide a gradient of another scale
    options = ["--max_steps", "1", "--optim", "sgd", "--learning_rate", "0.1", "--max_grad_norm", "0"]
    many = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]
    large = train(still, train_file, tmp_path / "l", *options, "--per_device_train_batch_size", "4")
    assert same_weights(large, train(still, train_file, tmp_path / "s", *options, *many), 1e-5)


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama", "minicpm", "gemma"])
def test_recomputed_activations_and_small_passes_change_nothing(request, name, train_file, tmp_path):
    """Gradient checkpointing, and a forward pass a row; a packed encoder is then a padded one."""
    base = make_still(request.getfixturevalue(f"{name}_folder"), tmp_path)
    options = [*(PROMPTED if name in ("llama", "minicpm", "gemma") else []), *WHOLE, "--optim", "sgd"]
    plain = train(base, train_file, tmp_path / "plain", *options)
    for more in (["--gradient_checkpointing"], ["--token_budget", "1"], ["--pad_to_multiple_of", "8"]):
        other = train(base, train_file, tmp_path / more[0], *options, *more)
        assert same_weights(plain, other, 1e-5), more


def test_half_precision_trains(bert_folder, train_file, tmp_path):
    train(bert_folder, train_file, tmp_path / "written", *LORA, "--bf16")
    assert FlagReranker(bert_folder, devices="cpu", peft_path=tmp_path / "written").compute_score(PAIRS)


def test_an_adapter_is_trained_on(llama_folder, train_file, tmp_path):
    """With no step it is still the same one."""
    train(llama_folder, train_file, tmp_path / "first", *LORA, *PROMPTED)
    more = ["--from_peft", tmp_path / "first", "--learning_rate", "0"]
    train(llama_folder, train_file, tmp_path / "same", *PROMPTED, *more)
    first, same = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "same"))
    assert first.keys() == same.keys()
    assert all(torch.equal(first[name], same[name]) for name in first)
    train(llama_folder, train_file, tmp_path / "more", *PROMPTED, "--from_peft", tmp_path / "first")
    more = load_file(tmp_path / "more" / "adapter_model.safetensors")
    assert not all(torch.equal(first[name], more[name]) for name in first)


def test_adapters_are_merged_before_and_after(minicpm_folder, train_file, tmp_path):
    """raw_peft below the new adapter, and both in the merged model."""
    train(minicpm_folder, train_file, tmp_path / "raw", *LORA, *PROMPTED)
    still = ["--raw_peft", tmp_path / "raw", "--save_merged_lora_model", "--learning_rate", "0"]
    train(minicpm_folder, train_file, tmp_path / "written", *PROMPTED, *still)
    by_adapter = LayerWiseFlagLLMReranker(minicpm_folder, tmp_path / "raw", devices="cpu")
    merged = LayerWiseFlagLLMReranker(tmp_path / "written" / "merged_model", devices="cpu")
    assert merged.compute_score(PAIRS) == pytest.approx(by_adapter.compute_score(PAIRS), abs=TOLERANCE)
    assert "adapters merged into it" in (tmp_path / "written" / "README.md").read_text()


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


def test_the_last_layer_teaches_the_others_unless_there_is_a_teacher():
    """And is not taught by itself."""
    scores = torch.tensor([[[0.0, 1.0]], [[2.0, 0.5]]], requires_grad=True)  # (K, groups, G)
    lower, last = scores.detach()
    expected = compute_group_loss(lower, last, 1.0) + compute_group_loss(last, None, 1.0)
    loss = compute_loss(scores, None)
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    alone = last.clone().requires_grad_()
    compute_group_loss(alone, None, 1.0).backward()
    assert torch.allclose(scores.grad[1], alone.grad)
    teacher = torch.tensor([[3.0, -3.0]])
    taught = sum(compute_group_loss(layer, teacher, 1.0) for layer in scores.detach())
    assert compute_loss(scores, teacher).item() == pytest.approx(taught.item())


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        pytest.param("bert", ["--cache_path", "x"], "--cache_path: rows are read straight", id="no cache"),
        pytest.param("bert", ["--token", "hf_x"], "--token: .*HF_TOKEN", id="no token"),
        pytest.param("bert", ["--config_name", "x"], "--config_name", id="no other config"),
        pytest.param("bert", ["--sub_batch_size", "2"], "--token_budget", id="no sub-batches"),
        pytest.param("bert", ["--no_use_fast_tokenizer"], "--use_fast_tokenizer", id="no slow tokenizer"),
        pytest.param("bert", ["--train_group_size", "1"], "--train_group_size", id="no negatives"),
        pytest.param("bert", ["--use_lora", "false", "--lora_rank", "4"], "--use_lora", id="or not"),
        pytest.param(
            "bert", ["--target_modules", "query"], "--target_modules: every weight", id="no adapter"
        ),
        pytest.param("bert", ["--prompt", "p"], "--prompt: this is an encoder-only-base", id="no prompt"),
        pytest.param("llama", ["--start_layer", "1"], "--start_layer: .*layerwise", id="no layers"),
        pytest.param(
            "minicpm", ["--start_layer", "1"], "--start_layer: 1: .* layers \\[2", id="no head there"
        ),
        pytest.param("minicpm", ["--head_multi", "false"], "--head_multi", id="one head"),
        pytest.param("minicpm", ["--head_type", "complex"], "--head_type", id="other heads"),
        pytest.param("minicpm", ["--load_in_4bit"], "--load_in_4bit", id="own layers in 4 bits"),
        pytest.param(
            "bert",
            ["--model_type", "encoder", "--model_class", "decoder-only-base"],
            "--model_class",
            id="two families",
        ),
        pytest.param("bert", [*LORA, "--from_peft", "x"], "--lora_rank: .* keeps its own", id="own rank"),
        pytest.param("bert", [*LORA, "--load_in_4bit"], "--load_in_4bit: needs a GPU", id="4 bits on a CPU"),
        pytest.param("bert", [*LORA, "--target_modules", "x"], "--target_modules", id="no such layer"),
        pytest.param(
            "bert", [*LORA, "--modules_to_save", "x"], "--modules_to_save: .*no layer x", id="nor to save"
        ),
        pytest.param(
            "llama", ["--query_max_len", "3", "--passage_max_len", "2"], "--query_max_len", id="room"
        ),
        pytest.param("bert", ["--per_device_train_batch_size", "99"], "--per_device_train", id="few rows"),
        pytest.param("bert", ["--early_stopping_patience", "1"], "--eval_data", id="nothing to evaluate"),
        pytest.param("bert", ["--resume_from_checkpoint", "none"], "--resume_from_checkpoint", id="none"),
        pytest.param("llama", ["--model_type", "from_raw_model"], "expected a minicpm or gemma2", id="raw"),
    ],
)
def test_an_option_that_has_no_sense_is_refused_by_name(request, name, options, told, train_file, tmp_path):
    with pytest.raises(BadArgument, match=told):
        train(request.getfixturevalue(f"{name}_folder"), train_file, tmp_path / "written", *options)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_the_cpu_need_not_be_asked_for(bert_folder, train_file, tmp_path):
    """Else transformers refuses --bf16."""
    arguments = list_arguments(bert_folder, train_file, tmp_path / "written", "--bf16")
    _, _, training = read_options([word for word in arguments if word != "--use_cpu"], "finetune")
    assert training.device.type == "cpu"


def test_a_folder_that_is_not_empty_is_written_to_only_if_asked(bert_folder, train_file, tmp_path):
    written = tmp_path / "written"
    written.mkdir()
    (written / "precious").touch()
    with pytest.raises(BadArgument, match=r"--output_dir: .*not empty"):
        train(bert_folder, train_file, written)
    train(bert_folder, train_file, written, "--overwrite_output_dir")
    assert (written / "model.safetensors").exists()


def test_how_it_was_trained_is_how_it_is_loaded(llama_folder, train_file, tmp_path):
    """Instructions, prompt, separator and answers that are not the family's are found beside the weights."""
    written = tmp_path / "written"
    options = ["--query_instruction_for_rerank", "Q", "--query_instruction_format", "{}: {}"]
    options += ["--sep_token", " ", "--answers", "Yes", "a"]
    train(llama_folder, train_file, written, *LORA, *PROMPTED, *options)
    found = FlagAutoReranker.from_finetuned(written, devices="cpu").compute_score(PAIRS)
    told = FlagLLMReranker(
        llama_folder,
        written,
        devices="cpu",
        query_instruction_for_rerank="Q",
        query_instruction_format="{}: {}",
        separator=" ",
        answers=["Yes", "a"],
        prompt="is it so",
    )
    assert found == pytest.approx(told.compute_score(PAIRS), abs=TOLERANCE)
    json_of_it = json.loads((written / "reranker.json").read_text())
    assert "passage_instruction_for_rerank" not in json_of_it


def test_a_published_model_is_trained_as_it_is_asked(llama_folder, train_file, tmp_path):
    """Known by its name; its adapter's folder has another one, and tells."""
    base = tmp_path / "Qwen3-Reranker-0.6B"
    shutil.copytree(llama_folder, base)
    model, data, _ = read_options(list_arguments(base, train_file, tmp_path / "none"), "finetune")
    config = tell_config(model)
    student = make_student(config, model, data)
    texts = read_texts(student, config, data)
    assert texts.pair(TrainingRow(**ROWS[0]), ["p"])[0][0].endswith("<Query>: delete a folder\n")
    told = tell_arguments(student, texts, [TrainingRow(**ROWS[0])])
    assert told == {**QWEN3_FORMAT, "answers": list(QWEN3_FORMAT["answers"])}


def test_a_plain_model_gets_heads(llama_folder, train_file, tmp_path):
    """A plain MiniCPM is a Llama with scales; its new heads are its word Yes."""
    plain = tmp_path / "plain"
    shutil.copytree(llama_folder, plain)
    config = json.loads((plain / "config.json").read_text())
    (plain / "config.json").write_text(
        json.dumps(config | {"model_type": "minicpm", "scale_emb": 1, "scale_depth": 2**0.5})
    )
    raw = ["--model_type", "from_raw_model", "--start_layer", "1", "--head_multi", "true", *LORA, *PROMPTED]
    written = tmp_path / "written"
    train(plain, train_file, written, *raw, "--learning_rate", "0")
    reranker = LayerWiseFlagLLMReranker(written / "base_with_heads", devices="cpu")
    expected = FlagLLMReranker(llama_folder, devices="cpu").compute_score(PAIRS)
    assert reranker.compute_score(PAIRS) == pytest.approx(expected, abs=TOLERANCE)
    adapted = FlagAutoReranker.from_finetuned(written, devices="cpu", cutoff_layers=[1, 2])
    assert len(adapted.compute_score(PAIRS)) == 2
