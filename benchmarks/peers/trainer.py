"""One training in a process of its own, in whatever environment has the implementation; tells what it took.

The implementation's own command line runs; only the call of transformers' trainer is timed, and its log kept.
"""

import json
import os
import sys
import time
from importlib import import_module
from pathlib import Path

from transformers import Trainer

MODULES = {
    "ours": "rerankers.finetune.run",
    "FlagEmbedding encoder": "FlagEmbedding.finetune.reranker.encoder_only.base.__main__",
    "FlagEmbedding LLM": "FlagEmbedding.finetune.reranker.decoder_only.base.__main__",
}


def watch(into):
    """Have every trainer tell what it did."""
    train = Trainer.train

    def watched(self, *arguments, **options):
        into["loaded_mb"] = read_memory_mb("VmRSS")
        started = time.perf_counter()
        result = train(self, *arguments, **options)
        into["seconds"] = time.perf_counter() - started
        into["losses"] = [line["loss"] for line in self.state.log_history if "loss" in line]
        return result

    Trainer.train = watched


def read_memory_mb(field):
    """See contender.py."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{field}:"))


def main(name, *arguments):
    answers = sys.stdout
    sys.stdout = sys.stderr  # progress bars and the like
    told = {}
    watch(told)
    sys.argv = [name, *arguments]
    import_module(MODULES[name]).main()
    told["peak_mb"] = read_memory_mb("VmHWM")
    print(json.dumps(told), file=answers, flush=True)


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    main(*sys.argv[1:])
