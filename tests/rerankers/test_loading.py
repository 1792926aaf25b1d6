"""What is loaded as a reranker, and what is refused with a reason."""

import json
import shutil
import socket

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from rerankers import BadCheckpoint, FlagAutoReranker, FlagReranker
from rerankers.hub import HubAccess
from rerankers.loading import count_positions, load_classifier


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(BadCheckpoint, match="no such folder"):
        FlagReranker(tmp_path / "nowhere", devices="cpu")


def test_a_folder_without_weights_is_refused(bert_folder, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(BadCheckpoint, match=r"can't be loaded .*model\.safetensors"):
        FlagReranker(folder, devices="cpu")


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama"])
def test_another_attention_gives_the_same_scores(request, name):
    folder = request.getfixturevalue(f"{name}_folder")
    usual = FlagAutoReranker.from_finetuned(folder, devices="cpu")
    other = FlagAutoReranker.from_finetuned(folder, devices="cpu", attn_implementation="eager")
    pairs = [("sort list", "tree path " * n) for n in (1, 4, 9)]
    assert other.model.config._attn_implementation == "eager"
    assert other.compute_score(pairs) == pytest.approx(usual.compute_score(pairs), abs=1e-4)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_an_attention_that_is_not_there_is_refused(request, name):
    folder = request.getfixturevalue(f"{name}_folder")
    with pytest.raises(BadCheckpoint, match=r"can't be loaded .*warp"):
        FlagAutoReranker.from_finetuned(folder, devices="cpu", attn_implementation="warp")


@pytest.mark.parametrize("name", ["bert", "llama", "minicpm", "gemma"])
@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda content: b"\x00" * 40, id="no safetensors"),
        pytest.param(lambda content: content[: len(content) // 2], id="cut off"),
        pytest.param(lambda content: b"", id="empty"),
    ],
)
def test_broken_weights_are_refused(request, tmp_path, name, damage):
    """As a copy or download that was broken off leaves them."""
    folder = shutil.copytree(request.getfixturevalue(f"{name}_folder"), tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(BadCheckpoint, match=f"{folder}: can't be loaded"):
        FlagAutoReranker.from_finetuned(folder, devices="cpu")


def test_a_model_without_a_head_is_refused(bert_base_folder):
    with pytest.raises(BadCheckpoint, match=r"classifier.* is not in the checkpoint; .*never trained"):
        FlagReranker(bert_base_folder, devices="cpu")


def test_two_labels_are_refused(tmp_path, save_bert):
    folder = save_bert(tmp_path, num_labels=2)
    with pytest.raises(BadCheckpoint, match=r"has shape \(2.* a reranker has one label"):
        FlagReranker(folder, devices="cpu")


def test_precision_of_the_checkpoint_does_not_matter(bert_folder, tmp_path):
    """Half precision on disk runs in full precision on a CPU, whatever ``use_fp16`` says."""
    folder = shutil.copytree(bert_folder, tmp_path / "model")
    AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)
    assert FlagReranker(folder, devices="cpu", use_fp16=True).model.inner.dtype is torch.float32
    assert FlagReranker(folder, devices="cpu", use_bf16=True).model.inner.dtype is torch.bfloat16


@pytest.fixture
def adapter(bert_folder, tmp_path):
    """Folder of an adapter for the tiny BERT, with random weights and a head of its own."""
    model, _ = load_classifier(str(bert_folder), torch.float32, HubAccess())
    config = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_an_adapter_changes_the_scores(bert_folder, adapter):
    plain = FlagReranker(bert_folder, devices="cpu").compute_score(("sort a list", "sort"))
    adapted = FlagReranker(bert_folder, devices="cpu", peft_path=adapter).compute_score(
        ("sort a list", "sort")
    )
    assert abs(plain - adapted) > 1e-3


def test_an_adapter_brings_the_head_that_the_base_lacks(bert_base_folder, adapter):
    reranker = FlagReranker(bert_base_folder, devices="cpu", peft_path=adapter)
    head = load_file(adapter / "adapter_model.safetensors")["base_model.model.classifier.weight"]
    assert torch.equal(reranker.model.inner.classifier.weight, head)


def test_an_adapter_for_a_model_of_the_hub_asks_the_hub_nothing(bert_folder, adapter, monkeypatch):
    """Published adapters name their base by its name on the hub; ours is the folder that we were given."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "owner/name"
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    resolved = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **_: resolved.append(args) or [])
    FlagReranker(bert_folder, devices="cpu", peft_path=adapter)
    assert not resolved


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"hidden_size": 16}, id="other sizes"),
        pytest.param({"num_hidden_layers": 1}, id="fewer layers"),
        pytest.param({"num_hidden_layers": 3}, id="more layers"),
    ],
)
def test_an_adapter_for_another_base_is_refused(tmp_path, adapter, save_bert, sizes):
    other = save_bert(tmp_path / "other", **sizes)
    with pytest.raises(BadCheckpoint, match="does not fit this base model"):
        FlagReranker(other, devices="cpu", peft_path=adapter)


@pytest.mark.parametrize(
    ("file", "told"),
    [("adapter_config.json", "holds no adapter"), ("adapter_model.safetensors", "can't be read")],
)
def test_an_adapter_with_a_file_missing_is_refused(bert_folder, adapter, file, told):
    (adapter / file).unlink()
    with pytest.raises(BadCheckpoint, match=told):
        FlagReranker(bert_folder, devices="cpu", peft_path=adapter)


@pytest.mark.parametrize(("name", "n_positions"), [("bert_folder", 64), ("xlmr_folder", 64)])
def test_positions_that_a_model_reserves_are_not_counted(request, name, n_positions):
    """The tiny XLM-R has a table of 66, of which two are for padding."""
    model, _ = load_classifier(str(request.getfixturevalue(name)), torch.float32, HubAccess())
    assert count_positions(model) == n_positions
