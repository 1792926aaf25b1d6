"""``python -m gateway jobs``: bulk jobs from the command line, by way of a running gateway."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from tqdm import tqdm

from gateway.jobs.store import ENDED

_TIMEOUT_S = 60.0
_LOOK_S = 0.5


class _Refused(Exception):
    """What the gateway says, or that it says nothing."""


class _Gateway:
    """The jobs of one gateway."""

    def __init__(self, url: str, key: str) -> None:
        self._url = f"{url.rstrip('/')}/_rerank/jobs"
        self._headers = {"X-Rerank-Key": key} if key else {}

    def ask(self, method: str, path: str = "", body: object = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        told: dict[str, Any] = json.load(self.open(method, path, content))
        return told

    def open(self, method: str, path: str, content: bytes | IO[bytes] | None = None) -> Any:
        request = Request(self._url + path, content, {**self._headers}, method=method)
        try:
            return urlopen(request, timeout=_TIMEOUT_S)
        except HTTPError as error:
            raise _Refused(_read_reason(error)) from None
        except (URLError, OSError) as error:
            raise _Refused(f"{self._url}: {getattr(error, 'reason', error)}") from None


def main(argv: Sequence[str], prog: str) -> int:
    """Run one command; 1 and one line on stderr where it is refused, or where the job it watched failed."""
    parser = _make_parser(prog)
    given = parser.parse_args(argv)
    try:
        run: Callable[[_Gateway, argparse.Namespace], int] = given.run
        return run(_Gateway(given.url, given.key), given)
    except (_Refused, OSError) as error:
        print(f"{prog} {given.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # the job goes on


def _make_parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description="Bulk jobs of a running gateway.")
    parser.add_argument("--url", default=os.environ.get("RERANK_URL", "http://127.0.0.1:9201"))
    parser.add_argument(
        "--key", default=os.environ.get("RERANK_KEY", ""), help="a management key; or in $RERANK_KEY"
    )
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


def _submit(gateway: _Gateway, given: argparse.Namespace) -> int:
    spec = {name: value for name in _SPEC if (value := getattr(given, name)) is not None}
    places = {"index": given.destination_index, "field": given.destination_field}
    if destination := {name: value for name, value in places.items() if value is not None}:
        spec["destination"] = destination
    if (given.file is None) != (given.kind == "scan"):
        raise _Refused(f"{given.kind}: expected {'no file' if given.file else 'a file'}")
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


def _watch(gateway: _Gateway, given: argparse.Namespace) -> int:
    return _follow(gateway, given.id)


def _follow(gateway: _Gateway, job_id: str) -> int:
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


def _list(gateway: _Gateway, _given: argparse.Namespace) -> int:
    for job in gateway.ask("GET")["jobs"]:
        print(_tell_line(job))
    return 0


def _show(gateway: _Gateway, given: argparse.Namespace) -> int:
    print(json.dumps(gateway.ask("GET", f"/{quote(given.id)}"), indent=2, ensure_ascii=False))
    return 0


def _act(gateway: _Gateway, given: argparse.Namespace) -> int:
    print(_tell_line(gateway.ask("POST", f"/{quote(given.id)}/{given.command}")))
    return 0


def _delete(gateway: _Gateway, given: argparse.Namespace) -> int:
    gateway.ask("DELETE", f"/{quote(given.id)}")
    return 0


def _download(gateway: _Gateway, given: argparse.Namespace) -> int:
    form = getattr(given, "format", "ndjson")
    with gateway.open("GET", f"/{quote(given.id)}/{given.command}?format={form}") as rows:
        if given.output:
            with given.output.open("wb") as file:
                shutil.copyfileobj(rows, file)
        else:
            shutil.copyfileobj(rows, sys.stdout.buffer)
    return 0


_COMMANDS: Mapping[str, tuple[Callable[[_Gateway, argparse.Namespace], int], str]] = {
    "show": (_show, "all that is known of a job"),
    "watch": (_watch, "a progress bar until it ends"),
    **{name: (_act, f"{name} it") for name in ("pause", "resume", "cancel")},
    "retry": (_act, "do again what failed"),
    "results": (_download, "what was done"),
    "failures": (_download, "what failed, and why"),
    "delete": (_delete, "forget a job that has ended, with its results"),
}


def _read_reason(error: HTTPError) -> str:
    try:
        reason: str = json.load(error)["error"]["reason"]
        return reason
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"
