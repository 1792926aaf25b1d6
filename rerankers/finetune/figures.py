"""The figures of a training as a file: one line a step that was logged, one column a figure."""

import csv
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

LOG_FILE = "log.csv"
FIRST = ("step", "epoch")


class CsvLog(TrainerCallback):
    """Writes ``log.csv`` anew at every log: a training that goes on after a kill has one whole file."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            write_log(Path(args.output_dir) / LOG_FILE, state.log_history)


def write_log(file: Path, history: list[dict[str, float]]) -> None:
    """Write what a trainer logged; a figure that a line does not have is left empty."""
    columns = [*FIRST, *dict.fromkeys(name for line in history for name in line if name not in FIRST)]
    fresh = file.with_suffix(".new")
    with fresh.open("w", encoding="utf-8", newline="") as opened:
        lines = csv.DictWriter(opened, columns, restval="")
        lines.writeheader()
        lines.writerows(history)
    fresh.replace(file)
