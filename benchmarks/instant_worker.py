"""``python -m benchmarks.instant_worker``: the worker, with a model that takes no time of the processor.

``SECONDS_A_PAIR`` in the environment makes it sleep so long, as if it had a device of its own.
"""

import os
import time

from tests.worker.scripted_worker import run


class InstantModel:
    """A passage's score is its number of characters."""

    tokens_at_once = 1_000_000
    seconds_a_pair = float(os.environ.get("SECONDS_A_PAIR", "0"))

    def encode(self, sentence_pairs):
        return [{"input_ids": [0], "length": [len(passage)]} for _, passage in sentence_pairs]

    def score_encoded(self, rows):
        time.sleep(self.seconds_a_pair * len(rows))
        return [float(row["length"][0]) for row in rows]


if __name__ == "__main__":
    run(InstantModel(), "instant")
