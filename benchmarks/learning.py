"""Quality against minutes of training, by our own commands: ``python -m benchmarks.learning FOLDER``.

FOLDER is a collection in BEIR's layout with qrels/train.tsv and qrels/dev.tsv. all-MiniLM-L6-v2 becomes a
cross-encoder by what a site-search team would do with judgments alone: rows with negatives of BM25, a teacher
made of that model's cosines, an adapter. Checkpoints on the way are held against the queries of dev.
"""

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import Row, append_report
from demo import settings

STATE = settings.ROOT / "var" / "benchmarks" / "learning"
BASE = settings.base_model_path()
DEPTH = 50
QUERY_TOKENS, PASSAGE_TOKENS = 48, 128
ROWS_OPTIONS = ["--ranks", "1-100", "--negatives", "40"]
FINETUNE_OPTIONS = f"""
    --lora_rank 16 --lora_alpha 32 --learning_rate 1e-3 --lr_scheduler_type constant_with_warmup
    --warmup_ratio 0.03 --bf16 --per_device_train_batch_size 4 --train_group_size 8
    --query_max_len {QUERY_TOKENS} --passage_max_len {PASSAGE_TOKENS}
    --knowledge_distillation --distillation_weight 2 --save_strategy steps --overwrite_output_dir
""".split()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("folder", type=Path, help="collection in BEIR's layout")
    parser.add_argument("--checkpoints", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="between two of them (default: %(default)s)")
    arguments = parser.parse_args()
    state = STATE / arguments.folder.name
    state.mkdir(parents=True, exist_ok=True)
    trained = state / "trained"
    taught = teach(arguments.folder, state)
    train(taught, trained, arguments.checkpoints, arguments.steps)
    steps = [arguments.steps * number for number in range(1, arguments.checkpoints + 1)]
    report = evaluate(arguments.folder, trained, steps)
    title = f"quality against training: {arguments.folder.name}, {report['queries']} queries"
    print(append_report(title, list(tell(report, read_seconds(trained)))))
    return 0


def teach(folder: Path, state: Path) -> Path:
    """The training rows with a teacher's scores."""
    rows, taught = state / "rows.jsonl", state / "taught.jsonl"
    call(
        *("relevance", "rows", *ROWS_OPTIONS),
        judgments=folder / "qrels" / "train.tsv",
        queries=folder / "queries.jsonl",
        documents=folder / "corpus.jsonl",
        output=rows,
    )
    print(call("rerankers", "teach", rows, cosine=BASE, max_length=256, output=taught), end="")
    return taught


def train(rows: Path, trained: Path, n_checkpoints: int, steps: int) -> None:
    """Leave a checkpoint each ``steps`` steps."""
    call(
        *("rerankers", "finetune", *FINETUNE_OPTIONS),
        model_name_or_path=BASE,
        train_data=rows,
        output_dir=trained,
        save_steps=steps,
        logging_steps=steps,
        max_steps=steps * n_checkpoints,
    )


def evaluate(folder: Path, trained: Path, steps: list[int]) -> Any:
    """The report of `rerankers evaluate`, as it writes it in JSON."""
    models = [f"step {step}={BASE},{trained / f'checkpoint-{step}'}" for step in steps]
    told = call(
        *("rerankers", "evaluate", *models, "--json"),
        beir=folder,
        split="dev",
        depth=DEPTH,
        train=folder / "qrels" / "train.tsv",
        cosine=BASE,
        max_length=QUERY_TOKENS + PASSAGE_TOKENS,
    )
    return json.loads(told)


def tell(report: Any, seconds: dict[str, float]) -> Iterator[Row]:
    """A row a ranking."""
    decides = report["measures"][0]
    for system in report["systems"]:
        name, figure = system["name"], f"{decides} {system['means'][decides]:.3f}"
        if found := system.get("against_first_stage"):
            figure += f", {found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
            figure += f", won {found['wins']}, lost {found['losses']}"
        yield (f"after {seconds[name] / 60:.1f} minutes, {name}" if name in seconds else name), figure


def read_seconds(trained: Path) -> dict[str, float]:
    """Of training, until each step that was logged."""
    with (trained / "log.csv").open(encoding="utf-8") as file:
        return {f"step {line['step']}": float(line["seconds"]) for line in csv.DictReader(file)}


def call(*words: object, **options: object) -> str:
    """What a command of ours prints."""
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = [sys.executable, "-m", *map(str, [*words, *flags])]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=settings.ROOT).stdout


if __name__ == "__main__":
    sys.exit(main())
