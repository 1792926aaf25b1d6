"""``python -m benchmarks.direct``: /v1/rerank beside Infinity's server, the same model, in turns.

Ours is a gateway, Redis and a worker that keeps no scores; Infinity is one process. All on the same cores.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.jobs import product
from benchmarks.queueing import make_model, make_searches, run_clients
from benchmarks.report import Row, append_report
from benchmarks.rerankers import prepare_peer
from tests.conftest import find_free_port
from tests.processes import running

ROUNDS = 3
TRAFFIC = {"1 client": (1, 12), "8 clients": (8, 48)}
"""Clients, and requests in a round."""
SIZES = (10, 50)
"""Documents a request."""


def main() -> int:
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        with product(folder, model) as ours, infinity(folder, model) as theirs:
            servers = {"ours": f"{ours.url}/_rerank/v1/rerank", "Infinity": f"{theirs}/rerank"}
            rows = []
            for row in measure(servers):
                print(*row, sep=": ", flush=True)
                rows.append(row)
    print(append_report("/v1/rerank beside Infinity's server", rows))
    return 0


@contextmanager
def infinity(folder: Path, model: Path) -> Iterator[str]:
    """Its server, with the settings that it has by itself."""
    port = find_free_port()
    command = [str(prepare_peer("infinity").parent / "infinity_emb"), "v2", "--model-id", str(model)]
    command += ["--served-model-name", "demo", "--device", "cpu", "--dtype", "float32"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    with running(command, {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}, folder / "infinity.log") as process:
        url = f"http://127.0.0.1:{port}"
        while True:
            process.expect_running()
            try:
                ask(f"{url}/rerank", ("warm", ("up",)))
                break
            except OSError:
                time.sleep(0.5)
        yield url


def ask(url: str, search: tuple[str, tuple[str, ...]]) -> dict:
    query, documents = search
    body = {"model": "demo", "query": query, "documents": documents}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def measure(servers: Mapping[str, str]) -> Iterator[Row]:
    """Pairs a second, and how long a request takes; whoever is not asked is idle."""
    for size in SIZES:
        for traffic, (clients, count) in TRAFFIC.items():
            speeds: dict[str, list[float]] = {name: [] for name in servers}
            times: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(ROUNDS):
                searches = make_searches(count, size)
                for name, url in servers.items():
                    started = time.monotonic()
                    times[name] += run_clients(clients, searches, lambda search: ask(url, search))  # noqa: B023
                    speeds[name].append(count * size / (time.monotonic() - started))
            ratio = statistics.median(a / b for a, b in zip(*speeds.values(), strict=True))
            told = ", ".join(
                f"{name} {statistics.median(speeds[name]):.0f} pairs/s, "
                f"p50 {1000 * statistics.median(times[name]):.0f} ms"
                for name in servers
            )
            yield f"{size} documents a request, {traffic}", f"{ratio:.2f} times Infinity's speed ({told})"


if __name__ == "__main__":
    sys.exit(main())
