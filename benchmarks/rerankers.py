"""Our rerankers against their peers on the same random models and pairs: ``python -m benchmarks.rerankers``.

Every contender lives in a process of its own, and they take turns: a slow moment of the machine hits all.
Ratios are what to read. Scores are compared too, since a fast wrong answer is none.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
    XLMRobertaTokenizer,
)

from benchmarks.report import Row, append_report
from demo import settings
from rerankers.commands.speed import measure_matmul
from tests.environments import prepare_environment

STATE = settings.ROOT / "var" / "benchmarks" / "rerankers"
PEERS = settings.ROOT / "var" / "benchmarks" / "peers"
SHORTEST, LONGEST = 30, 400
"""Lengths of passages in tokens."""

CPU = torch.device("cpu")
PRODUCT = (2048, 768, 3072)
"""Rows, inner and columns of the product that stands for the peak: one that the encoder's layers have."""

ENVIRONMENTS = {"flag_embedding": "requirements.txt", "infinity": "infinity.txt"}
"""What each environment of peers has, in benchmarks/peers; "ours" is the one that runs this."""

Pairs = list[tuple[str, str]]

WORDS = [f"w{number}" for number in range(8000)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\n", "Yes", "A", "B", ":"]

ENCODER = XLMRobertaConfig(
    vocab_size=len(SPECIAL) + len(WORDS), max_position_embeddings=514, type_vocab_size=1, num_labels=1
)
"""bge-reranker-base's plan with a smaller vocabulary."""


@dataclass(frozen=True)
class Match:
    """One model and who scores with it, each in which environment; the first is compared with the others."""

    title: str
    make: str
    contenders: Mapping[str, str]
    count_work: Callable[[Pairs], int] | None = None


@dataclass(frozen=True)
class Answer:
    """What a contender tells of one round.

    Args:
        peak_mb: the most memory of the process so far, from its start.
        loaded_mb: its memory when the model was loaded and nothing scored yet.
    """

    seconds: float
    scores: list[float]
    peak_mb: float
    loaded_mb: float


def count_encoder_work(pairs: Pairs) -> int:
    """The operations of linear layers and attention on the tokens of the pairs; padding is no work."""
    hidden, layers = ENCODER.hidden_size, ENCODER.num_hidden_layers
    weights = 4 * hidden**2 + 2 * hidden * ENCODER.intermediate_size
    lengths = [len(query.split()) + len(passage.split()) + 4 for query, passage in pairs]
    return sum(layers * tokens * (2 * weights + 4 * tokens * hidden) for tokens in lengths)


MATCHES = [
    Match(
        "XLM-R of base size (12 layers of 768)",
        "encoder",
        {
            "ours": "ours",
            "FlagEmbedding encoder": "flag_embedding",
            "sentence-transformers": "flag_embedding",
            "Infinity, torch": "infinity",
            "Infinity, ONNX": "infinity",
        },
        count_encoder_work,
    ),
    Match(
        "Gemma, scaled down (6 layers of 512)",
        "llm",
        {"ours": "ours", "FlagEmbedding LLM": "flag_embedding"},
    ),
]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerankers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each scores (default: %(default)s)")
    many = "how many passages of one query (default: %(default)s, a minute's work of a slow processor)"
    parser.add_argument("--passages", type=int, default=34, help=many)
    arguments = parser.parse_args()
    pythons = {name: prepare_peer(name) for name in ENVIRONMENTS} | {"ours": Path(sys.executable)}
    pairs = make_pairs(arguments.passages)
    STATE.mkdir(parents=True, exist_ok=True)
    rows = [row for match in MATCHES for row in run(match, pairs, pythons, arguments.rounds)]
    print(append_report("rerankers against their peers", rows))
    return 0


def prepare_peer(name: str) -> Path:
    """The interpreter of an environment with a peer."""
    return prepare_environment(PEERS / name, Path(__file__).parent / "peers" / ENVIRONMENTS[name])


def make_pairs(passages: int) -> Pairs:
    """One query against passages of many lengths; a word is a token."""
    chosen = random.Random(1)
    query = " ".join(chosen.choices(WORDS, k=8))
    lengths = [chosen.randint(SHORTEST, LONGEST) for _ in range(passages)]
    return [(query, " ".join(chosen.choices(WORDS, k=length))) for length in lengths]


def make_encoder(folder: Path) -> Path:
    """With random weights."""
    if not (folder / "model.safetensors").exists():
        pieces = [*SPECIAL, *(f"▁{word}" for word in WORDS)]
        tokenizer = XLMRobertaTokenizer(vocab=[(piece, -1.0) for piece in pieces])
        tokenizer.save_pretrained(folder)
        save_spread(XLMRobertaForSequenceClassification(ENCODER), folder)
    return folder


def make_llm(folder: Path) -> Path:
    """bge-reranker-v2-gemma's plan, every size a quarter of it or less, with random weights."""
    if not (folder / "model.safetensors").exists():
        words = Tokenizer(
            models.WordLevel({word: place for place, word in enumerate([*SPECIAL, *WORDS])}, "<unk>")
        )
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.add_tokens(["\n"])
        names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **names)
        tokenizer.save_pretrained(folder)
        told = folder / "tokenizer_config.json"  # as transformers 4 calls the class
        told.write_text(told.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
        config = GemmaConfig(
            vocab_size=64_000,
            hidden_size=512,
            intermediate_size=4096,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=128,
            bos_token_id=0,
            pad_token_id=1,
            eos_token_id=2,
            hidden_activation="gelu_pytorch_tanh",
        )
        save_spread(GemmaForCausalLM(config), folder)
    return folder


def save_spread(model: PreTrainedModel, folder: Path) -> None:
    """With weights that are large enough for scores to differ visibly."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=1.2 / parameter.shape[1] ** 0.5)
    model.save_pretrained(folder)


MAKERS = {"encoder": make_encoder, "llm": make_llm}


def run(match: Match, pairs: Pairs, pythons: Mapping[str, Path], rounds: int) -> Iterator[Row]:
    """Let the contenders take turns; a row each, after one for what the machine can do meanwhile."""
    folder = MAKERS[match.make](STATE / match.make)
    pairs_file = STATE / "pairs.json"
    pairs_file.write_text(json.dumps(pairs))
    answers: dict[str, list[Answer]] = {name: [] for name in match.contenders}
    peak = 0.0
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(contender(pythons[environment], name, folder, pairs_file))
            for name, environment in match.contenders.items()
        }
        for _ in range(rounds):
            for name, process in running.items():
                # as often as they score: the best of many moments
                peak = max(peak, measure_matmul(CPU, torch.float32, PRODUCT))
                answers[name].append(ask(process))
    work = match.count_work(pairs) if match.count_work else 0
    if work:
        yield f"{match.title}: the machine's fp32 matmul peak", f"{peak / 1e9:.0f} GFLOP/s"
    results = {
        name: replace(given[-1], seconds=min(a.seconds for a in given)) for name, given in answers.items()
    }
    first = next(iter(results))
    setting = f"{match.title}, {len(pairs)} passages of {SHORTEST} to {LONGEST} tokens"
    for name, result in results.items():
        figure = f"{len(pairs) / result.seconds:.2f} pairs/s"
        if work:
            figure += f", {work / result.seconds / peak:.0%} of the peak"
        figure += f"; {result.peak_mb:.0f} MB, of it {result.peak_mb - result.loaded_mb:.0f} MB by scoring"
        if name != first:
            figure += f"; {first} is {compare(results[first], result)}"
        yield f"{setting}: {name}", figure


def compare(ours: Answer, theirs: Answer) -> str:
    faster, smaller = theirs.seconds / ours.seconds, ours.peak_mb / theirs.peak_mb
    off = max(abs(a - b) for a, b in zip(ours.scores, theirs.scores, strict=True))
    return f"{faster:.1f} times as fast in {smaller:.2f} of the memory, scores at most {off:.0e} apart"


@contextmanager
def contender(python: Path, name: str, folder: Path, pairs: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has loaded its model and waits to be asked."""
    script = Path(__file__).parent / "peers" / "contender.py"
    log = (STATE / f"{name}.log").open("w")
    process = subprocess.Popen(
        [str(python), str(script), name, str(folder), str(pairs)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env=os.environ | {"PYTHONPATH": str(settings.ROOT)},
        text=True,
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{name} does not start; see {log.name}")
        yield process
    finally:
        process.kill()
        process.wait()
        log.close()


def ask(process: subprocess.Popen[str]) -> Answer:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return Answer(**json.loads(process.stdout.readline()))


if __name__ == "__main__":
    sys.exit(main())
