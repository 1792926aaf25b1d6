"""The figures of a training as a file: one line a step that was logged, one column a figure."""

import csv
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

LOG_FILE = "log.csv"
SECONDS = "seconds"
FIRST = ("step", "epoch", SECONDS)


class CsvLog(TrainerCallback):
    """Writes ``log.csv``, with the seconds it took to get there: what a figure costs.

    A training that goes on after a kill writes the lines before it anew, and counts on from their seconds.
    """

    def __init__(self) -> None:
        self._columns: list[str] = []
        self._began_s = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        spent_s = next((line[SECONDS] for line in reversed(state.log_history) if SECONDS in line), 0.0)
        self._began_s = time.monotonic() - spent_s

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_world_process_zero:
            return
        lines = state.log_history[-1:]
        lines[0][SECONDS] = round(time.monotonic() - self._began_s, 1)
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
