"""Judged queries against a real cluster, Redis and a worker whose scores are known: a passage's length."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3

from tests.conftest import find_free_port, wait_until
from tests.gateway.doubles import ClusterDouble, answer
from tests.processes import running

ENGINES = ("opensearch", "elasticsearch")
DOCUMENTS = {
    "rmtree": "delete a folder and all its files, however deep they lie",
    "remove": "delete delete delete",
    "rmdir": "delete a folder, which must be empty of files",
    "unlink": "delete a file",
    "sort": "sort a list in place, by a key if there is one",
    "sorted": "sort a list",
    "shuffle": "sort of a list without order",
    "far": "a text that no query of ours finds and that somebody judged",
}
CONFIG = """
[models.length]
path = "somewhere"

[models.unserved]
path = "elsewhere"

[[policies]]
name = "guides"
indices = ["guides"]
model = "length"
passage_fields = ["body"]
window = 20

[[policies]]
name = "narrow"
indices = ["guides"]
model = "length"
passage_fields = ["body"]
window = 2
deadline_ms = 1

[[policies]]
name = "unserved"
indices = ["guides"]
model = "unserved"
passage_fields = ["body"]
"""


@dataclass(frozen=True)
class Commands:
    """Runs the gateway's commands against the real parts."""

    folder: Path
    cluster_url: str
    redis_url: str

    def run(self, *words: object, **flags: str) -> subprocess.CompletedProcess:
        options = {
            "cluster-url": self.cluster_url,
            "redis-url": self.redis_url,
            "config": str(self.folder / "rerank.toml"),
            **flags,
        }
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        command = [sys.executable, "-m", "gateway", *map(str, words), *given]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)


def pytest_generate_tests(metafunc):
    if "node" in metafunc.fixturenames:
        metafunc.parametrize("node", ENGINES, indirect=True, scope="session")


@pytest.fixture(scope="session")
def cluster_url(node):
    """A node with the documents in the index ``guides``, that is no other test's."""
    lines = []
    for id, body in DOCUMENTS.items():
        lines += [{"index": {"_index": "guides", "_id": id}}, {"body": body}]
    ndjson = "".join(json.dumps(line) + "\n" for line in lines)

    def ask(method, path, **more):
        return urllib3.request(method, node.url + path, retries=3, timeout=60.0, **more)

    assert ask("PUT", "/guides", json={"settings": {"number_of_shards": 1}}).status == 200
    kind = {"Content-Type": "application/x-ndjson"}
    assert ask("POST", "/_bulk?refresh=true", body=ndjson, headers=kind).json()["errors"] is False
    return node.url


@pytest.fixture(scope="session")
def commands(cluster_url, redis_url, reranker_folder, tmp_path_factory):
    """The commands, with a worker that serves the model ``length``."""
    from redis import Redis

    from worker.contract import serving_key

    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "rerank.toml").write_text(CONFIG)
    (folder / "worker.toml").write_text(f'[models.length]\npath = "{reranker_folder}"\n')
    worker = [sys.executable, "-m", "tests.worker.scripted_worker", "--redis-url", redis_url]
    worker += ["--config", str(folder / "worker.toml")]
    with running(worker, {}, folder / "worker.log") as process, Redis.from_url(redis_url) as redis:
        wait_until(lambda: process.expect_running() and redis.exists(serving_key("length")), timeout_s=90)
        yield Commands(folder, cluster_url, redis_url)


@pytest.fixture
def forbidding():
    """The address of a cluster that grants nothing."""
    reason = {"type": "security_exception", "reason": "no permissions for [indices:data/read/search]"}
    body = json.dumps({"error": {**reason, "root_cause": [reason]}, "status": 403}).encode()
    double = ClusterDouble()
    double.script = lambda received: answer(body, "403 Forbidden", ["content-type: application/json"])
    yield double.url
    double.close()


@pytest.fixture
def nowhere():
    """An address that nobody is at."""
    return f"127.0.0.1:{find_free_port()}"
