"""``python -m relevance rows``: judgments, documents and a first stage's run in, training rows out."""

from collections.abc import Sequence

from relevance.collection import read_documents
from relevance.errors import BadFile
from relevance.files import write_lines
from relevance.negatives import make_row
from relevance.options import add_judgment_options, add_rule_options, build_parser, read_judged, read_rules
from relevance.runs import read_run

EXAMPLE = """\
example:
  python -m relevance rows --judgments train.jsonl --documents corpus.jsonl --run bm25.run --output rows.jsonl

`python -m gateway mine` makes the same of a cluster, and leaves out what a teacher finds relevant."""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance rows") -> int:
    """Make the rows; see ``--help``."""
    parser = build_parser(prog, "Make training rows, their negatives from a run.", EXAMPLE)
    add_judgment_options(parser)
    add_rule_options(parser)
    add = parser.add_argument
    add("--documents", required=True, help='{"_id", "title", "text"} a line')
    add("--run", required=True, help="the first stage's ranking, as TREC writes runs")
    add("--output", required=True, help="JSONL file of training rows")
    given = parser.parse_args(arguments)
    rules = read_rules(given)
    queries, run = read_judged(given), read_run(given.run)
    candidates = {query.id: rules.find_candidates(run.get(query.id, ()), query) for query in queries}
    wanted = {document for of_query in candidates.values() for document in of_query}
    wanted |= {document for query in queries for document in query.grades}
    passages = read_documents(given.documents, wanted)
    found = [make_row(query, candidates[query.id], passages, rules) for query in queries]
    rows = [row for row in found if row is not None]
    if not rows:
        raise BadFile(
            f"{given.run}: no query has both a relevant document and a negative that {given.documents} knows"
        )
    write_lines(given.output, (row.to_line() for row in rows))
    print(f"{len(rows)} rows; {len(queries) - len(rows)} queries without a relevant document or a negative")
    return 0
