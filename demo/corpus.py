"""Turns the docstrings of the running interpreter's standard library into the documents of the demo.

`read_corpus` is for callers: it works in a process of its own, since hundreds of modules are imported for it.
"""

import builtins
import contextlib
import functools
import importlib
import inspect
import io
import json
import os
import pkgutil
import re
import subprocess
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from types import ModuleType
from typing import Any

MAX_BODY_CHARS = 4000
MAX_SIGNATURE_CHARS = 160
MIN_BODY_CHARS = 15

SKIPPED_MODULES = re.compile(
    r"""
    _.*                                                        # private
    | antigravity | this                                       # do something when imported
    | idlelib | tkinter | turtle | turtledemo                  # open windows
    | ensurepip | distutils | lib2to3 | test | tests           # install, build, test
    | encodings | pydoc_data | opcode                          # tables
    | compression | nt | posix | ntpath | posixpath            # better known under other names
    | nturl2path | genericpath | pyexpat
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Document:
    """One entry of the documentation; `id` is a full name ("shutil.rmtree") or "topic:<name>"."""

    id: str
    kind: str
    title: str
    body: str
    module: str
    also: tuple[str, ...] = ()
    """Other names with the same text; which of them is the id may change with the interpreter's version."""


def read_corpus() -> list[Document]:
    """All documents, ordered by id; the same list every time on the same interpreter."""
    child = subprocess.run(
        [sys.executable, "-P", "-s", "-W", "ignore", __file__],
        env={**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    entries = (json.loads(line) for line in child.stdout.splitlines())
    return [Document(**{**entry, "also": tuple(entry["also"])}) for entry in entries]


def build_corpus() -> list[Document]:
    """What `read_corpus` returns, by importing the standard library into this process."""
    found = [*topics(), *(document for name in module_names() for document in documents_of(name))]
    by_body: dict[str, list[Document]] = {}
    for _, document in sorted(found, key=lambda pair: (pair[0], len(pair[1].id), pair[1].id)):
        by_body.setdefault(document.body, []).append(document)
    by_id = {
        best.id: replace(best, also=tuple(sorted({document.id for document in rest} - {best.id})))
        for body, (best, *rest) in by_body.items()
        if len(body) >= MIN_BODY_CHARS
    }
    return [by_id[id] for id in sorted(by_id)]


def topics() -> Iterator[tuple[bool, Document]]:
    """The chapters of the language reference that `help()` knows."""
    texts = importlib.import_module("pydoc_data.topics").topics
    for name, chapter in sorted(texts.items()):
        heading, _, body = chapter.strip().partition("\n")
        body = re.sub(r"\A\n*[*=~^-]+\n+", "", body)
        yield False, Document(f"topic:{name}", "topic", heading, clean(body), f"topic:{name}")


def module_names() -> list[str]:
    """The public modules of the standard library, packages' submodules included."""
    names = {name for name in sys.stdlib_module_names if is_wanted(name)}
    for name in sorted(names):
        module = import_quietly(name)
        if hasattr(module, "__path__"):
            walk = pkgutil.walk_packages(module.__path__, f"{name}.", onerror=lambda _: None)
            with quiet():
                names.update(found.name for found in walk if is_wanted(found.name))
    return sorted(names | {"os.path"})


def is_wanted(name: str) -> bool:
    return not any(SKIPPED_MODULES.fullmatch(part) for part in name.split("."))


def documents_of(name: str) -> Iterator[tuple[bool, Document]]:
    """The module and what is public in it with its members, each marked when it is an alias or inherited."""
    module = import_quietly(name)
    if name != "builtins":
        yield False, Document(name, "module", name, clean(module.__doc__), name.partition(".")[0])
    for attribute in public_names(name):
        value = getattr(module, attribute, None)
        alias = is_alias(value, attribute, name)
        for inherited, document in documents_of_value(
            attribute if name == "builtins" else f"{name}.{attribute}", value
        ):
            yield alias or inherited, document


@functools.cache
def public_names(module_name: str) -> list[str]:
    module = import_quietly(module_name)
    return sorted(getattr(module, "__all__", None) or (n for n in vars(module) if not n.startswith("_")))


def is_alias(value: object, attribute: str, module_name: str) -> bool:
    """Has the value a public name of its own that is not this one?

    What is defined in a private module ("_io.StringIO") has no other name than its public ones.
    """
    home, name = (text(getattr(value, key, None)) for key in ("__module__", "__name__"))
    home, name = home or module_name, name or attribute
    if getattr(builtins, name, None) is value:
        home = "builtins"
    is_public = (
        is_wanted(home) and name in public_names(home) and getattr(import_quietly(home), name, None) is value
    )
    return is_public and (home, name) != (module_name, attribute)


def documents_of_value(id: str, value: Any) -> Iterator[tuple[bool, Document]]:
    module = text(getattr(value, "__module__", None)) or id.rpartition(".")[0] or "builtins"
    if isinstance(value, type):
        kind = "exception" if module == "builtins" and issubclass(value, BaseException) else "class"
        title = id if kind == "exception" else id + signature(value)
        yield False, Document(id, kind, title, clean(vars(value).get("__doc__")), module)
        for name, member in sorted(members_of(value).items()):
            for document in documents_of_member(f"{id}.{name}", member, module):
                yield name not in vars(value), document
    elif callable(value) and (value.__doc__ != type(value).__doc__ or not is_wanted(type(value).__module__)):
        kind = "function" if inspect.isroutine(value) else "attribute"
        yield False, Document(id, kind, id + signature(value), clean(value.__doc__), module)


def members_of(cls: type) -> dict[str, Any]:
    """Its own public methods and attributes, and those of private base classes, which are public only so."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base is cls or not is_wanted(f"{text(base.__module__)}.{base.__name__}"):
            for name, member in vars(base).items():
                if not name.startswith("_") and (name not in members or text(member.__doc__)):
                    members[name] = member
    return members


def documents_of_member(id: str, member: Any, module: str) -> Iterator[Document]:
    if inspect.isdatadescriptor(member) or isinstance(member, functools.cached_property):
        yield Document(id, "attribute", id, clean(member.__doc__), module)
    elif inspect.isroutine(member) or isinstance(member, staticmethod | classmethod):
        member = getattr(member, "__func__", member)
        yield Document(id, "method", id + signature(member), clean(member.__doc__), module)


def signature(value: Any) -> str:
    """ "(path, ignore_errors=False)", nothing where the interpreter does not know it."""
    try:
        shown = str(inspect.signature(value))
    except Exception:  # beside ValueError and TypeError whatever evaluating a C function's default raises
        return ""
    shown = re.sub(r" at 0x[0-9a-fA-F]+", "", shown).replace(repr(sys.executable), "sys.executable")
    return shown if len(shown) <= MAX_SIGNATURE_CHARS else "(...)"


def clean(docstring: object) -> str:
    """The docstring without its indentation and without runs of empty lines."""
    cleaned = re.sub(r"\n\s*\n\s*\n", "\n\n", inspect.cleandoc(text(docstring)))
    return cleaned.strip()[:MAX_BODY_CHARS].rstrip()


def text(value: object) -> str:
    """The value where it is a string: a few objects of the library answer to any name with something else."""
    return value if isinstance(value, str) else ""


@functools.cache
def import_quietly(name: str) -> ModuleType:
    """The module, an empty one where it cannot be had on this platform."""
    with quiet(), contextlib.suppress(Exception, SystemExit):
        return importlib.import_module(name)
    return ModuleType(name, "")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    sink = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        warnings.simplefilter("ignore")
        yield


def write_corpus(documents: Iterable[Document]) -> None:
    """One JSON object a line on standard output."""
    for document in documents:
        print(json.dumps(asdict(document), ensure_ascii=False))


if __name__ == "__main__":
    write_corpus(build_corpus())
