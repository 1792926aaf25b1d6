"""Bulk jobs on real processes: Redis with an append-only file, a worker with a tiny reranker, the gateway."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import urllib3
from redis import Redis

from tests.conftest import answers_ping, find_free_port, find_redis, wait_until
from tests.processes import Process, answers, running

NOWHERE = "http://127.0.0.1:9"


class Product:
    """The processes that run jobs; each may be killed and started again."""

    def __init__(
        self, folder: Path, model: Path, cluster_url: str = NOWHERE, *, runs_jobs: bool = True, **flags: str
    ) -> None:
        redis_port, port = find_free_port(), find_free_port()
        self.redis_url = f"redis://127.0.0.1:{redis_port}/0"
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        config = folder / "rerank.toml"
        config.write_text(
            f"""
            [models.tiny]
            path = "{model}"
            max_length = 64
            devices = "cpu"

            [[policies]]
            name = "pages"
            indices = ["pages*"]
            model = "tiny"
            passage_fields = ["title", "body"]
            window = 20
            """
        )
        redis = [find_redis(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
        redis += ["--appendonly", "yes", "--dir", str(folder)]
        ours = {"redis-url": self.redis_url, "config": str(config)}
        gateway = {
            **ours,
            "bind": f"127.0.0.1:{port}",
            "cluster-url": cluster_url,
            "jobs-folder": str(folder / "jobs"),
            **{name.replace("_", "-"): value for name, value in flags.items()},
        }
        self._commands = {
            "redis": redis,
            "worker": [*_python("worker", ours), "--visibility-timeout-s", "5"],
            "gateway": _python("gateway", gateway) + ([] if runs_jobs else ["--job-runner", "false"]),
        }
        self._stack = ExitStack()
        self.processes: dict[str, Process] = {}

    def start(self, *names: str) -> Product:
        for name in names or self._commands:
            log = self.folder / f"{name}.log"
            self.processes[name] = self._stack.enter_context(running(self._commands[name], {}, log))
            if name == "redis":
                with closing(Redis.from_url(self.redis_url)) as client:
                    wait_until(lambda client=client: answers_ping(client))
            if name == "gateway":
                wait_until(answers(f"{self.url}/_rerank/health", self.processes[name]), timeout_s=60)
        return self

    def kill(self, name: str) -> None:
        self.processes[name].send(signal.SIGKILL)

    def close(self) -> None:
        self._stack.close()

    def ask(self, method: str, path: str = "", body: object = None, **headers: str):
        """Status and answer of the jobs API; bytes go as they are."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = f"{self.url}/_rerank/jobs{path}"
        answer = urllib3.request(method, url, body=content, headers=headers, retries=False, timeout=30.0)
        return answer.status, answer.json()

    def create(self, spec: dict, lines: bytes | None = None) -> str:
        status, job = self.ask("POST", body=spec)
        assert status == 201, job
        if lines is not None:
            status, told = self.ask("PUT", f"/{job['id']}/input", lines)
            assert status == 200, told
        return job["id"]

    def wait_for(self, job_id: str, *states: str, timeout_s: float = 60.0) -> dict:
        """The job, once it is in one of the states."""

        def look():
            _, job = self.ask("GET", f"/{job_id}")
            return job if job["state"] in (states or ("done", "failed", "cancelled")) else None

        return wait_until(look, timeout_s)

    def wait_until_round(self, job_id: str, number: int) -> None:
        wait_until(lambda: self.ask("GET", f"/{job_id}")[1]["round"] == number)

    def download(self, job_id: str, name: str = "results", form: str = "ndjson") -> str:
        url = f"{self.url}/_rerank/jobs/{job_id}/{name}?format={form}"
        answer = urllib3.request("GET", url, retries=False, timeout=30.0)
        assert answer.status == 200, answer.data
        return answer.data.decode()

    def rows(self, job_id: str, name: str = "results") -> list[dict]:
        return [json.loads(line) for line in self.download(job_id, name).splitlines()]


def _python(module: str, flags: dict[str, str]) -> list[str]:
    words = [word for flag, value in flags.items() for word in (f"--{flag}", value)]
    return [sys.executable, "-m", module, *words]


def to_lines(*items: object) -> bytes:
    return b"".join(
        item + b"\n" if isinstance(item, bytes) else json.dumps(item).encode() + b"\n" for item in items
    )


@pytest.fixture(scope="session")
def product(reranker_folder, tmp_path_factory):
    """One that all tests share who kill nothing."""
    product = Product(tmp_path_factory.mktemp("jobs"), reranker_folder).start()
    yield product
    product.close()


@pytest.fixture(scope="session")
def searching(node, reranker_folder, tmp_path_factory):
    """A product in front of a real node."""
    folder = tmp_path_factory.mktemp(f"jobs-{node.name}")
    product = Product(folder, reranker_folder, node.url, jobs_secret="a text").start()
    yield product
    product.close()


def pytest_generate_tests(metafunc):
    if "node" in metafunc.fixturenames:
        metafunc.parametrize("node", ["opensearch", "elasticsearch"], indirect=True, scope="session")
