"""``python -m rerankers evaluate``: models over judged queries, beside the first stage and controls."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tqdm import tqdm

from relevance.collection import find_beir
from relevance.errors import RelevanceError
from relevance.evaluation import FIRST_STAGE, Evaluation
from relevance.first_stage import read_first_stage
from relevance.judgments import JudgedQuery
from relevance.options import (
    add_judgment_options,
    add_report_options,
    finish,
    keep_relevant,
    read_judged,
    read_measures,
)
from relevance.runs import Run, reorder
from rerankers.base import AbsReranker
from rerankers.commands.options import add_call_options, add_load_options, load_reranker, make_parser
from rerankers.cosine import CosineModel, score_by_cosine
from rerankers.errors import BadArgument

COSINE = "cosine"

EXAMPLE = """\
The first stage is --run, or BM25 computed here. Models rerank its first --depth hits.

examples:
  python -m rerankers evaluate base=model/ ours=model/,adapter/ --beir scifact/
  python -m rerankers evaluate model/ --judgments test.jsonl --documents corpus.jsonl --run bm25.run \\
      --train train.jsonl --cosine embeddings/ --output report/"""


@dataclass(frozen=True)
class Candidate:
    """A model to be evaluated, and what the report calls it."""

    name: str
    path: str
    adapter: str | None

    @classmethod
    def read(cls, text: str) -> "Candidate":
        """Read ``[name=]model[,adapter]``.

        Raises:
            BadArgument: a part is empty.
        """
        name, has_name, place = text.rpartition("=")
        path, has_adapter, adapter = place.partition(",")
        if not path or (has_adapter and not adapter) or (has_name and not name):
            raise BadArgument(f"models: expected [NAME=]MODEL[,ADAPTER], found {text!r}")
        return cls(name or PurePath(adapter or path).name or path, path, adapter or None)


@dataclass(frozen=True)
class Task:
    """What all models have to do: judged queries, the first stage's hits, and their passages."""

    queries: Sequence[JudgedQuery]
    first_stage: Run
    passages: dict[str, list[str]]
    """By the query's id, of its hits in their order."""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers evaluate") -> None:
    """Evaluate the models that a command line names; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    models = [Candidate.read(text) for text in given.models]
    try:
        task = read_task(given)
        evaluation = Evaluation(task.queries, read_measures(given))
        evaluation.add(FIRST_STAGE, task.first_stage, "first stage")
        if given.cosine:
            evaluation.add(COSINE, rank_by_cosine(task, given), "control")
        for model in models:
            run, latencies_ms = rerank(model, task, given)
            evaluation.add(model.name, run, latencies_ms=latencies_ms)
        finish(evaluation, given)
    except RelevanceError as error:
        raise BadArgument(str(error)) from error


def read_task(given: argparse.Namespace) -> Task:
    """Read what the options name.

    Raises:
        BadArgument: options are missing, or contradict each other.
        RelevanceError: a file can't be used.
    """
    for name in ("depth", "most"):
        if (value := getattr(given, name)) is not None and value < 1:
            raise BadArgument(f"--{name}: expected a whole number of at least 1, found {value}")
    if given.beir:
        folder = find_beir(given.beir, given.split)
        files = {"judgments": folder.judgments, "queries": folder.queries, "documents": folder.documents}
        for name, path in files.items():
            setattr(given, name, getattr(given, name) or str(path))
    if not (given.judgments and given.documents):
        raise BadArgument("expected --beir, or both --judgments and --documents")
    queries = keep_relevant(read_judged(given))[: given.most]
    first_stage, documents = read_first_stage(given.run, given.documents, queries, given.depth)
    missing = next((one for hits in first_stage.values() for one in hits if one not in documents), None)
    if missing is not None:
        raise BadArgument(f"--documents: {given.documents} has no {missing!r}, which --run has")
    if not any(first_stage.values()):
        raise BadArgument("--run: has no hits for any judged query")
    passages = {id: [documents[one] for one in hits] for id, hits in first_stage.items()}
    return Task(queries, first_stage, passages)


def rerank(model: Candidate, task: Task, given: argparse.Namespace) -> tuple[Run, list[float]]:
    """The model's ranking, and the milliseconds that each query with hits took it."""
    named = {"model": model.path, "peft_path": model.adapter}
    reranker = load_reranker(argparse.Namespace(**{**vars(given), **named}))
    first = next(query for query in task.queries if task.passages[query.id])
    _score(reranker, first, task)  # the first pass of a model is slower than any other
    run, latencies_ms = {}, []
    for query in tqdm(task.queries, desc=model.name, unit=" queries", disable=True if given.quiet else None):
        started = time.perf_counter()
        scores = _score(reranker, query, task)
        if scores:
            latencies_ms.append((time.perf_counter() - started) * 1000)
        run[query.id] = reorder(task.first_stage[query.id], scores)
    return run, latencies_ms


def rank_by_cosine(task: Task, given: argparse.Namespace) -> Run:
    """The ranking by the embedding model's cosine."""
    model = CosineModel(given.cosine, given.device, given.max_length)
    texts = {query.id: query.text for query in task.queries}
    scores = score_by_cosine(model, texts, task.passages)
    return {id: reorder(hits, scores[id]) for id, hits in task.first_stage.items()}


def _score(reranker: AbsReranker, query: JudgedQuery, task: Task) -> list[float]:
    pairs = [(query.text, passage) for passage in task.passages[query.id]]
    scores = reranker.compute_score(pairs) if pairs else []
    if scores and not isinstance(scores[0], float):
        raise BadArgument("--cutoff_layers: expected one layer, whose scores make the ranking")
    return scores


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = make_parser(
        prog, "Rerank the first stage's hits of judged queries, measure, and tell how sure it is.", EXAMPLE
    )
    add = parser.add_argument
    add("models", nargs="+", metavar="[NAME=]MODEL[,ADAPTER]", help="folders or hub names of rerankers")
    add("--beir", help="folder with corpus.jsonl, queries.jsonl and qrels/; instead of the files below")
    add("--split", default="test", help="which qrels of that folder (default: %(default)s)")
    add_judgment_options(parser)
    add("--documents", help='file of {"_id", "title", "text"} a line: what models read of a document')
    add("--run", help="the first stage's ranking, as TREC writes runs (default: BM25, computed here)")
    add(
        "--depth",
        type=int,
        default=100,
        help="hits that are reranked (default: %(default)s)",
    )
    add("--most", type=int, help="judged queries that are used, the first ones (default: all)")
    add("--cosine", help="folder of an embedding model: adds the control of its cosine")
    add_report_options(parser)
    add_load_options(parser)
    add_call_options(parser)
    add("--quiet", action="store_true", help="no progress bar; there is none anyway where nobody sees it")
    return parser
