"""The documentation says what is true: links lead somewhere, examples are real, tables are whole."""

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from gateway.__main__ import COMMANDS
from gateway.cluster_settings import ClusterSettings, name_flag
from gateway.settings import read_config
from search_plugin import Experiment, Policy, Reason
from worker.settings import ModelSettings, RerankFile

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "demo").rglob("*.md")])


def read_examples(language):
    """The fenced blocks of one language on all pages."""
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL))
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_inside_the_repository_lead_somewhere(page):
    """Links to the web are not followed."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("example", read_examples("toml"))
def test_configuration_examples_are_read_by_gateway_and_worker(example, tmp_path):
    """Both read the same file."""
    file = tmp_path / "rerank.toml"
    file.write_text(example)
    assert read_config(file)
    assert RerankFile.model_validate(tomllib.loads(example)).models


@pytest.mark.parametrize("example", read_examples("python"))
def test_python_examples_compile(example):
    """They are run against the product in tests/system."""
    compile(example, "example", "exec")


@cache
def read_help(module):
    """What ``python -m`` with these words says of itself; some take seconds to begin."""
    command = [sys.executable, "-m", *module.split(), "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


@pytest.mark.parametrize("example", read_examples("sh"))
def test_shell_examples_name_commands_and_options_that_exist(example):
    """Each `make` target is in the Makefile, each flag of `python -m …` in its help."""
    for target in re.findall(r"make ([a-z-]+)", example):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
    of_gateway = "|".join(f" {command}" for command in COMMANDS)
    of_rerankers = "info|bench|score|evaluate|finetune|merge|versions"
    names = rf"gateway(?:{of_gateway})?|worker.monitor|worker|rerankers (?:{of_rerankers})|relevance \w+"
    commands = rf"python -m ({names})([^#\n]*)"
    for module, arguments in re.findall(commands, example):
        help_text = read_help(module)
        assert not [flag for flag in re.findall(r"--[a-z-]+", arguments) if flag not in help_text]


def test_every_reason_is_explained():
    """And no reason that does not exist."""
    explained = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / "reasons.md").read_text(), re.MULTILINE)
    assert sorted(explained) == sorted(reason.value for reason in Reason)


@pytest.mark.parametrize(
    ("heading", "model"), [("Policies", Policy), ("Models", ModelSettings)], ids=["policy", "model"]
)
def test_every_option_of_the_file_is_explained(heading, model):
    """And no option that does not exist."""
    section = (ROOT / "docs" / "policies.md").read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    explained = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(explained) == sorted(model.model_fields)


def test_every_option_of_experiments_is_explained():
    """And no option that does not exist."""
    section = (ROOT / "docs" / "experiments.md").read_text().split("## Options\n")[1].split("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(Experiment.model_fields)


def test_every_option_of_the_cluster_is_explained():
    """And no option that does not exist."""
    cells = re.findall(r"^\| (`--[^|]+) \|", (ROOT / "docs" / "cluster.md").read_text(), re.MULTILINE)
    explained = [name for cell in cells for name in re.findall(r"`(--[\w-]+)`", cell)]
    existing = [*ClusterSettings.model_fields, "publish_address"]
    assert sorted(explained) == sorted(name_flag(option) for option in existing)


def test_compose_file_gives_both_processes_the_same_valid_file():
    """deploy/rerank.toml is what compose.yaml mounts."""
    assert "./deploy/rerank.toml:/etc/rerank.toml" in (ROOT / "compose.yaml").read_text()
    assert [policy.name for policy in read_config(ROOT / "deploy" / "rerank.toml").policies] == ["pydocs"]
