"""``python -m relevance compare``: judgments and runs in, a report out."""

from collections.abc import Sequence
from pathlib import Path

from relevance.evaluation import Evaluation
from relevance.options import (
    add_judgment_options,
    add_report_options,
    build_parser,
    finish,
    keep_relevant,
    read_judged,
    read_measures,
)
from relevance.runs import read_run

EXAMPLE = """\
The first run is the first stage, which the others are held against.

example:
  python -m relevance compare --judgments test.jsonl bm25.run reranked=models/v2.run --output report/"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance compare") -> int:
    """Compare; see ``--help``."""
    parser = build_parser(prog, "Measure runs against judgments, and tell how sure differences are.", EXAMPLE)
    parser.add_argument("runs", nargs="+", metavar="[NAME=]RUN", help="files as TREC writes runs")
    add_judgment_options(parser)
    add_report_options(parser)
    given = parser.parse_args(arguments)
    queries = keep_relevant(read_judged(given, needs_texts=False))
    evaluation = Evaluation(queries, read_measures(given))
    for place, text in enumerate(given.runs):
        name, _, path = text.rpartition("=")
        run = read_run(path)
        absent = sum(query.id not in run for query in queries)
        notes = [f"{absent} of {len(queries)} judged queries are not in {path} and count 0"] if absent else []
        evaluation.add(name or Path(path).stem, run, "model" if place else "first stage", notes=notes)
    finish(evaluation, given)
    return 0
