"""``python -m rerankers``: the commands of this package; each has its own ``--help``."""

import argparse
import os
import sys
from importlib import import_module

from rerankers.errors import RerankerError

COMMANDS = {
    "score": ("rerankers.commands.score", "score pairs of query and passage, read as JSON lines"),
    "info": ("rerankers.commands.info", "tell what would be loaded for a model, without reading its weights"),
    "bench": ("rerankers.commands.bench", "measure how fast a model scores on this machine"),
    "evaluate": (
        "rerankers.commands.evaluate",
        "measure models over judged queries, beside controls",
    ),
    "teach": ("rerankers.finetune.teach", "give training rows a teacher's scores, from an embedding model"),
    "finetune": ("rerankers.finetune.run", "fine-tune a reranker, whole or as an adapter"),
    "merge": ("rerankers.finetune.merge", "make adapters a part of their model"),
    "versions": ("rerankers.commands.versions", "keep a model's versions, promote one, roll back"),
}
"""The module of each command, imported only to run it, and what it does."""


def main() -> None:
    """Run the command named first with the arguments that follow; a caller's mistake ends with a sentence."""
    parser = argparse.ArgumentParser(
        prog="python -m rerankers",
        description="Rerankers score how well a passage answers a query.",
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
        module.main(given.arguments, prog=f"{parser.prog} {given.command}")
    except RerankerError as error:
        sys.exit(f"{parser.prog} {given.command}: {error}")
    except BrokenPipeError:  # nobody reads on, as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        sys.exit(1)


if __name__ == "__main__":
    main()
