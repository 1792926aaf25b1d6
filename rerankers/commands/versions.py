"""``python -m rerankers versions``: the versions of a model in a folder, and which of them is live."""

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rerankers.commands.options import make_parser
from rerankers.errors import BadArgument, BadVersion
from rerankers.versions import Version, Versions

EXAMPLE = """\
examples:
  python -m rerankers versions add /models/docs trained/ --name v2 --metadata ndcg@10=0.61
  python -m rerankers versions promote /models/docs v2
  python -m rerankers versions rollback /models/docs"""


def main(arguments: list[str] | None = None, prog: str = "python -m rerankers versions") -> None:
    """Do with a folder of versions what a command line says; see ``--help``."""
    given = _build_parser(prog).parse_args(arguments)
    run: Callable[[Versions, argparse.Namespace], None] = given.run
    try:
        run(Versions(given.folder), given)
    except OSError as error:
        raise BadVersion(f"{error.filename or given.folder}: {error.strerror or error}") from error


def _add(versions: Versions, given: argparse.Namespace) -> None:
    metadata = _read_metadata(given.metadata)
    print(versions.add(given.source, given.name, given.base, metadata).name)


def _list(versions: Versions, given: argparse.Namespace) -> None:
    live = versions.live
    found = [versions.find(name) for name in versions.names()]
    if given.json:
        print(json.dumps({"live": live, "versions": [asdict(version) for version in found]}, indent=2))
        return
    for version in found:
        print("*" if version.name == live else " ", _tell_line(version))


def _show(versions: Versions, given: argparse.Namespace) -> None:
    version = versions.find(given.version)
    told = {"live": version.name == versions.live, **asdict(version)}
    promoted = [asdict(change) for change in versions.history() if change.version == version.name]
    print(json.dumps(told | {"became_live": promoted}, indent=2, ensure_ascii=False))


def _verify(versions: Versions, given: argparse.Namespace) -> None:
    names = [given.version] if given.version else versions.names()
    damage = {name: found for name in names if (found := versions.verify(name))}
    if damage:
        told = (f"{name}: {problem}" for name, problems in damage.items() for problem in problems)
        raise BadVersion(f"{versions.folder}: " + "; ".join(told))
    print(f"as they were added: {', '.join(names) or 'there are none'}")


def _promote(versions: Versions, given: argparse.Namespace) -> None:
    before = versions.live
    versions.promote(given.version)
    print(f"live: {given.version}" + (f" (before: {before})" if before else ""))


def _rollback(versions: Versions, _given: argparse.Namespace) -> None:
    left = versions.live
    print(f"live: {versions.rollback()} (before: {left})")


def _remove(versions: Versions, given: argparse.Namespace) -> None:
    versions.remove(given.version)


_COMMANDS: Mapping[str, tuple[Callable[[Versions, argparse.Namespace], None], str]] = {
    "add": (_add, "copy a model or an adapter into the folder; prints the version's name"),
    "list": (_list, "all versions, the oldest first; the live one is marked"),
    "show": (_show, "all that is known of one"),
    "verify": (_verify, "is each file as it was added?"),
    "promote": (_promote, "make one live: workers take it over while they serve"),
    "rollback": (_rollback, "make the one live again that was before"),
    "remove": (_remove, "delete one that is not live"),
}


def _tell_line(version: Version) -> str:
    kind = f"adapter of {version.base}" if version.base else "model"
    said = [f"{name}={_to_word(value)}" for name, value in version.metadata.items()]
    return "  ".join([version.name, version.created[:19], kind, *said])


def _to_word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _read_metadata(said: list[str]) -> dict[str, Any]:
    """``name=value``, a number where it is one, or a file with a JSON object."""
    metadata: dict[str, Any] = {}
    for word in said:
        name, mark, value = word.partition("=")
        if mark:
            metadata[name] = _read_value(value)
            continue
        try:
            read = json.loads(Path(word).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise BadArgument(f"--metadata: {word}: {error}") from error
        if not isinstance(read, dict):
            raise BadArgument(f"--metadata: {word}: expected a JSON object")
        metadata |= read
    return metadata


def _read_value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _build_parser(prog: str) -> argparse.ArgumentParser:
    parser = make_parser(
        prog, "Keep the versions of a model in a folder that rerank.toml names as `versions`.", EXAMPLE
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (run, help_) in _COMMANDS.items():
        command = commands.add_parser(name, help=help_, description=help_)
        command.add_argument("folder", help="where the versions are kept")
        command.set_defaults(run=run)
        add = command.add_argument
        if name == "add":
            add("source", help="folder of a model or an adapter, such as the output of finetune")
            add("--name", help="what the version is called (default: digits of its content's hash)")
            add("--base", help="the model that an adapter is laid over, if not the one that it names")
            add(
                "--metadata",
                nargs="+",
                default=[],
                help="what to remember of it: name=value, or a file with a JSON object",
            )
        elif name == "list":
            add("--json", action="store_true", help="print one JSON object")
        elif name == "verify":
            add("version", nargs="?", help="default: all")
        elif name != "rollback":
            add("version")
    return parser
