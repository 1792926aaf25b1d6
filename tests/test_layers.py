"""The direction of imports between the packages, held against a table."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# package: modules of ours that it may import beside its own
OURS = {
    "search_plugin": set(),
    "relevance": set(),
    "rerankers": {"relevance"},
    "worker": {"rerankers"},
    "gateway": {"search_plugin", "worker.contract", "relevance"},
}

# library: the packages that may import it
ONLY_IN = {
    "flask": {"gateway"},
    "werkzeug": {"gateway"},
    "gunicorn": {"gateway"},
    "httptools": {"gateway"},
    "botocore": {"gateway"},
    "celery": {"gateway", "worker"},
    "kombu": {"gateway", "worker"},
    "redis": {"gateway", "worker"},
    "torch": {"rerankers"},
    "transformers": {"rerankers"},
    "peft": {"rerankers"},
    "safetensors": {"rerankers"},
    "opentelemetry": {"worker"},
    "ir_measures": {"relevance"},
    "scipy": {"relevance"},
    "matplotlib": {"relevance"},
    "bm25s": {"relevance"},
}

# package: all that it may import beside the standard library and what OURS grants
PURE = {"search_plugin": {"pydantic"}}


def find_imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imported modules, wherever in the file; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def find_breaches(package: str, source: str) -> list[str]:
    """The imports of a file of ``package`` that the tables forbid."""
    return [name for name in find_imports(ast.parse(source)) if not _is_allowed(package, name)]


def _is_allowed(package: str, name: str) -> bool:
    top = name.partition(".")[0]
    if top == package:
        return True
    if top in OURS:
        return any(f"{name}.".startswith(f"{granted}.") for granted in OURS[package])
    if package in PURE:
        return top in PURE[package] or top in sys.stdlib_module_names
    return package in ONLY_IN.get(top, {package})


@pytest.mark.parametrize("package", OURS)
def test_packages_import_in_one_direction(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    breaches = {str(file): find_breaches(package, file.read_text(encoding="utf-8")) for file in files}
    assert {file: names for file, names in breaches.items() if names} == {}


@pytest.mark.parametrize(
    ("package", "source"),
    [
        pytest.param("gateway", "import worker.tasks", id="the gateway runs no worker"),
        pytest.param("gateway", "from worker import contract, tasks", id="hidden in a list"),
        pytest.param("gateway", "from rerankers import FlagAutoReranker", id="the gateway loads no model"),
        pytest.param("gateway", "def f():\n    import torch", id="nor inside a function"),
        pytest.param("worker", "import gateway.app", id="the worker knows no gateway"),
        pytest.param("worker", "from torch import nn", id="tensors stop at rerankers"),
        pytest.param("gateway", "from opentelemetry import trace", id="one module knows how traces are told"),
        pytest.param("search_plugin", "from worker.contract import ScoreJob", id="a leaf knows nothing"),
        pytest.param("search_plugin", "import flask.json", id="pure means no libraries"),
        pytest.param("rerankers", "import worker", id="a library knows no worker"),
        pytest.param("relevance", "import rerankers", id="files know no model"),
        pytest.param("gateway", "import ir_measures", id="measuring is relevance's"),
    ],
)
def test_a_breach_is_found(package, source):
    assert find_breaches(package, source)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("gateway.app", {"torch", "transformers", "peft", "rerankers", "worker.tasks", "celery.worker"}),
        ("gateway.app", {"relevance", "numpy", "scipy", "ir_measures"}),
        (
            "gateway.commands.evaluate",
            {"torch", "transformers", "rerankers", "worker.tasks", "celery.worker"},
        ),
        ("gateway.commands.mine", {"torch", "transformers", "rerankers", "worker.tasks", "celery.worker"}),
        ("relevance.options", {"scipy", "ir_measures", "matplotlib", "bm25s", "torch", "flask", "redis"}),
        ("gateway.cluster", {"botocore"}),
        ("gateway.__main__", {"torch", "transformers", "peft", "rerankers", "worker.tasks", "celery.worker"}),
        ("search_plugin", {"flask", "celery", "redis", "httptools", "torch"}),
        ("worker.contract", {"flask", "celery", "redis", "torch"}),
        ("worker.contract.traces", {"opentelemetry"}),
        # where it is installed, redis-py loads a part of it by itself
        ("gateway.wsgi", {"opentelemetry.sdk.trace", "opentelemetry.exporter", "worker.contract.otel"}),
        ("worker.__main__", {"opentelemetry.sdk.trace", "opentelemetry.exporter", "worker.contract.otel"}),
    ],
)
def test_what_a_fresh_interpreter_loads(module, absent):
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert absent & set(ended.stdout.split()) == set()
