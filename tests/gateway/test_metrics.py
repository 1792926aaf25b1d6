"""What Prometheus is told of searches: over all processes, also those that have ended."""

import os
import signal
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import wait_until
from tests.gateway.doubles import Client, answer, search_answer, start_gateway, stop
from tests.gateway.stub_worker import length_of_each, stub_worker

pytestmark = pytest.mark.system

PROCESSES = 2
HITS = ("a", "bbb", "cc")


@pytest.fixture
def start(cluster, config, redis_server, tmp_path, monkeypatch):
    """Starts a gateway of several processes; its temporary files are in ``tmp_path``."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    started = []

    def start():
        process, port = start_gateway(cluster.url, config, redis_server.url, workers=str(PROCESSES))
        started.append(process)
        return Client(port, process.pid)

    yield start
    for process in started:
        stop(process)


def read_metrics(gateway):
    status, _, body = gateway.request("GET", "/_rerank/metrics")
    assert status == 200
    families = text_string_to_metric_families(body.decode())
    return {
        (sample.name, *(value for name, value in sorted(sample.labels.items(), reverse=True))): sample.value
        for family in families
        for sample in family.samples
    }


def test_searches_of_all_processes_are_counted(start, cluster, redis_server, tmp_path):
    cluster.script = lambda received: answer(search_answer(*HITS))
    gateway = start()
    counted = Counter()

    def search(query):
        told = dict(gateway.request("GET", f"/books/_search?q={query}")[1])
        counted[
            "rerank_gateway_searches_total", told["X-Rerank-Status"], told.get("X-Rerank-Reason", "")
        ] += 1
        return told["X-Rerank-Status"]

    with stub_worker(redis_server.url, length_of_each):
        assert [search(f"wine{number}") for number in range(20)] == ["applied"] * 20
    assert search("wine&rerank=false") == "skipped"
    wait_until(lambda: search("wine") == "failed")
    told = read_metrics(gateway)
    assert {name: value for name, value in told.items() if name[0].endswith("searches_total")} == counted
    assert told["rerank_gateway_pairs_total", "worker"] % len(HITS) == 0
    assert told["rerank_gateway_pairs_total", "worker"] >= 20 * len(HITS)
    assert told["rerank_gateway_pairs_total", "cache"] == 0
    assert told["rerank_gateway_stage_seconds_count", "queue"] >= 20
    one = gateway.find_children()[0]
    os.kill(one, signal.SIGKILL)
    wait_until(lambda: one not in gateway.find_children() and len(gateway.find_children()) == PROCESSES)
    assert read_metrics(gateway) == told


def test_a_gateway_that_ends_leaves_no_files(start, tmp_path):
    gateway = start()
    read_metrics(gateway)
    folders = list(tmp_path.glob("rerank-gateway-*"))
    assert len(folders) == 1
    os.kill(gateway.pid, signal.SIGTERM)
    wait_until(lambda: not folders[0].exists())
