"""``python -m relevance split``: one file of judgments or training rows in, one a part out."""

from collections.abc import Sequence
from pathlib import Path

from relevance.errors import BadChoice
from relevance.files import write_lines
from relevance.jsonl import read_items, read_query
from relevance.options import build_parser
from relevance.split import split

PARTS = "train=80,dev=10,test=10"
EXAMPLE = """\
A query's part follows from its words alone: new queries move no old ones, and "Delete a folder" and
"delete a folder?" are one query, in files split today and next year.

example:
  python -m relevance split judgments.jsonl --output parts/    # parts/train.jsonl, dev.jsonl, test.jsonl"""


def main(arguments: Sequence[str] | None = None, prog: str = "python -m relevance split") -> int:
    """Split; see ``--help``."""
    parser = build_parser(prog, "Split judgments or training rows by query.", EXAMPLE)
    add = parser.add_argument
    add("file", help="JSONL file of judgments or training rows")
    add("--parts", default=PARTS, help="names and shares (%(default)s)")
    add("--salt", default="", help="another text makes another split")
    add("--output", required=True, help="folder that gets a file a part")
    given = parser.parse_args(arguments)
    shares = read_shares(given.parts)
    parts = split(read_items(given.file), read_query, shares, given.salt)
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    for name, items in parts.items():
        write_lines(folder / f"{name}.jsonl", (item.to_line() for item in items))
        print(f"{name}: {len(items)}")
    return 0


def read_shares(text: str) -> dict[str, float]:
    """Shares by part, as they are typed.

    Raises:
        BadChoice: they are not.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, _, share = part.partition("=")
        try:
            shares[name.strip()] = float(share)
        except ValueError:
            raise BadChoice(f"--parts: expected for example {PARTS}, found {text!r}") from None
    if not all(name.replace("-", "").replace("_", "").isalnum() for name in shares):
        raise BadChoice(f"--parts: expected names of letters and digits, found {text!r}")
    return shares
