"""docs/tutorial.md as its reader follows it: every command, in one shell, against a real cluster."""

import json
import os
import re
import subprocess
import sys
from itertools import product

import pytest
import urllib3

from demo import settings
from tests.conftest import find_free_port

pytestmark = pytest.mark.system
ONLY_ON = ("opensearch",)

TUTORIAL = settings.ROOT / "docs" / "tutorial.md"
ASKED = {
    "erase": "delete",
    "make": "create",
    "show": "print",
    "look for": "search",
    "begin": "start",
    "end": "stop",
}
"""What people write, and what the documents call it."""
THINGS = ("file", "folder", "table", "user", "message", "account", "window", "server", "picture", "process")


def write_documents():
    for called, thing in product(ASKED.values(), THINGS):
        yield f"{called}-{thing}", f"{called} a {thing}", f"How to {called} the {thing} that you have chosen."
    for asked in ASKED:  # what the cluster finds first: the words of the query, and not what is meant
        yield (
            f"word-{asked}",
            f"to {asked}",
            f"The word {asked} has five meanings. One may {asked} a file or a user.",
        )


@pytest.fixture
def index(node):
    """An index ``docs`` whose words are not its users'."""
    lines = []
    for id, title, body in write_documents():
        lines += [{"index": {"_index": "docs", "_id": id}}, {"title": title, "body": body}]
    ndjson = "".join(json.dumps(line) + "\n" for line in lines)
    kind = {"Content-Type": "application/x-ndjson"}
    answered = urllib3.request(
        "POST", f"{node.url}/_bulk?refresh=true", body=ndjson, headers=kind, timeout=60.0
    ).json()
    assert answered["errors"] is False
    yield node.url
    urllib3.request("DELETE", f"{node.url}/docs", timeout=60.0)


def read_script():
    """The page's commands; the first block is the reader's own addresses."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert all(line.startswith("export ") for line in blocks[0].splitlines())
    return "\n".join(blocks[1:])


def test_every_command_of_the_tutorial_works(index, redis_url, tmp_path):
    queries = [
        f"{asked} a {thing},{called}-{thing},1" for (asked, called), thing in product(ASKED.items(), THINGS)
    ]
    (tmp_path / "judgments.csv").write_text("\n".join(["query,docid,rating", *queries]) + "\n")
    (tmp_path / "tutorial.sh").write_text(f"set -euo pipefail\ntrap 'kill $(jobs -p)' EXIT\n{read_script()}")
    environment = os.environ | {
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]),
        "PYTHONPATH": str(settings.ROOT),
        "RERANK_GATEWAY_CLUSTER_URL": index,
        "RERANK_GATEWAY_REDIS_URL": redis_url,
        "RERANK_WORKER_REDIS_URL": redis_url,
        "RERANK_GATEWAY_BIND": f"127.0.0.1:{find_free_port()}",
        "BASE": str(settings.base_model_path()),
    }
    with (tmp_path / "log.txt").open("w") as log:
        ended = subprocess.run(
            ["bash", "tutorial.sh"], cwd=tmp_path, env=environment, stdout=log, stderr=log, timeout=900
        )
    told = (tmp_path / "log.txt").read_text()
    assert ended.returncode == 0, told[-5000:]

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    ndcg = {system["name"]: system["means"]["nDCG@10"] for system in report["systems"]}
    assert ndcg["docs"] > ndcg["first stage"] + 0.3, (
        "the words of these people can be learned from 36 queries"
    )
    assert '"credited": 1' in told
    live = json.loads((tmp_path / "models" / "docs" / "live.json").read_text())
    assert live["live"] == "v1"
