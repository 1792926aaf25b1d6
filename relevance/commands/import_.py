"""``python -m relevance import``: judgments of any format in, JSONL of ours out."""

from collections.abc import Sequence

from relevance.files import write_lines
from relevance.options import add_judgment_options, build_parser, read_judged

EXAMPLE = """\
examples:
  python -m relevance import qrels.txt --queries queries.tsv --output judgments.jsonl
  python -m relevance import quepid.csv --output judgments.jsonl
  python -m relevance import coec.json --cut 0.5,1,2 --output judgments.jsonl"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance import") -> int:
    """Read and write; see ``--help``."""
    parser = build_parser(
        prog,
        'Read judgments, check them, write {"id", "query", "grades": {"document": grade}} a line.',
        EXAMPLE,
    )
    add_judgment_options(parser, "judgments")
    parser.add_argument("--output", required=True, help="the JSONL file")
    given = parser.parse_args(arguments)
    queries = read_judged(given)
    write_lines(given.output, (query.to_line() for query in queries))
    n_judgments = sum(len(query.grades) for query in queries)
    n_relevant = sum(len(query.find_relevant()) for query in queries)
    print(f"{len(queries)} queries, {n_judgments} judgments, {n_relevant} of them relevant")
    return 0
