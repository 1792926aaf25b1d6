"""Any cross-encoder with one label, as sentence-transformers and others publish them, is encoder-only."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from rerankers import FlagAutoReranker, FlagReranker
from tests.rerankers.conftest import CORPUS, SIZES, spread

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
IDS = {token: place for place, token in enumerate(SPECIAL.values())}
CONFIGS = {
    "bert": (BertConfig, {}),
    "electra": (ElectraConfig, {"embedding_size": 32}),
    "electra, narrow embeddings": (ElectraConfig, {"embedding_size": 16}),
    "camembert": (CamembertConfig, {}),
    "deberta-v2": (DebertaV2Config, {"relative_attention": True, "position_buckets": 8}),
    "modernbert": (ModernBertConfig, {"cls_token_id": 2, "sep_token_id": 3}),
    "roberta": (RobertaConfig, {}),
    "mpnet": (MPNetConfig, {}),
    "albert": (AlbertConfig, {"embedding_size": 16}),
    "distilbert": (DistilBertConfig, {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
}
PAIRS = [
    ("sort list", "tree path"),
    ("delete", "a folder and all its files remove tree"),
    ("json", ""),
    ("text", "[PAD] key [PAD] tree"),
]


@pytest.fixture(scope="module")
def tokenizer():
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=list(IDS)))
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, IDS[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(tokenizer_object=trained, **SPECIAL)


@pytest.mark.parametrize(("config", "more"), CONFIGS.values(), ids=CONFIGS)
def test_scores_are_those_of_transformers(config, more, tokenizer, tmp_path):
    """The class is told by the folder; alone or together, a pair scores as its own forward pass says."""
    torch.manual_seed(4)
    sizes = more if "dim" in more else SIZES | more
    model = AutoModelForSequenceClassification.from_config(
        config(vocab_size=len(tokenizer), num_labels=1, pad_token_id=0, **sizes)
    )
    spread(model).eval().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with torch.inference_mode():
        expected = [
            model(**tokenizer([query], [passage], return_tensors="pt")).logits.item()
            for query, passage in PAIRS
        ]
    reranker = FlagAutoReranker.from_finetuned(tmp_path, devices="cpu")
    assert type(reranker) is FlagReranker
    assert len({round(score, 4) for score in expected}) == len(PAIRS)
    assert reranker.compute_score(PAIRS) == pytest.approx(expected, abs=1e-4)
