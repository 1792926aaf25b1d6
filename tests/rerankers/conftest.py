"""Tiny rerankers with random weights, made on the spot, and the recorded scores where they are at hand."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    BertTokenizer,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizer,
)

from rerankers import FlagReranker

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
        _spread(model_class(config)).save_pretrained(folder)
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
    _spread(XLMRobertaForSequenceClassification(config)).save_pretrained(folder)
    return folder


@pytest.fixture(params=["bert", "xlmr"])
def folder(request):
    """Each kind of tiny reranker in turn."""
    return request.getfixturevalue(f"{request.param}_folder")


@pytest.fixture
def reranker(folder):
    return FlagReranker(folder, devices="cpu")


def _spread(model):
    """Make random weights large enough that scores differ visibly."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return model
