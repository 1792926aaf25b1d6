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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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

STATE = settings.ROOT / "var" / "benchmarks" / "rerankers"
PEERS = settings.ROOT / "var" / "benchmarks" / "peers"
ROUNDS = 3
PASSAGES, SHORTEST, LONGEST = 34, 30, 400
"""As many passages of one query as a slow processor scores in a minute, and their lengths in tokens."""

WORDS = [f"w{number}" for number in range(8000)]
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "\n", "Yes", "A", "B", ":"]


@dataclass(frozen=True)
class Match:
    """One model and who scores with it; the first is compared with the others."""

    title: str
    make: str
    contenders: Mapping[str, Path]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rerankers", description=__doc__)
    parser.parse_args()
    peers = prepare_peers()
    ours = Path(sys.executable)
    matches = [
        Match(
            "XLM-R of base size (12 layers of 768)",
            "encoder",
            {"ours": ours, "FlagEmbedding encoder": peers, "sentence-transformers": peers},
        ),
        Match("Gemma, scaled down (6 layers of 512)", "llm", {"ours": ours, "FlagEmbedding LLM": peers}),
    ]
    STATE.mkdir(parents=True, exist_ok=True)
    pairs = STATE / "pairs.json"
    pairs.write_text(json.dumps(make_pairs()))
    rows = [row for match in matches for row in run(match, pairs)]
    print(append_report("rerankers against their peers", rows))
    return 0


def prepare_peers() -> Path:
    """The interpreter of an environment with the peers, made on the first run."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        uv = [str(Path(sys.executable).parent / "uv")]
        requirements = Path(__file__).parent / "peers" / "requirements.txt"
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(PEERS)], check=True)
        install = ["pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements)]
        subprocess.run([*uv, *install], check=True)
    return python


def make_pairs() -> list[tuple[str, str]]:
    """One query against passages of many lengths; a word is a token."""
    chosen = random.Random(1)
    query = " ".join(chosen.choices(WORDS, k=8))
    lengths = [chosen.randint(SHORTEST, LONGEST) for _ in range(PASSAGES)]
    return [(query, " ".join(chosen.choices(WORDS, k=length))) for length in lengths]


def make_encoder(folder: Path) -> Path:
    """bge-reranker-base's plan with random weights and a smaller vocabulary."""
    if not (folder / "model.safetensors").exists():
        pieces = [*SPECIAL, *(f"▁{word}" for word in WORDS)]
        tokenizer = XLMRobertaTokenizer(vocab=[(piece, -1.0) for piece in pieces])
        tokenizer.save_pretrained(folder)
        config = XLMRobertaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=514, type_vocab_size=1, num_labels=1
        )
        save_spread(XLMRobertaForSequenceClassification(config), folder)
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


def run(match: Match, pairs: Path) -> Iterator[Row]:
    """Let the contenders take turns; a row each."""
    folder = MAKERS[match.make](STATE / match.make)
    seconds: dict[str, list[float]] = {name: [] for name in match.contenders}
    scores: dict[str, list[float]] = {}
    with ExitStack() as stack:
        running = {
            name: stack.enter_context(contender(python, name, folder, pairs))
            for name, python in match.contenders.items()
        }
        for _ in range(ROUNDS):
            for name, process in running.items():
                answer = ask(process)
                seconds[name].append(answer["seconds"])
                scores[name] = answer["scores"]
    first = next(iter(match.contenders))
    for name, taken in seconds.items():
        figure = f"{PASSAGES / min(taken):.2f} pairs/s"
        if name != first:
            off = max(abs(a - b) for a, b in zip(scores[first], scores[name], strict=True))
            ratio = min(taken) / min(seconds[first])
            figure += f"; {first} is {ratio:.1f} times as fast, scores at most {off:.0e} apart"
        yield f"{match.title}, {PASSAGES} passages of {SHORTEST} to {LONGEST} tokens: {name}", figure


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


def ask(process: subprocess.Popen[str]) -> dict[str, list[float]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer: dict[str, list[float]] = json.loads(process.stdout.readline())
    return answer


if __name__ == "__main__":
    sys.exit(main())
