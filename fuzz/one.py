"""``python -m fuzz.one TARGET SECONDS``: fuzzes one target until it fails or the time is up."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings

PASSES = settings(
    max_examples=500,
    deadline=None,
    database=None,
    derandomize=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
    print_blob=False,
)


SEEDS, MAX_BYTES = 100, 8_000  # inputs to begin with: from short ones few searches can be made
OPTIONS = {"len_control": 0, "timeout": 20, "print_final_stats": 1, "verbosity": 0, "rss_limit_mb": 4_000}


def main(name: str, seconds: float) -> None:
    try:
        atheris: Any = importlib.import_module("atheris")
    except ImportError:
        atheris = None
    with atheris.instrument_imports(include=["search_plugin"]) if atheris else nullcontext():
        from fuzz.targets import TARGETS
    target: Any = TARGETS[name]
    if atheris is None:
        run_at_random(target, seconds)
    else:
        with tempfile.TemporaryDirectory() as corpus:
            for number in range(SEEDS):
                (Path(corpus) / str(number)).write_bytes(os.urandom(MAX_BYTES))
            options = {**OPTIONS, "max_total_time": int(seconds), "max_len": MAX_BYTES}
            arguments = [f"-{option}={value}" for option, value in options.items()]
            atheris.Setup([sys.argv[0], *arguments, corpus], target.hypothesis.fuzz_one_input)
            atheris.Fuzz()


def run_at_random(target: Any, seconds: float) -> None:
    """Pass after pass, each with inputs of its own."""
    deadline = time.monotonic() + seconds
    passes = 0
    while time.monotonic() < deadline:
        PASSES(target)()
        passes += 1
    print(f"{passes * PASSES.max_examples} inputs")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
