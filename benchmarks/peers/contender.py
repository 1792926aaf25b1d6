"""One implementation in a process of its own: loads a model, then scores the same pairs whenever told to.

Runs in whatever environment has the implementation, so it imports nothing of ours but for ours. Protocol: a
line `ready` on standard output, then for each line on standard input one JSON line of Answer's fields.
The work is a file: a list of pairs, or searches (query, passages) and how many clients ask at once.
"""

import json
import math
import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from threading import Lock


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


def load_infinity(folder, engine="torch"):
    """Infinity's own queue and batching; sizes and lengths of batches are its defaults unless told here."""
    from infinity_emb import EngineArgs, SyncEngineArray

    chosen = EngineArgs(
        model_name_or_path=str(folder),
        served_model_name="reranker",
        engine=engine,
        device="cpu",
        dtype="float32",
        batch_size=4,  # of 1, 4, 8 and 32 it takes the least processor time on two cores, 32 the most
        bettertransformer=True,  # its default, no padding inside; a little less processor time than without
        onnx_do_not_prefer_quantized=True,  # the same fp32 as the others
        model_warmup=False,  # the first round is one
    )
    engines = SyncEngineArray.from_args([chosen])

    def score(pairs):
        (query,) = {query for query, _ in pairs}
        passages = [passage for _, passage in pairs]
        ranked, _ = engines.rerank(model="reranker", query=query, docs=passages, raw_scores=True).result()
        return [result.relevance_score for result in sorted(ranked, key=lambda result: result.index)]

    return score


def load_infinity_onnx(folder):
    """On a file that optimum exports and Infinity's first start optimises, in processes of their own."""
    exported = str(Path(folder) / "onnx")
    if not Path(exported, "model.onnx").exists():
        export = [
            "-m",
            "optimum.exporters.onnx",
            "--model",
            folder,
            "--task",
            "text-classification",
            exported,
        ]
        for arguments in export, sys.argv:  # their memory isn't told as the contender's
            command = [sys.executable, *arguments]
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)
    return load_infinity(exported, engine="optimum")


LOADERS = {
    "ours": load_ours,
    "FlagEmbedding encoder": load_flag_embedding_encoder,
    "FlagEmbedding LLM": load_flag_embedding_llm,
    "sentence-transformers": load_sentence_transformers,
    "Infinity, torch": load_infinity,
    "Infinity, ONNX": load_infinity_onnx,
}


BATCHES_ACROSS_CALLS = {"Infinity, torch", "Infinity, ONNX"}


def score_searches(name, score, searches, clients):
    """As so many clients would of a server; where calls can't share a pass they take turns."""
    turn = nullcontext() if name in BATCHES_ACROSS_CALLS else Lock()

    def score_one(search):
        query, passages = search
        with turn:
            return score([(query, passage) for passage in passages])

    with ThreadPoolExecutor(clients) as pool:
        return [score for scores in pool.map(score_one, searches) for score in scores]


def main(name, folder, work_file):
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr  # progress bars and the like
    work = json.loads(Path(work_file).read_text())
    score = LOADERS[name](folder)
    if isinstance(work, dict):
        step = partial(score_searches, name, score, **work)
    else:
        step = partial(score, [tuple(pair) for pair in work])
    loaded_mb = read_memory_mb("VmRSS")
    print("ready", file=answers, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        scores = list(map(float, step()))
        answer = {"seconds": time.perf_counter() - started, "scores": scores}
        answer |= {"loaded_mb": loaded_mb, "peak_mb": read_memory_mb("VmHWM")}
        print(json.dumps(answer), file=answers, flush=True)


def read_memory_mb(field):
    """What is resident (VmRSS) or was at most (VmHWM); getrusage's peak would count the parent's, too."""
    status = Path("/proc/self/status")
    if not status.exists():
        return math.nan
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields[field].split()[0]) / 1024


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    main(*sys.argv[1:])
