"""``python -m relevance``: commands over files; each has its own ``--help``."""

import argparse
import os
import sys
from importlib import import_module

from relevance.errors import RelevanceError

COMMANDS = {
    "import": ("relevance.commands.import_", "read judgments of any format, write them as JSONL"),
    "clicks": ("relevance.commands.clicks", "make judgments of a click log (UBI)"),
    "split": ("relevance.commands.split", "split judgments or training rows by query"),
    "check": ("relevance.commands.check", "check files, and that no query is in two of them"),
    "rows": ("relevance.commands.rows", "make training rows of judgments and documents"),
    "compare": ("relevance.commands.compare", "measure runs, and tell how sure their differences are"),
}
"""The module of each command, imported only to run it, and what it does."""


def main() -> None:
    """Run the command named first with the arguments that follow; a caller's mistake ends with a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m relevance",
        description="Judgments, training data and evaluation in files.",
        epilog="commands:\n" + "\n".join(f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command", choices=COMMANDS, metavar="command", help="see below; --help after it tells more"
    )
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the command's own")
    given = parser.parse_args()
    module = import_module(COMMANDS[given.command][0])
    try:
        sys.exit(module.main(given.arguments, prog=f"{parser.prog} {given.command}"))
    except RelevanceError as error:
        sys.exit(f"{parser.prog} {given.command}: {error}")
    except BrokenPipeError:  # nobody reads on, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        sys.exit(1)


if __name__ == "__main__":
    main()
