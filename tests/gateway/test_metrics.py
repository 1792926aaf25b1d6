"""What Prometheus is told of searches: over all processes, also those that have ended."""

import os
import signal
import time
from collections import Counter
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from tests.conftest import wait_until
from tests.gateway.doubles import Client, answer, search_answer, start_gateway, stop
from tests.gateway.stub_worker import length_of_each, stub_worker
from worker.contract import Entry, Serving, load_key, serving_key

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


def without_moment(told):
    """Without what changes by itself."""
    return {name: value for name, value in told.items() if not name[0].startswith("rerank_gateway_model_")}


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
    assert without_moment(read_metrics(gateway)) == without_moment(told)


def test_a_gateway_that_ends_leaves_no_files(start, tmp_path):
    gateway = start()
    read_metrics(gateway)
    folders = list(tmp_path.glob("rerank-gateway-*"))
    assert len(folders) == 1
    os.kill(gateway.pid, signal.SIGTERM)
    wait_until(lambda: not folders[0].exists())


def test_what_redis_tells_of_models_is_told_at_the_moment_of_the_question(start, redis_server, wait_until):
    gateway = start()
    assert read_metrics(gateway)["rerank_gateway_model_workers", "tiny"] == 0
    with stub_worker(redis_server.url, length_of_each, workers=2, speed=1000.0):
        with closing(Redis.from_url(redis_server.url)) as redis:
            member = Entry("job", 0, 500, "books").to_member()
            redis.zadd(load_key("tiny"), {member: time.time() + 60})
            redis.hset(serving_key("tiny"), "other", Serving("2", time.time() + 60).to_field())
            redis.rpush("rerank:bulk.tiny", "job")
        told = read_metrics(gateway)
    assert told["rerank_gateway_model_workers", "tiny"] == 3
    assert told["rerank_gateway_model_versions", "tiny"] == 2
    assert told["rerank_gateway_model_load_seconds", "tiny"] == pytest.approx(0.25)
    assert told["rerank_gateway_model_bulk_waiting", "tiny"] == 1
    assert told["rerank_gateway_redis_up",] == told["rerank_gateway_config_ok",] == 1
    redis_server.kill()
    told = read_metrics(gateway)
    assert told["rerank_gateway_redis_up",] == 0
    assert ("rerank_gateway_model_workers", "tiny") not in told
    redis_server.start()


def test_a_wrong_file_is_told(cluster, config, redis_server, tmp_path, wait_until):
    copy = tmp_path / "rerank.toml"
    copy.write_text(config.read_text())
    process, port = start_gateway(cluster.url, copy, redis_server.url)
    try:
        copy.write_text("[")
        wait_until(lambda: read_metrics(Client(port, process.pid))["rerank_gateway_config_ok",] == 0)
    finally:
        stop(process)
