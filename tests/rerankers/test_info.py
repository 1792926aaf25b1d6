"""What is told of a model before it is loaded, held against the model that is loaded then."""

import dataclasses
import json
import shutil
import sys

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file

from rerankers import BadArgument, BadCheckpoint, FlagAutoReranker, describe_model
from rerankers.__main__ import main
from rerankers.commands.info import write_lines
from rerankers.hub import HubAccess
from rerankers.loading import load_classifier
from rerankers.weights import read_headers

FOLDERS = ["bert_folder", "xlmr_folder", "llama_folder", "minicpm_folder", "gemma_folder"]


@pytest.fixture
def adapter(bert_folder, tmp_path):
    """Folder of an adapter for the tiny BERT, which it names as its base."""
    model, _ = load_classifier(str(bert_folder), torch.float32, HubAccess())
    config = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query", "value"])
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("name", FOLDERS)
def test_what_is_told_is_what_is_loaded(request, name):
    folder = request.getfixturevalue(name)
    info, loaded = describe_model(folder), FlagAutoReranker.from_finetuned(folder)
    assert info.class_name == type(loaded).__name__
    assert info.tokenizer == type(loaded.tokenizer).__name__
    assert info.device == str(loaded.device)
    assert info.parameters == sum(parameter.numel() for parameter in loaded.model.parameters())
    assert info.weight_bytes == sum(parameter.nbytes for parameter in loaded.model.parameters())
    assert info.hidden_size == 32
    assert info.vocab_size == len(loaded.tokenizer)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_folder", ("encoder-only-base", "BertForSequenceClassification", 2, None, 64)),
        ("xlmr_folder", ("encoder-only-base", "XLMRobertaForSequenceClassification", 2, None, 64)),
        ("llama_folder", ("decoder-only-base", "LlamaForCausalLM", 2, None, 2048)),
        ("minicpm_folder", ("decoder-only-layerwise", "LayerWiseMiniCPMForCausalLM", 4, (2, 3, 4), None)),
        ("gemma_folder", ("decoder-only-lightweight", "CostWiseGemmaForCausalLM", 4, (2, 3, 4), None)),
    ],
    ids=FOLDERS,
)
def test_family_and_sizes_are_told(request, name, expected):
    family, architecture, layers, scored, longest = expected
    info = describe_model(request.getfixturevalue(name), devices="cpu")
    assert (info.family, info.layers, info.scored_layers, info.max_positions) == (
        family,
        layers,
        scored,
        longest,
    )
    assert info.told_by == f"architectures {architecture} in config.json"
    assert info.file_dtypes == ("float32",)


@pytest.mark.parametrize(
    ("options", "dtype", "bytes_each"),
    [
        ({}, "float32", 4),
        ({"use_bf16": True}, "bfloat16", 2),
        ({"use_fp16": True}, "float32", 4),
        ({"use_fp16": True, "devices": "cuda:0"}, "float16", 2),
    ],
    ids=["full", "bf16", "fp16 on a CPU", "fp16 on a GPU"],
)
def test_precision_is_told_for_the_device(bert_folder, options, dtype, bytes_each):
    """Even for a device that this machine lacks."""
    info = describe_model(bert_folder, **({"devices": "cpu"} | options))
    assert (info.dtype, info.weight_bytes) == (dtype, info.parameters * bytes_each)


def test_what_told_the_family_is_named(bert_folder, adapter, tmp_path):
    published = shutil.copytree(bert_folder, tmp_path / "bge-reranker-base")
    assert describe_model(published).told_by == "published name bge-reranker-base"
    assert describe_model(bert_folder, "encoder-only-base").told_by == "model_class"
    assert describe_model(adapter).told_by == "task_type SEQ_CLS in adapter_config.json"


@pytest.mark.parametrize("names_base", [True, False], ids=["by itself", "over its base"])
def test_an_adapter_is_told_with_its_base(bert_folder, adapter, names_base):
    info = describe_model(adapter) if names_base else describe_model(bert_folder, peft_path=adapter)
    assert info.model == str(bert_folder)
    assert dataclasses.astuple(info.adapter) == (str(adapter), "LORA", 2, ("query", "value"), "SEQ_CLS")
    assert info.parameters == describe_model(bert_folder).parameters  # it is merged


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def cut_weights(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])


