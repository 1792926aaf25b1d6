"""The YAML tests with which the engines test themselves, read from their jars and run against any address.

What the files may say is told in the README beside them in the jar (``rest-api-spec/test``); steps that are
not known here skip their test.
"""

from __future__ import annotations

import json
import operator
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import yaml

from tests.differential.wire import JSON, NDJSON, Answer, Peer, ask

FOLDER = "rest-api-spec"
FEATURES = frozenset(
    {
        *("allowed_warnings", "allowed_warnings_regex", "warnings", "warnings_regex", "headers", "yaml"),
        *("arbitrary_key", "catch_unauthorized", "close_to", "contains", "default_shards", "no_xpack"),
        *("stash_in_key", "stash_in_path"),
    }
)
# what a step may say beside its API
SAID_BESIDE = ("warnings", "allowed_warnings", "warnings_regex", "allowed_warnings_regex", "node_selector")
BULKS = frozenset({"bulk", "msearch", "msearch_template"})
CAUGHT = {
    "bad_request": (400,),
    "unauthorized": (401,),
    "forbidden": (403,),
    "missing": (404,),
    "request_timeout": (408,),
    "conflict": (409,),
    "unavailable": (503,),
    "request": range(400, 600),
}
# what a test leaves behind
REMAINS = (
    "/_data_stream/*?expand_wildcards=all",
    "/_index_template/*",
    "/_component_template/*",
    "/_template/*",
    "/_search/scroll/_all",
    "/_search/point_in_time/_all",
)
NAMED_REMAINS = {
    "/_alias?expand_wildcards=all": "",
    "/_ingest/pipeline": "/_ingest/pipeline",
    "/_search/pipeline": "/_search/pipeline",
    "/_snapshot": "/_snapshot",
}
NO_SETTINGS = {kind: {"*": None} for kind in ("persistent", "transient")}


