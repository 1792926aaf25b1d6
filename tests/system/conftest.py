"""The whole product on this machine: a real engine, Redis, worker with the demo's model, and gateway."""

import json
import sys
from dataclasses import dataclass
from functools import partial
from itertools import count

import pytest
import urllib3

from demo import settings
from tests.conftest import find_free_port, wait_until
from tests.processes import Engine, Process, answers, running

ENGINES = ("opensearch", "elasticsearch")
WINDOW = 20
DEADLINE_MS = 15_000  # whatever else runs on the machine

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
numbers = count()


def new_query():
    """One whose scores nobody knows yet; it finds what `QUERY` finds."""
    return f"{QUERY} zzq{next(numbers)}"


def pytest_generate_tests(metafunc):
    if "node" in metafunc.fixturenames:
        engines = getattr(metafunc.module, "ONLY_ON", ENGINES)
        metafunc.parametrize("node", engines, indirect=True, scope="session")


@pytest.fixture(scope="session")
def engine(node):
    """A real node with the documents in the index ``pages`` (loaded without the gateway)."""
    load(node.url)
    return node


def load(url):
    lines = []
    for id, body in DOCUMENTS.items():
        lines += [{"index": {"_index": "pages", "_id": id}}, {"title": id, "body": body}]
    ndjson = "".join(json.dumps(line) + "\n" for line in lines)
    create = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}}
    patient = partial(urllib3.request, retries=False, timeout=60.0)  # a node just started on a busy machine
    assert patient("PUT", f"{url}/pages", json=create).status == 200
    ndjson_type = {"Content-Type": "application/x-ndjson"}
    bulk = patient("POST", f"{url}/_bulk?refresh=true", body=ndjson, headers=ndjson_type)
    assert bulk.json()["errors"] is False


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    """A rerank.toml with the demo's real model."""
    return write_config(tmp_path_factory.mktemp("config"), window=WINDOW, deadline_ms=DEADLINE_MS)


def write_config(folder, *, window, deadline_ms):
    file = folder / "rerank.toml"
    file.write_text(f"""
        [models.demo]
        path = "{settings.base_model_path()}"
        peft_path = "{settings.ADAPTER}"
        max_length = {settings.PAIR_TOKENS}

        [[policies]]
        name = "pages"
        indices = ["pages*"]
        model = "demo"
        passage_fields = ["title", "body"]
        window = {window}
        deadline_ms = {deadline_ms}
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
        wait_until(
            lambda: self.search(match(new_query())).headers["X-Rerank-Status"] == "applied", timeout_s=90
        )


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
