"""A gateway process with pages, in front of a cluster double and a thread that answers as a worker."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import RedisServer, find_free_port
from tests.gateway.doubles import Client, ClusterDouble, answer, start_gateway, stop
from tests.gateway.stub_worker import stub_worker
from worker.contract import ScoreReply

CONFIG = """
[models.tiny]
path = "somewhere"

[models.absent]
path = "somewhere"

[[policies]]
name = "books"
indices = ["books*"]
model = "tiny"
passage_fields = ["title", "blurb"]
window = 5
deadline_ms = 5000

[[policies]]
name = "lonely"
indices = ["lonely*"]
model = "absent"

[[policies]]
name = "picky"
indices = ["never"]
mode = "off"
model = "tiny"
passage_fields = ["title"]
min_score = 0.5
score_mode = "linear"
"""

N_HITS = 6
ATTACK = "<script>window.attacked = 1</script><img src=x onerror='window.attacked = 1'>"


@dataclass
class Cluster:
    """What the cluster double answers.

    Attributes:
        refusal: instead of hits, a status line and an error; None for hits.
    """

    double: ClusterDouble = field(default_factory=ClusterDouble)
    refusal: tuple[str, dict] | None = None
    challenge: str | None = None

    def __post_init__(self):
        self.double.script = self.answer

    def answer(self, received):
        if self.challenge and received.header("authorization") is None:
            return answer(b"{}", "401 Unauthorized", [f"WWW-Authenticate: {self.challenge}"])
        path = received.target.partition("?")[0]
        if path == "/_cluster/health":
            told = {"status": "green", "cluster_name": "double", "number_of_nodes": 3}
        elif path.startswith("/_resolve/"):
            names = [{"name": name} for name in ("books-1", "lonely", "other", ".own")]
            told = {"indices": names, "aliases": [{"name": "books"}], "data_streams": []}
        elif path.endswith("/_search") and self.refusal:
            return answer(json.dumps(self.refusal[1]).encode(), self.refusal[0])
        else:
            hits = [make_hit(number) for number in range(1, N_HITS + 1)]
            told = {"took": 1, "hits": {"max_score": 9.0, "hits": hits}}
        return answer(json.dumps(told).encode())

    def searches(self):
        return [one for one in self.double.received if one.target.partition("?")[0].endswith("/_search")]


def make_hit(number):
    """Number 1 is the cluster's best; each holds an attack wherever a hit holds text."""
    return {
        "_index": "books-1",
        "_id": f"id-{number}{ATTACK}",
        "_score": 10.0 - number,
        "_source": {"title": f"book {number}", "blurb": ATTACK},
        "highlight": {"title": [f"\ue000book\ue001 {ATTACK}"]},
    }


def score(job):
    """The higher the number in its title, the better: the cluster's order turned round."""
    scores = tuple(int(passage.split()[1]) - 3.5 for passage in job["passages"])
    return ScoreReply(id=job["id"], part=job["part"], scores=scores, model_ms=3.0, n_tokens=7)


@dataclass(frozen=True)
class Product:
    """The gateway and what is around it."""

    client: Client
    cluster: Cluster
    redis: RedisServer
    config: Path

    @property
    def url(self):
        return f"http://127.0.0.1:{self.client.port}"

    def get(self, target, *headers):
        """Status, headers by lower-case name, and body of ``/_rerank`` + target."""
        status, pairs, body = self.client.request("GET", f"/_rerank{target}", headers)
        return status, {name.lower(): value for name, value in pairs}, body.decode()


@pytest.fixture(scope="session")
def running_product(tmp_path_factory):
    config = tmp_path_factory.mktemp("pages") / "rerank.toml"
    config.write_text(CONFIG)
    cluster, redis = Cluster(), RedisServer(find_free_port())
    redis.start()
    with stub_worker(redis.url, score, speed=100_000.0):
        process, port = start_gateway(
            cluster.double.url, config, redis.url, flower_url="http://flower.example:5555"
        )
        yield Product(Client(port, process.pid), cluster, redis, config)
        stop(process)
    redis.kill()
    cluster.double.close()


@pytest.fixture
def product(running_product):
    """As it was at first."""
    running_product.cluster.refusal = running_product.cluster.challenge = None
    running_product.cluster.double.received.clear()
    return running_product
