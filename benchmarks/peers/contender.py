"""One implementation in a process of its own: loads a model, then scores the same pairs whenever told to.

Runs in whatever environment has the implementation, so it imports nothing of ours but for ours. Protocol: a
line `ready` on standard output, then for each line on standard input one JSON line {"seconds", "scores"}.
"""

import json
import os
import sys
import time
import warnings
from pathlib import Path


def load_ours(folder):
    from rerankers import FlagAutoReranker

    return FlagAutoReranker.from_finetuned(folder, devices="cpu").compute_score


def load_flag_embedding_encoder(folder):
    from FlagEmbedding import FlagReranker

    return FlagReranker(folder, devices="cpu").compute_score


def load_flag_embedding_llm(folder):
    from FlagEmbedding import FlagLLMReranker

    return FlagLLMReranker(folder, devices="cpu").compute_score


def load_sentence_transformers(folder):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    model = CrossEncoder(folder, device="cpu", max_length=512, activation_fn=Identity())
    return lambda pairs: model.predict(pairs, show_progress_bar=False).tolist()


LOADERS = {
    "ours": load_ours,
    "FlagEmbedding encoder": load_flag_embedding_encoder,
    "FlagEmbedding LLM": load_flag_embedding_llm,
    "sentence-transformers": load_sentence_transformers,
}


def main(name, folder, pairs_file):
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr  # progress bars and the like
    pairs = [tuple(pair) for pair in json.loads(Path(pairs_file).read_text())]
    score = LOADERS[name](folder)
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        scores = score(pairs)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "scores": list(map(float, scores))}), file=answers, flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    main(*sys.argv[1:])
