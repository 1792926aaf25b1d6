"""Tiny rerankers with random weights, made on the spot, and the recorded scores where they are at hand."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizer,
)

from rerankers import FlagReranker
from rerankers.models.published import make_cost_wise_gemma, make_minicpm

TEXT = "how do I delete a folder and all its files remove tree path sort list by key parse json text"
CORPUS = [f"{TEXT[i:]} {TEXT[:i]}" for i in range(len(TEXT)) if TEXT[i - 1] == " "]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GOLDEN = Path(__file__).parents[3] / "shared" / "golden"


def pytest_collection_modifyitems(items):
    """peft still asks transformers by a name that transformers is about to drop."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"))


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Tiny models are slower with more."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="session")
def golden():
    """The scores recorded from the published implementation: ``(folder, contents of golden.json)``."""
    if not GOLDEN.is_dir():
        pytest.skip("the recorded scores are not beside this repository")
    return GOLDEN, json.loads((GOLDEN / "golden.json").read_text())


@pytest.fixture(scope="session")
def save_bert():
    """Writes a tiny random BERT with its tokenizer into a folder, and gives the folder."""

    def save(folder, model_class=BertForSequenceClassification, num_labels=1, **sizes):
        trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trained.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special))
        tokenizer = BertTokenizer(vocab=trained.get_vocab())
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=64, num_labels=num_labels, **(SIZES | sizes)
        )
        spread(model_class(config)).save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory, save_bert):
    return save_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def bert_base_folder(tmp_path_factory, save_bert):
    """A BERT without a head, as embedding models are published."""
    return save_bert(tmp_path_factory.mktemp("bert-base"), model_class=BertModel)


@pytest.fixture(scope="session")
def xlmr_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xlmr")
    trainer = trainers.UnigramTrainer(
        vocab_size=60, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], unk_token="<unk>"
    )
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainer)
    pieces = [tuple(piece) for piece in json.loads(trained.to_str())["model"]["vocab"]]
    tokenizer = XLMRobertaTokenizer(vocab=pieces)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), max_position_embeddings=66, type_vocab_size=1, num_labels=1, **SIZES
    )
    spread(XLMRobertaForSequenceClassification(config)).save_pretrained(folder)
    return folder


def _save_language_tokenizer(folder):
    """A BPE tokenizer with what prompts need: a beginning, a new line and ``Yes`` as tokens of their own."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    special = ["<unk>", "<s>", "</s>", "\n", "Yes"]
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=120, special_tokens=special))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory):
    """A tiny language model."""
    folder = tmp_path_factory.mktemp("llama")
    torch.manual_seed(2)
    config = LlamaConfig(vocab_size=_save_language_tokenizer(folder), num_key_value_heads=2, **SIZES)
    spread(LlamaForCausalLM(config)).save_pretrained(folder)
    return folder


LAYERED = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "start_layer": 2,
}
MINICPM = LAYERED | {
    "architectures": ["LayerWiseMiniCPMForCausalLM"],
    "model_type": "minicpm",
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "head_type": "simple",
    "head_multi": True,
    "scale_emb": 3,
    "scale_depth": 1.4,
}
COST_WISE_GEMMA = LAYERED | {
    "architectures": ["CostWiseGemmaForCausalLM"],
    "model_type": "cost_wise_gemma",
    "num_key_value_heads": 2,
    "head_dim": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "attn_logit_softcapping": 2.0,
    "final_logit_softcapping": 5.0,
    "query_pre_attn_scalar": 16,
    "sliding_window": 6,
    "layer_sep": 1,
}


def save_layered_model(folder, config):
    """Write a tiny random layered reranker for what its config.json shall say, and give the folder."""
    config = config | {"vocab_size": _save_language_tokenizer(folder)}
    (folder / "config.json").write_text(json.dumps(config))
    torch.manual_seed(3)
    make = make_minicpm if config["model_type"] == "minicpm" else make_cost_wise_gemma
    save_file(spread(make(config), 3).state_dict(), folder / "model.safetensors")
    return folder


@pytest.fixture(scope="session")
def save_layered(tmp_path_factory):
    return lambda config: save_layered_model(tmp_path_factory.mktemp(config["model_type"]), config)


@pytest.fixture(scope="session")
def minicpm_folder(save_layered):
    return save_layered(MINICPM)


@pytest.fixture(scope="session")
def gemma_folder(save_layered):
    return save_layered(COST_WISE_GEMMA)


@pytest.fixture(scope="session")
def distilbert_folder(tmp_path_factory, bert_folder):
    """An encoder that is scored with padding, unlike the others."""
    folder = tmp_path_factory.mktemp("distilbert")
    for file in bert_folder.glob("*token*"):
        shutil.copy(file, folder)
    torch.manual_seed(0)
    vocab_size = json.loads((bert_folder / "config.json").read_text())["vocab_size"]
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64}
    config = DistilBertConfig(vocab_size=vocab_size, num_labels=1, **sizes)
    spread(DistilBertForSequenceClassification(config)).save_pretrained(folder)
    return folder


@pytest.fixture(params=["bert", "xlmr", "distilbert"])
def folder(request):
    """Each kind of tiny reranker in turn."""
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture
def reranker(folder):
    return FlagReranker(folder, devices="cpu")


def spread(model, factor=8):
    """Make random weights large enough that scores differ visibly."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
    return model


@pytest.fixture(scope="module")
def embedding_folder(reranker_folder, tmp_path_factory):
    """The tiny reranker's folder, as an embedding model."""
    folder = tmp_path_factory.mktemp("embedding")
    for file in reranker_folder.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    BertModel.from_pretrained(reranker_folder).save_pretrained(folder)
    return folder