def name_another_type(folder):
    (folder / "config.json").write_text('{"model_type": "t5", "architectures": ["T5Model"]}')


@pytest.mark.parametrize(
    ("name", "spoil", "error"),
    [
        pytest.param("bert_folder", shutil.rmtree, BadArgument, id="no folder"),
        pytest.param("bert_folder", remove_weights, BadCheckpoint, id="no weights"),
        pytest.param("bert_folder", cut_weights, BadCheckpoint, id="half the weights"),
        pytest.param("gemma_folder", remove_weights, BadCheckpoint, id="layered: no weights"),
        pytest.param("gemma_folder", cut_weights, BadCheckpoint, id="layered: half the weights"),
        pytest.param("bert_folder", name_another_type, BadArgument, id="no family"),
        pytest.param("bert_base_folder", lambda folder: None, BadCheckpoint, id="no head"),
    ],
)
def test_what_loading_refuses_is_refused_alike(request, tmp_path, name, spoil, error):
    folder = shutil.copytree(request.getfixturevalue(name), tmp_path / "model")
    spoil(folder)
    with pytest.raises(error) as loading:
        FlagAutoReranker.from_finetuned(folder)
    with pytest.raises(error) as describing:
        describe_model(folder)
    assert str(describing.value)[:60] == str(loading.value)[:60]


def test_two_labels_and_an_adapter_without_a_base_are_refused_alike(tmp_path, save_bert, adapter):
    two = save_bert(tmp_path / "two", num_labels=2)
    with pytest.raises(BadCheckpoint, match="a reranker has one label"):
        describe_model(two)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(BadCheckpoint, match="names no base model"):
        describe_model(adapter)


@pytest.mark.filterwarnings("ignore:Found missing adapter keys")
def test_an_adapter_for_another_base_is_refused_alike(tmp_path, save_bert, adapter):
    with pytest.raises(BadCheckpoint, match="does not fit this base model"):
        describe_model(save_bert(tmp_path / "other", hidden_size=16), peft_path=adapter)


def test_no_weights_are_looked_at_on_the_hub(bert_folder, tmp_path, monkeypatch):
    """Its cache holds none, and that is enough."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--owner--mine" / "snapshots" / ("0" * 40)
    shutil.copytree(bert_folder, snapshot, ignore=shutil.ignore_patterns("*.safetensors"))
    (tmp_path / "models--owner--mine" / "refs").mkdir()
    (tmp_path / "models--owner--mine" / "refs" / "v1").write_text("0" * 40)
    info = describe_model("owner/mine", cache_dir=str(tmp_path), revision="v1")
    local = describe_model(bert_folder)
    assert info == dataclasses.replace(local, model="owner/mine", file_bytes=None, file_dtypes=())


@pytest.mark.parametrize("kind", ["safetensors", "shards", "bin"])
def test_headers_tell_names_shapes_and_precisions(bert_folder, tmp_path, kind):
    model, _ = load_classifier(str(bert_folder), torch.float32, HubAccess())
    if kind == "bin":
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    else:
        model.save_pretrained(tmp_path, max_shard_size="10KB" if kind == "shards" else "1GB")
    assert (kind == "shards") == (tmp_path / "model.safetensors.index.json").is_file()
    expected = load_file(bert_folder / "model.safetensors")
    found = read_headers(tmp_path)
    assert {name: (t.shape, t.dtype) for name, t in found.items()} == {
        name: (t.shape, t.dtype) for name, t in expected.items()
    }
    assert {tensor.device.type for tensor in found.values()} == {"meta"}


def test_the_command_prints_lines_or_an_object(monkeypatch, capsys, gemma_folder):
    expected = describe_model(gemma_folder, devices="cpu")
    arguments = ["rerankers", "info", str(gemma_folder), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    assert capsys.readouterr().out == write_lines(expected) + "\n"
    assert "layers            4, scored: 2, 3, 4\n" in write_lines(expected)
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    main()
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(dataclasses.asdict(expected)))
