"""``python -m benchmarks.jobs``: a bulk job beside the bare model, and what it holds in memory.

The job runs as users run it: Redis, a worker, the gateway with its runner. The bare model scores the same
pairs in this process, in turns with it.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from benchmarks.queueing import make_model, make_searches
from benchmarks.report import Row, append_report
from demo import settings
from rerankers import FlagAutoReranker
from tests.conftest import find_free_port, find_redis
from tests.processes import running

ROUNDS = 3
SHAPES = {"1 passage a line": (1, 600), "10 passages a line": (10, 60)}
"""Passages a line, lines."""

MANY_PAIRS = int(os.environ.get("MANY_PAIRS", "1000000"))


@dataclass(frozen=True)
class Product:
    """What runs jobs."""

    url: str
    pids: dict[str, int]

    def ask(self, method: str, path: str, body: bytes | None = None) -> dict:
        request = urllib.request.Request(f"{self.url}/_rerank/jobs{path}", body, method=method)
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)

    def run(self, lines: bytes | Path) -> dict:
        """A job of pairs, to its end."""
        job = self.ask("POST", "", json.dumps({"kind": "pairs"}).encode())
        content = lines.read_bytes() if isinstance(lines, Path) else lines
        self.ask("PUT", f"/{job['id']}/input", content)
        while (job := self.ask("GET", f"/{job['id']}"))["state"] not in ("done", "failed"):
            time.sleep(0.5)  # as often as the command looks; each look takes the processor from the model
        assert job["state"] == "done", job
        assert not job["items"]["failed"], job
        return job


@contextmanager
def product(folder: Path, model: Path, worker: str = "worker") -> Iterator[Product]:
    redis_port, port = find_free_port(), find_free_port()
    config = folder / "rerank.toml"
    config.write_text(f'[models.demo]\npath = "{model}"\ndevices = "cpu"\n')
    redis = [
        find_redis(),
        "--port",
        str(redis_port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "yes",
    ]
    ours = ["--redis-url", f"redis://127.0.0.1:{redis_port}/0", "--config", str(config)]
    python = [sys.executable, "-m"]
    commands = {
        "redis": [*redis, "--dir", str(folder)],
        "worker": [*python, worker, *ours, "--cache-ttl-s", "0"],
        "gateway": [
            *[*python, "gateway", *ours, "--bind", f"127.0.0.1:{port}"],
            *["--cluster-url", "http://127.0.0.1:9", "--jobs-folder", str(folder / "jobs")],
        ],
    }
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(running(command, {}, folder / f"{name}.log"))
            for name, command in commands.items()
        }
        found = Product(f"http://127.0.0.1:{port}", {name: one.pid for name, one in processes.items()})
        while True:
            try:
                found.run(b'{"query": "warm", "passage": "up"}\n')
                break
            except OSError:
                time.sleep(0.2)
        yield found


def main() -> int:
    with TemporaryDirectory() as name:
        folder = Path(name)
        rows = []
        for measure in (measure_speed, measure_memory):
            for row in measure(folder):
                print(*row, sep=": ", flush=True)
                rows.append(row)
    print(append_report("bulk jobs", rows))
    return 0


def measure_speed(folder: Path) -> Iterator[Row]:
    """Pairs a second of a job, and of the bare model, in turns."""
    model = make_model(folder / "model")
    bare = FlagAutoReranker.from_finetuned(str(model), devices="cpu", max_length=512)
    with product(folder, model) as jobs:
        for shape, (n_passages, n_lines) in SHAPES.items():
            speeds: dict[str, list[float]] = {"job": [], "bare": []}
            for _ in range(ROUNDS):
                searches = make_searches(n_lines, n_passages)
                pairs = [(query, passage) for query, passages in searches for passage in passages]
                lines = b"".join(
                    json.dumps({"query": query, "passages": passages}).encode() + b"\n"
                    for query, passages in searches
                )
                started = time.monotonic()
                job = jobs.run(lines)
                speeds["job"].append(len(pairs) / (job["ended"] - job["started"]))
                started = time.monotonic()
                bare.compute_score(pairs)
                speeds["bare"].append(len(pairs) / (time.monotonic() - started))
            job_speed, bare_speed = (statistics.median(found) for found in speeds.values())
            ratios = [one / other for one, other in zip(*speeds.values(), strict=True)]
            yield (
                f"a job of pairs, {shape}, of the bare model's speed",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}; "
                f"{job_speed:.0f} and {bare_speed:.0f} pairs/s)",
            )


def measure_memory(folder: Path) -> Iterator[Row]:
    """What each process holds at most during a long job, with a worker whose model takes no time."""
    lines = folder / "lines.ndjson"
    with lines.open("wb") as file:
        for number in range(MANY_PAIRS):
            pair = {"id": number, "query": f"query {number}", "passage": f"passage {number} " * 8}
            file.write(json.dumps(pair).encode() + b"\n")
    with product(folder, settings.base_model_path(), "benchmarks.instant_worker") as jobs:
        job = jobs.ask("POST", "", json.dumps({"kind": "pairs", "concurrency": 4}).encode())
        started = time.monotonic()
        with lines.open("rb") as content:
            request = urllib.request.Request(
                f"{jobs.url}/_rerank/jobs/{job['id']}/input",
                content,
                {"Content-Length": str(lines.stat().st_size)},
                method="PUT",
            )
            urllib.request.urlopen(request, timeout=600).close()
        yield f"input of {MANY_PAIRS:,} lines taken in", f"{time.monotonic() - started:.1f} s"
        seen: dict[str, list[tuple[float, float]]] = {}
        while (job := jobs.ask("GET", f"/{job['id']}"))["state"] not in ("done", "failed"):
            share = job["items"]["done"] / MANY_PAIRS
            for name, megabytes in read_memory(jobs.pids).items():
                seen.setdefault(name, []).append((share, megabytes))
            time.sleep(1.0)
        assert job["items"]["done"] == MANY_PAIRS, job
        speed = MANY_PAIRS / (job["ended"] - job["started"])
        yield f"{MANY_PAIRS:,} pairs, a model that takes no time", f"{speed:.0f} pairs/s"
        for name, moments in seen.items():
            early = max(megabytes for share, megabytes in moments if share < 0.2)
            late = max(megabytes for share, megabytes in moments)
            yield f"memory of {name}: most in the first fifth / in all", f"{early:.0f} / {late:.0f} MB"


def read_memory(pids: dict[str, int]) -> dict[str, float]:
    """Resident megabytes; the gateway's children by what they are."""
    found = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        found[name] = process.memory_info().rss / 1e6
        for child in process.children(recursive=True):
            if child.status() == psutil.STATUS_ZOMBIE:
                continue
            kind = "job runner" if "run-jobs" in child.cmdline() else f"{name}'s child"
            found[kind] = found.get(kind, 0.0) + child.memory_info().rss / 1e6
    return found


if __name__ == "__main__":
    sys.exit(main())
