"""``python -m tests.worker.scripted_worker``: the worker, with a model that does what the texts say.

A passage's score is its number of characters. ``kill`` in it ends the process as an operating system does,
``hang`` makes the pass last for ever, ``slow`` makes it last a second.
"""

import os
import signal
import sys
import time
from types import ModuleType

# what imports torch, which takes seconds: nothing of it is used here
sys.modules["rerankers"] = ModuleType("rerankers")
for name in ("VERSION_FILE", "BadVersion", "FlagAutoReranker", "Version"):
    setattr(sys.modules["rerankers"], name, None)

from worker import __main__, resident  # noqa: E402


class ScriptedModel:
    tokens_at_once = 64

    def encode(self, pairs):
        return [{"input_ids": [0] * len(passage.split()), "passage": passage} for _, passage in pairs]

    def score_encoded(self, rows):
        text = " ".join(row["passage"] for row in rows)
        time.sleep(0.01)
        if "kill" in text:
            time.sleep(0.3)  # what is being computed is noted in a thread of its own
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in text:
            time.sleep(3600)
        if "slow" in text:
            time.sleep(1)
        return [float(len(row["passage"])) for row in rows]


def run(model, version):
    """The worker, whose models are all this one."""
    resident.load_model = lambda alias, settings: resident.ResidentModel(alias, model, version, 0)
    sys.exit(__main__.main(sys.argv[1:]))


if __name__ == "__main__":
    run(ScriptedModel(), "scripted")
