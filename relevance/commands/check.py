"""``python -m relevance check``: are these files right, and is no query in two of them?"""

from collections.abc import Sequence

from relevance.jsonl import read_items, read_query
from relevance.options import build_parser
from relevance.split import find_leaks

SHOWN = 20
EXAMPLE = """\
Exit status: 0, or 1 where a file is wrong or a query stands, in the same words, in two of them: what a model
was trained on says nothing about how good it is.

example:
  python -m relevance check rows/train.jsonl judgments/test.jsonl"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance check") -> int:
    """Check; see ``--help``."""
    parser = build_parser(prog, "Check JSONL files of judgments or training rows.", EXAMPLE)
    parser.add_argument("files", nargs="+", help="JSONL files of judgments or training rows")
    given = parser.parse_args(arguments)
    texts: dict[str, list[str]] = {}
    for file in dict.fromkeys(given.files):
        texts[file] = [read_query(item) for item in read_items(file)]
        print(f"{file}: {len(texts[file])} lines are right")
    leaks = find_leaks(texts)
    for leak in leaks[:SHOWN]:
        print(f"leak: {leak.first} has {leak.first_text!r}, {leak.second} has {leak.second_text!r}")
    if leaks:
        print(f"{len(leaks)} queries are in two files")
    return 1 if leaks else 0
