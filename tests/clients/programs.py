"""The programs of the story, one a language and engine: what they need, how they are built and run.

Everything that is built lies under var/clients/ and is built again only when its sources have changed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from demo import settings

SOURCES = settings.ROOT / "tests" / "clients"
BUILT = settings.ROOT / "var" / "clients"


@dataclass(frozen=True)
class Tool:
    """A command that a language needs, and where it comes from."""

    command: str
    package: str
    version_argument: str = "--version"
    min_version: int = 0

    def find_lack(self):
        """What is wrong with it on this machine; None if nothing is."""
        if not shutil.which(self.command):
            return f"{self.command} is missing. On Debian or Ubuntu: sudo apt-get install {self.package}"
        told = subprocess.run(
            [self.command, self.version_argument], capture_output=True, text=True, check=True
        ).stdout
        version = re.search(r"(?:go1\.)?(\d+)", told)
        if version is None or int(version[1]) < self.min_version:
            return f"{self.command} is too old, {self.min_version} is needed: {told.strip()}"
        return None


@dataclass(frozen=True)
class Language:
    """One family of programs.

    Attributes:
        folder: of the sources; what is built from them is in the folder of the same name.
        command: engine → what runs the story there.
        build: a command run there, with the sources copied.
    """

    folder: str
    command: Callable[[str], list[str]]
    build: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


MAVEN, JAVAC = Tool("mvn", "maven"), Tool("javac", "default-jdk-headless", min_version=17)
NODE, NPM = Tool("node", "nodejs npm", min_version=18), Tool("npm", "npm")
GO = Tool("go", "golang-go", "version", min_version=21)  # it gets a newer one itself where go.mod wants that

OLDER_PYTHON = ["-m", "uv", "pip", "install", "--quiet", "--target", "older", "--requirement", "older.txt"]
JAVA_PATH = f"target/classes{os.pathsep}target/lib/*"
JAVA_STORIES = {"opensearch": "stories.OpenSearchStory", "elasticsearch": "stories.ElasticsearchStory"}

LANGUAGES = {
    "python": Language(
        folder="python",
        command=lambda engine: [sys.executable, f"story_{engine}.py"],
    ),
    "older python": Language(
        folder="python",
        build=(sys.executable, *OLDER_PYTHON),
        command=lambda engine: [sys.executable, f"story_{engine}.py"],
        environment={"PYTHONPATH": "older"},
    ),
    "javascript": Language(
        folder="javascript",
        tools=(NODE, NPM),
        build=("npm", "ci", "--no-audit", "--no-fund", "--silent"),
        command=lambda engine: ["node", f"story_{engine}.js"],
    ),
    "java": Language(
        folder="java",
        tools=(MAVEN, JAVAC),
        build=("mvn", "--batch-mode", "--quiet", "package"),
        command=lambda engine: ["java", "-cp", JAVA_PATH, JAVA_STORIES[engine]],
    ),
    "go": Language(
        folder="go",
        tools=(GO,),
        # one of the clients is large: it is compiled sooner when nothing is optimised
        build=("go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", "bin/", "./..."),
        command=lambda engine: [f"bin/{engine}"],
    ),
}


def run_story(name, engine, url, index):
    """Run the program of a language, built if need be; what it told."""
    language = LANGUAGES[name]
    _expect(language.tools)
    _build(language)
    ended = subprocess.run(
        language.command(engine),
        env=os.environ | dict(language.environment) | {"STORY_URL": url, "STORY_INDEX": index},
        cwd=BUILT / language.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def _expect(tools):
    """Skip the test where a tool is missing; in CI, where it can be installed, that is a failure."""
    lacks = [lack for tool in tools if (lack := tool.find_lack())]
    if lacks:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("; ".join(lacks))


def _build(language):
    sources, built = SOURCES / language.folder, BUILT / language.folder
    files = sorted(file for file in sources.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    digest = hashlib.sha256(repr(language.build).encode())
    for file in files:
        digest.update(str(file.relative_to(sources)).encode() + file.read_bytes())
    stamp = built / f".built-{digest.hexdigest()[:16]}"
    if stamp.exists():
        return
    for file in files:
        copy = built / file.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    if language.build:
        ended = subprocess.run(language.build, cwd=built, capture_output=True, text=True)
        assert ended.returncode == 0, f"{language.build}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    stamp.touch()
