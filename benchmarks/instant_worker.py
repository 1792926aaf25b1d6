"""``python -m benchmarks.instant_worker``: the worker, with a model that takes no time."""

from tests.worker.scripted_worker import run


class InstantModel:
    """A passage's score is its number of characters."""

    tokens_at_once = 1_000_000

    def encode(self, sentence_pairs):
        return [{"input_ids": [0], "length": [len(passage)]} for _, passage in sentence_pairs]

    def score_encoded(self, rows):
        return [float(row["length"][0]) for row in rows]


if __name__ == "__main__":
    run(InstantModel(), "instant")