class _Loader(yaml.CSafeLoader):
    """YAML whose dates stay text, as JSON has no others."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


class Skipped(Exception):
    """The test is not for this engine, or says what is not known here."""


class Failed(Exception):
    """The answer is not as the test wants it."""


@dataclass(frozen=True)
class Case:
    """One test; ``name`` is file and title."""

    name: str
    steps: list[Mapping]
    teardown: list[Mapping]


@dataclass
class Outcome:
    """How a case went.

    Attributes:
        result: passed, skipped, failed or not understood.
        statuses: of its requests in turn.
        n_reranked: how many of them were searches that the gateway reranked.
    """

    result: str = "passed"
    reason: str = ""
    statuses: list[int] = field(default_factory=list)
    n_reranked: int = 0


class YamlSuite:
    """A jar ``rest-api-spec`` of either engine.

    Args:
        engine_version: of the engine under test, for what is skipped there.
    """

    def __init__(self, jar: Path, engine_version: tuple[int, ...]) -> None:
        self._engine_version = engine_version
        with zipfile.ZipFile(jar) as packed:
            names = packed.namelist()
            apis = [name for name in names if re.fullmatch(rf"{FOLDER}/api/[^_].*\.json", name)]
            self._apis = {name: api for path in apis for name, api in json.loads(packed.read(path)).items()}
            tests = sorted(name for name in names if re.fullmatch(rf"{FOLDER}/test/.*\.ya?ml", name))
            self.cases = [case for path in tests for case in _read_cases(path, packed.read(path))]

    def run(self, case: Case, peer: Peer, cluster: Peer) -> Outcome:
        """Run a case against ``peer`` and wipe ``cluster`` after it."""
        outcome = Outcome()
        run = _Run(self._apis, self._engine_version, peer, outcome)
        try:
            run.take(case.steps)
        except (Skipped, Failed) as end:
            outcome.result, outcome.reason = type(end).__name__.lower(), str(end)
        except Exception as error:  # one file has two APIs in a step
            outcome.result, outcome.reason = "not understood", repr(error)
        finally:
            for step in case.teardown:
                with suppress(Exception):
                    run.take([step])
            _wipe(cluster)
        return outcome


def _read_cases(path: str, text: bytes) -> Iterator[Case]:
    parts = [part for part in yaml.load_all(text, _Loader) if part]
    setup, teardown = (
        [step for part in parts for step in part.get(name, [])] for name in ("setup", "teardown")
    )
    for part in parts:
        for title, steps in part.items():
            if title not in ("setup", "teardown"):
                name = f"{path.removeprefix(f'{FOLDER}/test/')}: {title}"
                yield Case(name, [*setup, *steps], teardown)


def _wipe(cluster: Peer) -> None:
    for target in REMAINS:
        cluster.exchange(ask(f"DELETE {target}"))
    for listed, folder in NAMED_REMAINS.items():
        answer = cluster.exchange(ask(f"GET {listed}"))
        for name in json.loads(answer.body) if answer.status == 200 else ():
            cluster.exchange(ask(f"DELETE {folder}/{quote(name)}"))
    cluster.exchange(ask("PUT /_cluster/settings", NO_SETTINGS))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def _as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def _in_url(value: object) -> str:
    return json.dumps(value) if isinstance(value, bool) else ",".join(map(str, _as_list(value)))


class _Run:
    """One test on its way: its last answer, and what it remembers of earlier ones."""

    def __init__(self, apis: Mapping, engine_version: tuple[int, ...], peer: Peer, outcome: Outcome) -> None:
        self._apis, self._engine_version, self._peer, self._outcome = apis, engine_version, peer, outcome
        self._stash: dict[str, object] = {}
        self._last: object = None
        self._steps = {
            "do": self._do,
            "skip": self._skip,
            "set": self._set,
            "match": self._each(self._expect_match),
            "length": self._each(lambda found, wanted: found is not None and len(found) == int(wanted)),
            "close_to": self._each(lambda found, near: abs(found - near["value"]) <= near["error"]),
            "contains": self._each(lambda found, wanted: any(_has(item, wanted) for item in found or ())),
            "gt": self._each(operator.gt),
            "gte": self._each(operator.ge),
            "lt": self._each(operator.lt),
            "lte": self._each(operator.le),
            "is_true": lambda path: self._expect_truth(path, wanted=True),
            "is_false": lambda path: self._expect_truth(path, wanted=False),
        }

    def take(self, steps: list[Mapping]) -> None:
        for step in steps:
            ((kind, said),) = step.items()
            if kind not in self._steps:
                raise Skipped(f"unknown step {kind}")
            self._steps[kind](said)

    def _skip(self, said: Mapping) -> None:
        for versions in str(said.get("version") or "").split(","):
            first, is_range, last = versions.strip().partition("-")
            within = is_range and _version(first) <= self._engine_version <= (_version(last) or (999,))
            if within or first == "all":
                raise Skipped(f"version {versions}")
        unknown = set(_as_list(said.get("features", []))) - FEATURES
        if unknown:
            raise Skipped(f"features {sorted(unknown)}")

    def _set(self, said: Mapping) -> None:
        self._stash |= {name: self._find(path) for path, name in said.items()}

    def _do(self, said: Mapping) -> None:
        step = {name: value for name, value in said.items() if name not in SAID_BESIDE}
        caught = step.pop("catch", None)
        headers = {name: str(value) for name, value in (step.pop("headers", None) or {}).items()}
        ((name, arguments),) = step.items()
        arguments = self._fill(arguments or {})
        ignored = [int(status) for status in _as_list(arguments.pop("ignore", []))]
        body = arguments.pop("body", None)
        method, target = self._address(name, arguments, has_body=body is not None, caught=caught)
        if caught == "param":
            return  # a mistake that the engines' own client finds
        sent = _encode(name, body)
        if sent:
            headers = {"Content-Type": NDJSON if name in BULKS else JSON} | headers
        answer = self._peer.exchange(ask(f"{method} {target}", sent, headers=headers))
        self._outcome.statuses.append(answer.status)
        self._outcome.n_reranked += answer.header("x-rerank-status") == "applied"
        self._last = _read(method, answer)
        self._judge(answer, caught, ignored, method)

    def _address(self, name: str, arguments: dict, *, has_body: bool, caught: str | None) -> tuple[str, str]:
        """The method, and the target with all arguments in it."""
        if name not in self._apis:
            raise Skipped(f"unknown API {name}")
        paths = self._apis[name]["url"]["paths"]
        paths = [path for path in paths if arguments.keys() >= path.get("parts", {}).keys()]
        if not paths:
            if caught == "param":
                return "", ""
            raise Skipped(f"no path of {name} for {sorted(arguments)}")
        path = max(paths, key=lambda path: len(path.get("parts", ())))
        target = path["path"]
        for part in path.get("parts", ()):
            target = target.replace(f"{{{part}}}", quote(_in_url(arguments.pop(part)), safe=",*"))
        methods = path["methods"]
        wanted = "POST" if has_body and "GET" in methods else "PUT" if name == "index" else methods[0]
        query = "&".join(f"{name}={quote(_in_url(value))}" for name, value in arguments.items())
        return wanted if wanted in methods else methods[0], f"{target}?{query}" if query else target

    def _judge(self, answer: Answer, caught: str | None, ignored: list[int], method: str) -> None:
        told = f"{answer.status} {answer.body[:200]!r}"
        if caught is None:
            if answer.status >= 400 and answer.status not in (*ignored, *([404] if method == "HEAD" else [])):
                raise Failed(told)
        elif caught.startswith("/"):
            pattern = caught.strip("/")
            texts = (answer.body.decode(errors="replace"), json.dumps(self._last))
            if answer.status < 400 or not any(re.search(pattern, text) for text in texts):
                raise Failed(f"{pattern} is not in {told}")
        elif answer.status not in CAUGHT.get(caught, ()):
            raise Failed(f"not {caught}: {told}")

    def _each(self, holds):
        def expect(said: Mapping) -> None:
            for path, wanted in said.items():
                found, wanted = self._find(path), self._fill(wanted)
                try:
                    is_so = holds(found, wanted)
                except TypeError:
                    is_so = False
                if not is_so:
                    raise Failed(f"{path} is {str(found)[:150]!r}, wanted {str(wanted)[:150]!r}")

        return expect

    def _expect_match(self, found: object, wanted: object) -> bool:
        if isinstance(wanted, str) and re.fullmatch(r"\s*/.*/\s*", wanted, re.DOTALL):
            return re.search(wanted.strip()[1:-1], str(found), re.VERBOSE) is not None
        if isinstance(wanted, float | int) and isinstance(found, float | int):
            return abs(found - wanted) < 1e-6
        return found == wanted or str(found) == str(wanted)

    def _expect_truth(self, path: str, *, wanted: bool) -> None:
        found = self._find(path)
        if (found not in (None, False, "", "false", 0)) != wanted:
            raise Failed(f"{path} is {str(found)[:150]!r}")

    def _find(self, path: str) -> object:
        """What stands at ``a.b.0.c`` of the last answer; nothing where the path leads nowhere."""
        found = self._last
        if path in ("$body", ""):
            return found
        for part in re.split(r"(?<!\\)\.", path):
            key = str(self._fill(part.replace("\\.", ".")))
            if isinstance(found, list) and key.isdigit():
                found = found[int(key)] if int(key) < len(found) else None
            elif isinstance(found, dict):
                found = next(iter(found), None) if key == "_arbitrary_key_" else found.get(key)
            else:
                return None
        return found

    def _fill(self, value: object) -> object:
        """``$name`` and ``${name}`` in it replaced by what the test remembers."""
        match value:
            case str() if value.startswith("$") and value[1:].strip("{}") in self._stash:
                return self._stash[value[1:].strip("{}")]
            case str():
                return re.sub(r"\$\{(\w+)\}", lambda name: str(self._stash.get(name[1], name[0])), value)
            case list():
                return [self._fill(item) for item in value]
            case dict():
                return {self._fill(key): self._fill(item) for key, item in value.items()}
        return value


def _has(item: object, wanted: object) -> bool:
    if isinstance(item, dict) and isinstance(wanted, dict):
        return wanted.items() <= item.items()
    return item == wanted


def _encode(name: str, body: object) -> bytes:
    if body is None:
        return b""
    if name not in BULKS:
        return (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [line if isinstance(line, str) else json.dumps(line) for line in _as_list(body)]
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines).encode()


def _read(method: str, answer: Answer) -> object:
    """What the steps look into: a parsed body, or its text, or whether there is anything for a HEAD."""
    if method == "HEAD":
        return answer.status < 300
    kind = answer.header("content-type") or ""
    text = answer.body.decode(errors="replace")
    with suppress(ValueError, yaml.YAMLError):  # of an index with mistakes in its name, say
        if "json" in kind:
            return json.loads(text)
        if "yaml" in kind:
            return yaml.load(text, _Loader)
    return text
