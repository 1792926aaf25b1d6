"""The alert rules and the dashboard, held against a real Prometheus that scrapes the real processes."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3
import yaml

from tests.conftest import RedisServer, find_free_port, wait_until
from tests.gateway.doubles import ClusterDouble, answer, search_answer
from tests.processes import answers, running

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("promtool"), reason="needs Debian's package prometheus"),
]

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "rerank.json"

ALERTS = {rule["alert"]: rule["expr"] for rule in yaml.safe_load(RULES.read_text())["groups"][0]["rules"]}
PANELS = {
    f"{panel['title']} {target['refId']}": target["expr"].replace("$__rate_interval", "1m")
    for panel in json.loads(DASHBOARD.read_text())["panels"]
    for target in panel["targets"]
}
QUERIES = {**ALERTS, **PANELS}

SILENT = {"RerankWorkerErrors", "Share that falls back A"}
"""Which need failures to have a value, and none happens here."""


def read_names(query):
    """The metrics that a query names."""
    without_texts = re.sub(r'"[^"]*"', "", query)
    return set(re.findall(r"\b(?:rerank_\w+|up)\b", without_texts))


def promtool(*arguments):
    ended = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_rules_are_right():
    promtool("check", "rules", RULES)


def test_each_alert_fires_when_it_should_and_not_else():
    promtool("test", "rules", Path(__file__).with_name("alerts_test.yml"))


def test_no_alert_is_without_a_test_or_without_advice():
    tested = re.findall(
        r"alertname: (\w+)\n +exp_alerts", Path(__file__).with_name("alerts_test.yml").read_text()
    )
    assert sorted(set(tested)) == sorted(ALERTS)
    explained = re.findall(
        r"^\| `(Rerank\w+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE
    )
    assert sorted(explained) == sorted(ALERTS)


def test_the_example_configuration_is_right():
    promtool("check", "config", ROOT / "deploy" / "prometheus" / "prometheus.yml")


class Prometheus:
    """A real one, asked over its API."""

    def __init__(self, url):
        self._url = url

    def ask(self, path, **fields):
        told = urllib3.request("GET", f"{self._url}/api/v1/{path}", fields=fields, timeout=10).json()
        assert told["status"] == "success", told
        return told["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]


@pytest.fixture(scope="module")
def prometheus(reranker_folder, tmp_path_factory):
    """Scrapes each second; searches have been reranked, refused and skipped, and documents scored."""
    folder = tmp_path_factory.mktemp("prometheus")
    ports = {name: find_free_port() for name in ("gateway", "worker", "prometheus", "redis")}
    config = folder / "rerank.toml"
    config.write_text(
        f'[models.tiny]\npath = "{reranker_folder}"\nmax_length = 64\ndevices = "cpu"\n'
        '[models.none]\npath = "nowhere"\n'
        '[[policies]]\nname = "books"\nindices = ["books"]\nmodel = "tiny"\ndeadline_ms = 15000\n'
        '[[policies]]\nname = "films"\nindices = ["films"]\nmodel = "none"\n'
    )
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    scraped["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    scraped["rule_files"] = [str(RULES)]
    for job in scraped["scrape_configs"]:
        port = ports[job["job_name"].removeprefix("rerank-")]
        job["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scraped))
    cluster, redis = ClusterDouble(), RedisServer(ports["redis"])
    cluster.script = lambda received: answer(
        search_answer("a", "b", "c"), headers=["content-type: application/json"]
    )
    redis.start()
    python = [sys.executable, "-m"]
    shared = ["--redis-url", redis.url, "--config", str(config)]
    gateway = [*python, "gateway", *shared, "--cluster-url", cluster.url]
    gateway += ["--bind", f"127.0.0.1:{ports['gateway']}"]
    worker = [*python, "worker", *shared, "--models", "tiny", "--metrics-port", str(ports["worker"])]
    watcher = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    watcher += [
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
    ]
    url = f"http://127.0.0.1:{ports['gateway']}"

    def search(index, number):
        told = urllib3.request("GET", f"{url}/{index}/_search?q=word{number}", retries=False, timeout=30)
        return told.headers["X-Rerank-Status"]

    try:
        with (
            running(gateway, {}, folder / "gateway.log") as gateway_process,
            running(worker, {}, folder / "worker.log") as worker_process,
            running(watcher, {}, folder / "prometheus.log") as watcher_process,
        ):
            wait_until(answers(f"{url}/_rerank/health", gateway_process), timeout_s=60)
            wait_until(answers(f"http://127.0.0.1:{ports['worker']}/metrics", worker_process), timeout_s=120)
            wait_until(
                answers(f"http://127.0.0.1:{ports['prometheus']}/-/ready", watcher_process), timeout_s=60
            )
            prometheus = Prometheus(f"http://127.0.0.1:{ports['prometheus']}")
            wait_until(lambda: search("books", 0) == "applied")
            number = 0
            while not all(prometheus.query(f"rate({name}[1m]) > 0") for name in COUNTED):
                number += 1
                assert number < 300
                search("books", number), search("films", number), search("other", number)
                body = {"query": f"word{number}", "documents": ["a", "b"]}
                urllib3.request("POST", f"{url}/_rerank/v1/rerank", json=body, timeout=30)
            yield prometheus
    finally:
        redis.kill()
        cluster.close()


COUNTED = ("rerank_gateway_searches_total", "rerank_gateway_direct_total", "rerank_worker_jobs_total")


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_every_metric_that_is_named_is_one_that_is_scraped(query, prometheus):
    assert read_names(query)
    missing = {name for name in read_names(query) if not prometheus.query(name)}
    assert missing == set()


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_is_answered(name, prometheus):
    """Alerts without their limits, so that they have values too."""
    query = re.sub(r"(==|>) [\d.]+\s*$", "", QUERIES[name].strip())
    result = wait_until(lambda: prometheus.query(query) or name in SILENT)
    assert result


def test_the_rules_are_loaded_and_what_is_wrong_here_is_told(prometheus):
    """A policy's model is served by nobody."""
    (group,) = prometheus.ask("rules")["groups"]
    assert {rule["name"] for rule in group["rules"]} == set(ALERTS)
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    (told,) = wait_until(
        lambda: [
            one
            for one in prometheus.ask("alerts")["alerts"]
            if one["labels"]["alertname"] == "RerankNoWorker"
        ]
    )
    assert told["labels"]["model"] == "none"


def test_a_misspelt_metric_would_be_found(prometheus):
    assert prometheus.query("rerank_gateway_searches_totl") == []
