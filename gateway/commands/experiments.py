"""``python -m gateway experiments``: what experiments have shown so far, by way of a running gateway."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from gateway.commands.talk import Refused, Talk, add_options
from gateway.experiments.report import write_lines


def main(argv: Sequence[str], prog: str) -> int:
    """Run one command; 1 and one line on stderr where it is refused."""
    given = _make_parser(prog).parse_args(argv)
    run: Callable[[Talk, argparse.Namespace], None] = given.run
    try:
        run(Talk(given.url, given.key, "experiments"), given)
    except (Refused, OSError) as error:
        print(f"{prog} {given.command}: {error}", file=sys.stderr)
        return 1
    return 0


def _list(gateway: Talk, given: argparse.Namespace) -> None:
    told = gateway.ask("GET")
    if given.json:
        print(json.dumps(told, indent=2))
        return
    for report in told["experiments"]:
        print(f"{report['name']}  {report['kind']}  {report['policy']}  {report['verdict']}")


def _report(gateway: Talk, given: argparse.Namespace) -> None:
    told = gateway.ask("GET", f"/{quote(given.name)}")
    print(json.dumps(told, indent=2) if given.json else "\n".join(write_lines(told)))


def _reset(gateway: Talk, given: argparse.Namespace) -> None:
    gateway.ask("DELETE", f"/{quote(given.name)}")
    print(f"{given.name} begins anew")


_COMMANDS: Mapping[str, tuple[Callable[[Talk, argparse.Namespace], None], str]] = {
    "list": (_list, "all experiments, and what each has shown"),
    "report": (_report, "figures of one, with differences and their confidence intervals"),
    "reset": (_reset, "forget what one has counted"),
}


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Experiments of a running gateway.")
    add_options(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (run, help_) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_, description=help_)
        command.set_defaults(run=run)
        if name != "list":
            command.add_argument("name")
        if name != "reset":
            command.add_argument("--json", action="store_true", help="print JSON")
    return parser
