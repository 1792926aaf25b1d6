"""`python -m demo`: a search over the Python documentation, before and after reranking."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from demo import settings
from demo.errors import DemoError


def main(argv: Sequence[str]) -> int:
    """Run one command; 1 after one line on stderr when it can't go on."""
    parser = make_parser()
    arguments, options = parser.parse_known_args(argv)
    if options and "options" not in arguments:
        parser.error(f"unknown: {' '.join(options)}")
    arguments.options = options
    try:
        return int(arguments.call(arguments))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    commands = parser.add_subparsers(required=True)

    run = commands.add_parser(
        "run",
        help="start everything on this machine, search, measure, and stay up until Ctrl-C",
        description="Variables: ENGINE=opensearch|elasticsearch; CLUSTER_URL, REDIS_URL of running ones.",
    )
    run.add_argument("--check", action="store_true", help="end when all is told; exit code 0 when all worked")
    run.add_argument("--verbose", action="store_true", help="show what the processes say too")
    run.add_argument(
        "--adapter", type=Path, default=settings.ADAPTER, help="another adapter than the demo's own"
    )
    run.add_argument(
        "--state", type=Path, default=settings.STATE, help="folder for indices, logs, configuration"
    )
    run.set_defaults(call=call_run)

    train = commands.add_parser(
        "train",
        help="mine training rows and fine-tune the adapter on them",
        description="Options that it does not know go to `python -m rerankers finetune`.",
    )
    train.add_argument("--output", type=Path, default=settings.ADAPTER, help="the adapter's folder")
    train.add_argument("--generated", type=int, default=1500, help="rows made from the docstrings alone")
    train.set_defaults(call=call_train, options=())

    corpus = commands.add_parser(
        "corpus", help="write the documents to standard output, one JSON object a line"
    )
    corpus.set_defaults(call=call_corpus)
    return parser


def call_run(arguments: argparse.Namespace) -> int:
    from demo.run import run
    from demo.story import tell

    return run(tell, arguments.state.resolve(), arguments.adapter, arguments.check, arguments.verbose)


def call_train(arguments: argparse.Namespace) -> int:
    from demo.train import train

    train(arguments.output, arguments.generated, arguments.options)
    return 0


def call_corpus(_: argparse.Namespace) -> int:
    from demo.corpus import build_corpus, write_corpus

    write_corpus(build_corpus())
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # the story's thread may be inside torch, which aborts when the interpreter is taken down
