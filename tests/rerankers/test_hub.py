"""Models by their names on the hub, as a cache of fetched files holds them; nothing asks a network."""

import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, TaskType, get_peft_model

from rerankers import (
    BadArgument,
    BadCheckpoint,
    FlagAutoReranker,
    FlagLLMReranker,
    FlagReranker,
    LayerWiseFlagLLMReranker,
)
from rerankers.hub import HubAccess
from rerankers.loading import load_classifier

PAIR = ("sort a list", "sort list by key")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """What HF_HUB_OFFLINE=1 does for a process."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def publish(tmp_path):
    """Puts a folder into the cache as one commit of a model on the hub; gives the cache."""
    cache = tmp_path / "cache"

    def put(folder, name, branch="main"):
        model = cache / f"models--{name.replace('/', '--')}"
        commit = f"{len(list(model.glob('refs/*'))) + 1:040x}"
        shutil.copytree(folder, model / "snapshots" / commit)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / branch).write_text(commit)
        return str(cache)

    return put


@pytest.fixture
def adapter(bert_folder, tmp_path):
    """Folder of an adapter whose base is on the hub."""
    model, _ = load_classifier(str(bert_folder), torch.float32, HubAccess())
    config = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query"], init_lora_weights=False)
    get_peft_model(model, config).save_pretrained(tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "owner/base"}))
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bert_folder", FlagReranker),
        ("llama_folder", FlagLLMReranker),
        ("minicpm_folder", LayerWiseFlagLLMReranker),
    ],
)
def test_a_name_on_the_hub_tells_its_family(request, publish, name, expected):
    """Although no table knows the name."""
    folder = request.getfixturevalue(name)
    cache_dir = publish(folder, "owner/mine")
    reranker = FlagAutoReranker.from_finetuned("owner/mine", cache_dir=cache_dir, devices="cpu")
    assert type(reranker) is expected
    assert reranker.compute_score(PAIR) == expected(folder, devices="cpu").compute_score(PAIR)


def test_a_revision_chooses_the_commit(publish, tmp_path, save_bert, bert_folder):
    """Whether it is a branch or the commit itself."""
    other = save_bert(tmp_path / "other", intermediate_size=40)
    publish(bert_folder, "owner/mine")
    cache_dir = publish(other, "owner/mine", branch="tuned")
    expected = {None: bert_folder, "tuned": other, f"{2:040x}": other}
    for revision, folder in expected.items():
        reranker = FlagAutoReranker.from_finetuned(
            "owner/mine", cache_dir=cache_dir, revision=revision, devices="cpu"
        )
        assert reranker.compute_score(PAIR) == FlagReranker(folder, devices="cpu").compute_score(PAIR)


@pytest.mark.parametrize("name", ["bert_folder", "llama_folder", "minicpm_folder"])
def test_every_family_takes_a_revision(request, publish, name):
    """Of the tokenizer too: the main branch is not there at all."""
    cache_dir = publish(request.getfixturevalue(name), "owner/mine", branch="v1")
    reranker = FlagAutoReranker.from_finetuned(
        "owner/mine", cache_dir=cache_dir, revision="v1", devices="cpu"
    )
    assert isinstance(reranker.compute_score(PAIR), float)
    with pytest.raises(BadArgument, match=r"the hub could not be asked for its config\.json"):
        FlagAutoReranker.from_finetuned("owner/mine", cache_dir=cache_dir)


def test_an_adapter_on_the_hub_brings_its_base(publish, adapter, bert_folder):
    """The revision is that of the model named, here the adapter; the base has none of that name."""
    publish(bert_folder, "owner/base")
    cache_dir = publish(adapter, "owner/adapter", branch="tuned")
    expected = FlagReranker(bert_folder, peft_path=adapter, devices="cpu").compute_score(PAIR)
    by_name = FlagAutoReranker.from_finetuned(
        "owner/adapter", cache_dir=cache_dir, revision="tuned", devices="cpu"
    )
    assert by_name.compute_score(PAIR) == expected


def test_an_adapter_laid_over_by_its_name_on_the_hub(publish, adapter, bert_folder):
    cache_dir = publish(adapter, "owner/adapter")
    expected = FlagReranker(bert_folder, peft_path=adapter, devices="cpu").compute_score(PAIR)
    options = {"peft_path": "owner/adapter", "cache_dir": cache_dir, "devices": "cpu"}
    assert FlagReranker(bert_folder, **options).compute_score(PAIR) == expected


@pytest.mark.parametrize("name", ["owner/nowhere", "nowhere", "no such/name"])
def test_a_hub_that_does_not_answer_is_told(tmp_path, name):
    with pytest.raises(BadArgument, match=f"'{name}': is no folder, and the hub could not be asked"):
        FlagAutoReranker.from_finetuned(name, cache_dir=str(tmp_path))


def test_a_model_that_is_not_fetched_whole_is_refused(publish, minicpm_folder, tmp_path):
    part = shutil.copytree(minicpm_folder, tmp_path / "part")
    (part / "model.safetensors").unlink()
    cache_dir = publish(part, "owner/mine")
    with pytest.raises(BadCheckpoint, match="owner/mine: can't be loaded"):
        FlagAutoReranker.from_finetuned("owner/mine", cache_dir=cache_dir, devices="cpu")
