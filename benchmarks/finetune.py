"""Our training against FlagEmbedding's on the same models and rows: ``python -m benchmarks.finetune``.

Every step sees all rows, each with all of its passages, and there is no dropout, so both have to have the
same losses: how far these are apart is told beside the pairs a second. The two take turns, each time in a new
process; only training itself is timed.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

from benchmarks.report import Row, append_report
from benchmarks.rerankers import ENCODER, WORDS, make_encoder, make_llm, prepare_peer
from demo import settings

STATE = settings.ROOT / "var" / "benchmarks" / "finetune"
GROUP_SIZE = 8
N_ROWS = 4
SHORTEST, LONGEST = 10, 120
"""Lengths of passages in tokens; most of what people search is shorter than what a model could read."""
OPTIONS = f"""
    --train_group_size {GROUP_SIZE} --per_device_train_batch_size {N_ROWS} --query_max_len 32
    --passage_max_len 128 --learning_rate 1e-4 --lr_scheduler_type linear --optim adamw_torch
    --logging_steps 1 --save_strategy no --report_to none --use_cpu --dataloader_drop_last True
""".split()


@dataclass(frozen=True)
class Match:
    """One model and what each of the two is told about it beside OPTIONS."""

    title: str
    model: Path
    steps: int
    theirs: str
    ours_options: Sequence[str] = ()
    their_options: Sequence[str] = ()


@dataclass(frozen=True)
class Training:
    """What one training tells; see peers/trainer.py."""

    seconds: float
    losses: list[float]
    loaded_mb: float
    peak_mb: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finetune", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each trains (default: %(default)s)")
    arguments = parser.parse_args()
    pythons = {"ours": Path(sys.executable), "theirs": prepare_peer("flag_embedding")}
    STATE.mkdir(parents=True, exist_ok=True)
    write_rows(STATE / "train.jsonl")
    rows = [row for match in make_matches() for row in run(match, pythons, arguments.rounds)]
    print(append_report("training against FlagEmbedding", rows))
    return 0


def make_matches() -> list[Match]:
    """Tiny, and as large as a processor trains in a minute."""
    llm_options = ["--use_lora", "False", "--model_type", "decoder"]
    instructions = ["--query_instruction_for_rerank", "A: ", "--passage_instruction_for_rerank", "B: "]
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    tiny = ENCODER.to_dict() | still | {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4}
    sizes = XLMRobertaConfig(**tiny | {"intermediate_size": 128})
    base = XLMRobertaConfig(**ENCODER.to_dict() | still)
    encoders = {"tiny": sizes, "base": base}
    folders = {name: _make_encoder(STATE / name, config) for name, config in encoders.items()}
    theirs = "FlagEmbedding encoder"
    return [
        Match("XLM-R, tiny (2 layers of 64)", folders["tiny"], 200, theirs),
        Match("XLM-R of base size (12 layers of 768)", folders["base"], 3, theirs),
        Match(
            "Gemma, scaled down (6 layers of 512)",
            make_llm(STATE / "llm"),
            3,
            "FlagEmbedding LLM",
            llm_options,
            [*llm_options, *instructions],
        ),
    ]


def _make_encoder(folder: Path, config: XLMRobertaConfig) -> Path:
    """As the other benchmark's, but of that size and with weights as for a model that is to be trained."""
    if not (folder / "model.safetensors").exists():
        make_encoder(folder)
        XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_rows(file: Path) -> None:
    """One relevant passage a query and as many others as a group takes; a word is a token."""
    chosen = random.Random(2)

    def write(n_words: int) -> str:
        return " ".join(chosen.choices(WORDS, k=n_words))

    with file.open("w", encoding="utf-8") as opened:
        for _ in range(N_ROWS):
            passages = [write(chosen.randint(SHORTEST, LONGEST)) for _ in range(GROUP_SIZE)]
            row = {"query": write(8), "pos": passages[:1], "neg": passages[1:]}
            opened.write(json.dumps(row) + "\n")


def run(match: Match, pythons: dict[str, Path], rounds: int) -> Iterator[Row]:
    """Let the two take turns; a row each."""
    ours: list[Training] = []
    theirs: list[Training] = []
    for _ in range(rounds):
        ours.append(train(pythons["ours"], "ours", match, match.ours_options))
        theirs.append(train(pythons["theirs"], match.theirs, match, match.their_options))
    n_pairs = match.steps * N_ROWS * GROUP_SIZE
    setting = f"{match.title}, {match.steps} steps of {N_ROWS} x {GROUP_SIZE} pairs"
    for name, found in (("ours", ours), (match.theirs, theirs)):
        best = min(training.seconds for training in found)
        peak = max(training.peak_mb for training in found)
        added = peak - min(training.loaded_mb for training in found)
        speed = n_pairs / best
        figure = f"{speed:,.0f} pairs/s;" if speed > 100 else f"{speed:.2f} pairs/s;"
        figure += f" {peak:.0f} MB, of it {added:.0f} MB by training"
        if found is theirs:
            pairs = zip(ours, theirs, strict=True)
            ratios = sorted(other.seconds / own.seconds for own, other in pairs)
            off = max(abs(a - b) for a, b in zip(ours[0].losses, theirs[0].losses, strict=True))
            figure += (
                f"; ours is {ratios[0]:.2f} to {ratios[-1]:.2f} times as fast, losses at most {off:.0e} apart"
            )
        yield f"{setting}: {name}", figure


def train(python: Path, name: str, match: Match, options: Sequence[str]) -> Training:
    """Train once, in a process of its own."""
    written = STATE / "written"
    shutil.rmtree(written, ignore_errors=True)
    script = Path(__file__).parent / "peers" / "trainer.py"
    command = [str(python), str(script), name, "--model_name_or_path", str(match.model), *OPTIONS, *options]
    command += ["--train_data", str(STATE / "train.jsonl"), "--output_dir", str(written)]
    command += ["--max_steps", str(match.steps)]
    log = STATE / f"{name}.log"
    with log.open("w") as opened:
        environment = os.environ | {"PYTHONPATH": str(settings.ROOT)}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=opened, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{name} does not train; see {log}")
    return Training(**json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
