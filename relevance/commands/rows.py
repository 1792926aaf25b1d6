"""``python -m relevance rows``: judgments and documents in, training rows out."""

from collections.abc import Sequence

from relevance.errors import BadFile
from relevance.files import write_lines
from relevance.first_stage import read_first_stage
from relevance.negatives import make_row
from relevance.options import add_judgment_options, add_rule_options, build_parser, read_judged, read_rules

EXAMPLE = """\
example:
  python -m relevance rows --judgments train.jsonl --documents corpus.jsonl --output rows.jsonl

`python -m gateway mine` makes the same of a cluster, and leaves out what a teacher finds relevant."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance rows") -> int:
    """Make the rows; see ``--help``."""
    parser = build_parser(
        prog, "Make training rows of judgments; negatives are hits of the first stage.", EXAMPLE
    )
    add_judgment_options(parser)
    add_rule_options(parser)
    add = parser.add_argument
    add("--documents", required=True, help='{"_id", "title", "text"} a line')
    add("--run", help="the first stage's ranking, as TREC writes runs (default: BM25, computed here)")
    add("--output", required=True, help="JSONL file of training rows")
    given = parser.parse_args(arguments)
    rules = read_rules(given)
    queries = read_judged(given)
    judged = {document for query in queries for document in query.grades}
    hits, passages = read_first_stage(given.run, given.documents, queries, rules.last, judged)
    candidates = {query.id: rules.find_candidates(hits[query.id], query) for query in queries}
    found = [make_row(query, candidates[query.id], passages, rules) for query in queries]
    rows = [row for row in found if row is not None]
    if not rows:
        raise BadFile(
            f"{given.run or 'BM25'}: no query has both a relevant document and a negative that "
            f"{given.documents} knows"
        )
    write_lines(given.output, (row.to_line() for row in rows))
    print(f"{len(rows)} rows; {len(queries) - len(rows)} queries without a relevant document or a negative")
    return 0
