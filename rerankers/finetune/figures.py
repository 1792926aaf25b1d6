"""The figures of a training as a file: one line a step that was logged, one column a figure."""

import csv
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

LOG_FILE = "log.csv"
FIRST = ("step", "epoch")


class CsvLog(TrainerCallback):
    """Writes ``log.csv``; a training that goes on after a kill writes the lines before it anew."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        lines = state.log_history[-1:]
        starts_anew = not set(lines[0]) <= set(self._columns)
        if starts_anew:
            lines = state.log_history
            self._columns = list(dict.fromkeys([*FIRST, *(name for line in lines for name in line)]))
        file = Path(args.output_dir) / LOG_FILE
        with file.open("w" if starts_anew else "a", encoding="utf-8", newline="") as opened:
            writer = csv.DictWriter(opened, self._columns, restval="")
            if starts_anew:
                writer.writeheader()
            writer.writerows(lines)
