"""``python -m gateway jobs``: bulk jobs from the command line, by way of a running gateway."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tqdm import tqdm

from gateway.commands.talk import Refused, Talk, add_options
from gateway.jobs.store import ENDED

_LOOK_S = 0.5


def main(argv: Sequence[str], prog: str) -> int:
    """Run one command; 1 and one line on stderr where it is refused, or where the job it watched failed."""
    parser = _make_parser(prog)
    given = parser.parse_args(argv)
    try:
        run: Callable[[Talk, argparse.Namespace], int] = given.run
        return run(Talk(given.url, given.key, "jobs"), given)
    except (Refused, OSError) as error:
        print(f"{prog} {given.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # the job goes on


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Bulk jobs of a running gateway.")
    add_options(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    submit = commands.add_parser("submit", help="start a job and watch it")
    submit.add_argument("kind", choices=("queries", "pairs", "scan"))
    submit.add_argument("file", nargs="?", help="a line an item; - for standard input; none for a scan")
    for flag, help_ in _TEXT_FLAGS.items():
        submit.add_argument(flag, help=help_)
    for flag, help_ in _NUMBER_FLAGS.items():
        submit.add_argument(flag, type=float if flag == "--max-pairs-per-s" else int, help=help_)
    submit.add_argument("--query", type=json.loads, help="scan: the clause that documents must match, JSON")
    submit.add_argument("--scores", choices=("probability", "logit"))
    submit.add_argument("--detach", action="store_true", help="print the job's id and go")
    submit.set_defaults(run=_submit)
    commands.add_parser("list", help="all jobs, the newest first").set_defaults(run=_list)
    for name, (run, help_) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_)
        command.add_argument("id")
        command.set_defaults(run=run)
        if name == "results":
            command.add_argument("--format", choices=("ndjson", "trec"), default="ndjson")
        if name in ("results", "failures"):
            command.add_argument("--output", type=Path, help="a file; without it they are printed")
    return parser


_TEXT_FLAGS: Mapping[str, str] = {
    "--index": "index, alias or pattern that is searched",
    "--policy": "instead of an index: what this policy covers",
    "--model": "alias of the model, if not the policy's",
    "--query-text": "scan: what every document is scored against",
    "--destination-index": "index that gets the results too",
    "--destination-field": "scan: field of each document that gets its score",
    "--name": "what people call the job",
}
_NUMBER_FLAGS: Mapping[str, str] = {
    "--top-k": "queries: hits that are scored and kept (100)",
    "--page-size": "scan: documents that are read at once (200)",
    "--concurrency": "batches that are worked on at the same time (4)",
    "--max-pairs-per-s": "not more pairs than this a second",
}
_SPEC = (
    *("index", "policy", "model", "query_text", "name"),
    *("top_k", "page_size", "concurrency", "max_pairs_per_s"),
    *("query", "scores"),
)


def _submit(gateway: Talk, given: argparse.Namespace) -> int:
    spec = {name: value for name in _SPEC if (value := getattr(given, name)) is not None}
    places = {"index": given.destination_index, "field": given.destination_field}
    if destination := {name: value for name, value in places.items() if value is not None}:
        spec["destination"] = destination
    if (given.file is None) != (given.kind == "scan"):
        raise Refused(f"{given.kind}: expected {'no file' if given.file else 'a file'}")
    job = gateway.ask("POST", "", {"kind": given.kind, **spec})
    if given.file is not None:
        path = f"/{job['id']}/input"
        if given.file == "-":
            job = json.load(gateway.open("PUT", path, sys.stdin.buffer))
        else:
            with Path(given.file).open("rb") as file:
                job = json.load(gateway.open("PUT", path, file))
    if given.detach:
        print(job["id"])
        return 0
    print(f"job {job['id']}", file=sys.stderr)
    return _follow(gateway, job["id"])


def _watch(gateway: Talk, given: argparse.Namespace) -> int:
    return _follow(gateway, given.id)


def _follow(gateway: Talk, job_id: str) -> int:
    """Show how far it is until it ends or pauses."""
    with tqdm(unit=" items", smoothing=0) as bar:
        while True:
            job = gateway.ask("GET", f"/{quote(job_id)}")
            items = job["items"]
            bar.total = items["total"]
            bar.n = items["done"] + items["failed"]
            bar.set_postfix_str(_tell_moment(job), refresh=False)
            bar.refresh()
            if job["state"] in ENDED or job["state"] == "paused":
                break
            time.sleep(_LOOK_S)
    print(_tell_line(job), file=sys.stderr)
    return 1 if job["state"] in ("failed", "cancelled") else 0


def _tell_moment(job: Mapping[str, Any]) -> str:
    words = [f"{job['items']['failed']} failed", f"{job['pairs_per_s']:.0f} pairs/s"]
    return ", ".join([*words, *([job["trouble"]] if job["trouble"] else [])])


def _tell_line(job: Mapping[str, Any]) -> str:
    items = job["items"]
    of = "" if items["total"] is None else f" of {items['total']}"
    words = [job["id"], job["kind"], job["state"], f"{items['done']}{of} done", f"{items['failed']} failed"]
    return "  ".join([*words, job["name"], job["error"] or job["trouble"] or ""]).rstrip()


def _list(gateway: Talk, _given: argparse.Namespace) -> int:
    for job in gateway.ask("GET")["jobs"]:
        print(_tell_line(job))
    return 0


def _show(gateway: Talk, given: argparse.Namespace) -> int:
    print(json.dumps(gateway.ask("GET", f"/{quote(given.id)}"), indent=2, ensure_ascii=False))
    return 0


def _act(gateway: Talk, given: argparse.Namespace) -> int:
    print(_tell_line(gateway.ask("POST", f"/{quote(given.id)}/{given.command}")))
    return 0


def _delete(gateway: Talk, given: argparse.Namespace) -> int:
    gateway.ask("DELETE", f"/{quote(given.id)}")
    return 0


def _download(gateway: Talk, given: argparse.Namespace) -> int:
    form = getattr(given, "format", "ndjson")
    with gateway.open("GET", f"/{quote(given.id)}/{given.command}?format={form}") as rows:
        if given.output:
            with given.output.open("wb") as file:
                shutil.copyfileobj(rows, file)
        else:
            shutil.copyfileobj(rows, sys.stdout.buffer)
    return 0


_COMMANDS: Mapping[str, tuple[Callable[[Talk, argparse.Namespace], int], str]] = {
    "show": (_show, "all that is known of a job"),
    "watch": (_watch, "a progress bar until it ends"),
    **{name: (_act, f"{name} it") for name in ("pause", "resume", "cancel")},
    "retry": (_act, "do again what failed"),
    "results": (_download, "what was done"),
    "failures": (_download, "what failed, and why"),
    "delete": (_delete, "forget a job that has ended, with its results"),
}
