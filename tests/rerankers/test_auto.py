"""Which class runs which model."""

import json
import shutil

import pytest

from rerankers import (
    AUTO_RERANKER_MAPPING,
    RERANKER_CLASS_MAPPING,
    BadArgument,
    BadCheckpoint,
    FlagAutoReranker,
    FlagReranker,
    RerankerModelClass,
)
from rerankers.auto import find_base, read_name
from rerankers.detection import detect_family

ENCODER = RerankerModelClass.ENCODER_ONLY_BASE


def test_it_has_no_instances():
    with pytest.raises(EnvironmentError, match="from_finetuned"):
        FlagAutoReranker()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("BAAI/bge-reranker-base", "bge-reranker-base"),
        ("/models/bge-reranker-base", "bge-reranker-base"),
        ("bge-reranker-base/checkpoint-500", "bge-reranker-base"),
    ],
)
def test_name_is_the_last_part_or_the_one_before_a_checkpoint(path, name):
    assert read_name(path) == name


@pytest.mark.parametrize("suffix", ["", "/", "//", "/checkpoint-7", "/checkpoint-7/"])
def test_a_known_name_decides(bert_folder, tmp_path, suffix):
    """Wherever the folder lies, however its path ends."""
    folder = str(tmp_path / "bge-reranker-base") + suffix
    shutil.copytree(bert_folder, folder)
    (tmp_path / "bge-reranker-base").joinpath("README").touch()
    reranker = FlagAutoReranker.from_finetuned(folder, devices="cpu", max_length=32)
    assert type(reranker) is FlagReranker
    assert isinstance(reranker.compute_score(("a", "b")), float)


@pytest.mark.parametrize(
    ("name", "fields", "family"),
    [
        ("config.json", {"architectures": ["XLMRobertaForSequenceClassification"]}, "encoder-only-base"),
        ("config.json", {"architectures": ["BertModel"], "model_type": "bert"}, "encoder-only-base"),
        ("config.json", {"model_type": "xlm-roberta"}, "encoder-only-base"),
        ("config.json", {"architectures": ["GemmaForCausalLM"]}, "decoder-only-base"),
        ("config.json", {"architectures": ["LayerWiseMiniCPMForCausalLM"]}, "decoder-only-layerwise"),
        ("config.json", {"architectures": ["CostWiseGemmaForCausalLM"]}, "decoder-only-lightweight"),
        ("adapter_config.json", {"task_type": "SEQ_CLS"}, "encoder-only-base"),
        ("adapter_config.json", {"task_type": "CAUSAL_LM"}, "decoder-only-base"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_the_folder_tells_the_family(tmp_path, name, fields, family):
    (tmp_path / name).write_text(json.dumps(fields))
    assert detect_family(str(tmp_path)) is RerankerModelClass(family)


@pytest.mark.parametrize(
    "content", [None, {}, {"model_type": "t5", "architectures": ["T5Model"]}], ids=["no file", "empty", "t5"]
)
def test_a_folder_that_does_not_tell_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(BadArgument, match="model_class, one of encoder-only-base"):
        FlagAutoReranker.from_finetuned(tmp_path)


def test_an_unreadable_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(BadCheckpoint, match=r"config\.json: is not a JSON object"):
        FlagAutoReranker.from_finetuned(tmp_path)


def test_an_unknown_model_class_is_refused(bert_folder):
    with pytest.raises(ValueError, match="model_class: 'nope'"):
        FlagAutoReranker.from_finetuned(bert_folder, model_class="nope")


def test_an_unknown_argument_is_refused_by_name(bert_folder):
    with pytest.raises(TypeError, match="reranker_max_length"):
        FlagAutoReranker.from_finetuned(bert_folder, reranker_max_length=512)


@pytest.mark.parametrize("model_class", ["encoder-only-base", ENCODER], ids=["text", "enum"])
def test_model_class_decides(bert_folder, model_class):
    assert type(FlagAutoReranker.from_finetuned(bert_folder, model_class, devices="cpu")) is FlagReranker


def test_tables_are_consistent():
    """Every published name is of a family, and no code of a model runs unasked."""
    assert {config.model_class for config in AUTO_RERANKER_MAPPING.values()} == set(RerankerModelClass)
    assert not any(config.trust_remote_code for config in AUTO_RERANKER_MAPPING.values())
    assert set(RERANKER_CLASS_MAPPING) == set(RerankerModelClass)
    assert RERANKER_CLASS_MAPPING[ENCODER] is FlagReranker


def test_an_adapter_without_a_base_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"task_type": "SEQ_CLS"}))
    with pytest.raises(BadCheckpoint, match="names no base model"):
        find_base(str(tmp_path))
