"""From a new version to its promotion: a real worker, a gateway of two processes, Redis, commands."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from rerankers import Versions
from tests.conftest import wait_until
from tests.gateway.doubles import Client, answer, search_answer, start_gateway, stop
from tests.processes import running

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
TITLES = ("sort list by key", "delete a folder", "parse text", "how to delete all files", "key")
TOML = """
[models.tiny]
versions = "versions"
max_length = 64
devices = "cpu"

[[policies]]
name = "books"
indices = ["books"]
model = "tiny"
passage_fields = ["title"]
deadline_ms = 10000

[[experiments]]
name = "new-model"
policy = "books"
arms = ["policy", "tiny@v2", "first_stage"]
unit = "cookie:sid"
"""


@pytest.fixture
def versions(reranker_folder, tmp_path):
    """Version v2 of the tiny model has the opposite opinion of everything."""
    from transformers import AutoModelForSequenceClassification

    opposite = shutil.copytree(reranker_folder, tmp_path / "trained")
    model = AutoModelForSequenceClassification.from_pretrained(opposite)
    model.classifier.weight.data *= -1
    model.classifier.bias.data *= -1
    model.save_pretrained(opposite)
    there = Versions(tmp_path / "versions")
    there.add(reranker_folder, "v1")
    there.add(opposite, "v2")
    there.promote("v1")
    return there


def run(*words):
    command = [sys.executable, "-m", *words]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def titles(body):
    return [hit["_source"]["title"] for hit in json.loads(body)["hits"]["hits"]]


def test_a_version_is_compared_by_clicks_and_promoted(versions, cluster, redis_server, tmp_path):
    cluster.script = lambda received: answer(search_answer(*TITLES))
    config = tmp_path / "rerank.toml"
    config.write_text(TOML)
    with ExitStack() as stack:
        flags = ["--redis-url", redis_server.url, "--config", str(config), "--watch-s", "0.3"]
        stack.enter_context(running([sys.executable, "-m", "worker", *flags], {}, tmp_path / "worker.log"))
        process, port = start_gateway(cluster.url, config, redis_server.url, workers="2")
        stack.callback(stop, process)
        client, url = Client(port, process.pid), f"http://127.0.0.1:{port}"

        def search(session):
            _, headers, body = client.request("GET", "/books/_search?q=folder", [f"Cookie: sid={session}"])
            return dict(headers), titles(body)

        wait_until(
            lambda: {search(f"s{n}")[0]["X-Rerank-Status"] for n in range(9)} <= {"applied", "skipped"}, 120
        )
        orders, answers = {}, []
        for session in range(60):
            headers, order = search(session)
            orders.setdefault(headers["X-Rerank-Arm"], order)
            assert order == orders[headers["X-Rerank-Arm"]]
            answers.append((headers, order))
        assert orders["first_stage"] == list(TITLES)
        assert orders["tiny@v2"] == orders["policy"][::-1]

        def count():
            report = json.loads(run("gateway", "experiments", "--url", url, "report", "new-model", "--json"))
            return {arm["arm"]: arm for arm in report["arms"]}

        wanted = {arm: sum(headers["X-Rerank-Arm"] == arm for headers, _ in answers) for arm in orders}
        before = count()
        # nine sessions searched while the worker came up; they are counted where they had scores
        wait_until(lambda: all(count()[arm]["searches"] >= wanted[arm] for arm in wanted), 60)
        clicks = [
            {
                "action_name": "click",
                "query_id": headers["X-Rerank-Query-Id"],
                "event_attributes": {"object": {"object_id": str(TITLES.index(order[0]))}},
            }
            for headers, order in answers
            if headers["X-Rerank-Arm"] == "tiny@v2"
        ]
        status, _, told = client.request("POST", "/_rerank/events", body=json.dumps(clicks).encode())
        assert (status, json.loads(told)) == (200, {"received": len(clicks), "credited": len(clicks)})
        figures = count()
        assert figures["tiny@v2"]["clicks"] == len(clicks)
        assert figures["tiny@v2"]["mrr"] == 1.0
        assert figures["policy"]["clicks"] == before["policy"]["clicks"] == 0
        assert "too early" in run("gateway", "experiments", "--url", url, "list")
        assert run("rerankers", "versions", "promote", str(versions.folder), "v2").startswith("live: v2")
        own = next(n for n in range(60) if answers[n][0]["X-Rerank-Arm"] == "policy")
        wait_until(lambda: search(own)[1] == orders["tiny@v2"], 60)
        run("rerankers", "versions", "rollback", str(versions.folder))
        wait_until(lambda: search(own)[1] == orders["policy"], 60)
