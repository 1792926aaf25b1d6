"""One request followed through the logs of gateway and worker, and what is logged of a slow one."""

import json
import sys
import time
from contextlib import closing, contextmanager

import pytest
from redis import Redis

from gateway.request_id import HelperPool, begin_request
from gateway.story import Story
from gateway.wire import json_answer
from tests.conftest import find_free_port, wait_until
from tests.gateway.doubles import Client, answer, search_answer
from tests.gateway.stub_worker import stub_worker
from tests.processes import answers, running
from tests.worker.conftest import Sender, rerank_toml, start_worker  # noqa: F401  # fixtures
from worker.contract import REQUEST_HEADER, ScoreReply
from worker.contract.logs import REQUEST_ID

pytestmark = pytest.mark.system

SECRET = "topsecret"
SEARCH = json.dumps({"query": {"match": {"title": SECRET}}}).encode()
JSON = "Content-Type: application/json"


class Logged:
    """A gateway whose log lines can be read."""

    def __init__(self, client, log):
        self.client, self._log = client, log

    def search(self, *headers, index="books"):
        status, headers, _ = self.client.request("POST", f"/{index}/_search", [JSON, *headers], SEARCH)
        assert status == 200
        return dict(headers)

    def lines(self, event=None):
        """All lines as objects: each must be one."""
        told = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [line for line in told if event in (None, line["event"])]


@contextmanager
def logged_gateway(cluster, config, redis_url, folder, *flags):
    port = find_free_port()
    log = folder / f"gateway-{port}.log"
    command = [sys.executable, "-m", "gateway", "--bind", f"127.0.0.1:{port}", "--cluster-url", cluster.url]
    command += ["--config", str(config), "--redis-url", redis_url, "--log-format", "json", *flags]
    with running(command, {}, log) as process:
        wait_until(answers(f"http://127.0.0.1:{port}/_rerank/health", process), timeout_s=60)
        yield Logged(Client(port, process.pid), log)


@pytest.fixture(scope="module")
def own_redis():
    from tests.conftest import RedisServer

    server = RedisServer(find_free_port())
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="module")
def slow_gateway(running_cluster, config, own_redis, tmp_path_factory):
    """To which every search is a slow one."""
    folder = tmp_path_factory.mktemp("slow")
    with logged_gateway(running_cluster, config, own_redis, folder, "--slow-log-ms", "1") as gateway:
        yield gateway


@pytest.fixture
def books(cluster):
    def script(received):
        time.sleep(0.01)
        return answer(search_answer("a", "b", "c"), headers=["content-type: application/json"])

    cluster.script = script
    return cluster


def reply(job):
    return ScoreReply(id=job["id"], scores=tuple(range(len(job["passages"]))), model_ms=3.0)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param(["X-Request-Id: abc-1"], "abc-1", id="the client's own"),
        pytest.param(["X-Opaque-Id: kibana;app"], "kibana;app", id="as the engines call it"),
        pytest.param(["X-Opaque-Id: b", "X-Request-Id: a"], "a", id="both"),
        pytest.param([f"X-Request-Id: {'x' * 500}"], "x" * 128, id="too long"),
        pytest.param(["X-Request-Id: a b\tc"], "a_b_c", id="no second word in a line"),
        pytest.param([], None, id="none"),
    ],
)
def test_a_search_keeps_its_name_from_client_to_job(headers, expected, slow_gateway, books, own_redis):
    with stub_worker(own_redis, reply) as messages:
        answered = slow_gateway.search(*headers)
        assert answered["X-Rerank-Status"] == "applied"
    name = answered["X-Rerank-Request-Id"]
    assert name == (expected or name)
    assert len(name) >= 16 or expected
    assert messages[-1]["headers"][REQUEST_HEADER] == name
    assert slow_gateway.lines("search.slow")[-1]["request_id"] == name


def test_a_slow_search_is_told_with_its_stages_and_without_its_texts(slow_gateway, books, own_redis):
    with stub_worker(own_redis, reply):
        slow_gateway.search()
    line = slow_gateway.lines("search.slow")[-1]
    expected = {"status": "applied", "reason": "", "policy": "books", "model": "tiny", "window": "4"}
    assert expected.items() <= line.items()
    assert (line["index"], line["pairs"], line["cached"], line["level"]) == ("books", 3, 0, "WARNING")
    assert line["took_ms"] >= line["cluster_ms"] >= 10
    assert {"queue_ms", "model_ms", "merge_ms"} <= set(line)
    assert SECRET not in json.dumps(slow_gateway.lines())


@pytest.mark.parametrize(
    ("index", "told"),
    [
        pytest.param(
            "books", {"status": "failed", "reason": "no_worker", "index": "books"}, id="nobody serves"
        ),
        pytest.param(
            "films,music",
            {"status": "skipped", "reason": "policy_off", "index": "films,music"},
            id="no policy",
        ),
    ],
)
def test_a_slow_search_is_told_with_the_reason_for_its_order(index, told, slow_gateway, books, own_redis):
    with closing(Redis.from_url(own_redis)) as redis:
        redis.flushdb()
    slow_gateway.search(index=index)
    assert told.items() <= slow_gateway.lines("search.slow")[-1].items()


def test_a_slow_rerank_request_is_told_without_its_texts(slow_gateway, own_redis):
    body = json.dumps({"query": SECRET, "documents": ["a", "b"]}).encode()
    with stub_worker(own_redis, lambda job: time.sleep(0.01) or reply(job)):
        status, headers, _ = slow_gateway.client.request(
            "POST", "/_rerank/v1/rerank", ["X-Request-Id: r-1"], body
        )
    line = slow_gateway.lines("rerank.slow")[-1]
    expected = {"path": "/v1/rerank", "status": 200, "model": "tiny", "pairs": 2, "request_id": "r-1"}
    assert (status, dict(headers)["X-Rerank-Request-Id"]) == (200, "r-1")
    assert expected.items() <= line.items()
    assert SECRET not in json.dumps(slow_gateway.lines())


def test_what_passes_through_is_not_marked(slow_gateway, cluster):
    cluster.script = lambda received: answer(b"{}", headers=["X-Opaque-Id: mine"])
    _, headers, _ = slow_gateway.client.request(
        "GET", "/_cat/indices", ["X-Opaque-Id: mine", "X-Request-Id: a"]
    )
    assert not [name for name, _ in headers if name.lower().startswith("x-rerank")]
    assert cluster.received[-1].header("X-Request-Id") == "a"


def test_our_own_errors_name_the_request(slow_gateway):
    status, headers, _ = slow_gateway.client.request("GET", "/_rerank/explain/nothing", ["X-Request-Id: e-1"])
    assert (status, dict(headers)["X-Rerank-Request-Id"]) == (404, "e-1")


@pytest.mark.parametrize(
    ("slow_log_ms", "is_told"),
    [(0, False), (1, True), (60_000, False)],
    ids=["off", "above the limit", "below the limit"],
)
def test_what_is_slow_is_what_the_operator_says(slow_log_ms, is_told, caplog):
    story = Story(arrived=time.monotonic() - 0.01, slow_log_ms=slow_log_ms)
    story.tell(json_answer(200, {}), None)
    assert ("search.slow took_ms=1" in caplog.text) == is_told


def test_levels_hold_for_the_server_too(books, config, own_redis, tmp_path):
    flags = ["--slow-log-ms", "1", "--log-level", "ERROR"]
    with logged_gateway(books, config, own_redis, tmp_path, *flags) as gateway:
        gateway.search()
        assert gateway.lines() == []


def test_what_the_server_says_is_logged_like_all_else(slow_gateway):
    assert any("Listening at" in line.get("message", "") for line in slow_gateway.lines("log"))


def test_helping_threads_work_for_the_same_request():
    with HelperPool(1) as pool:
        names = []
        for name in ("a", "b"):
            begin_request({"HTTP_X_REQUEST_ID": name})
            names += [pool.submit(REQUEST_ID.get).result(), *pool.map(lambda _: REQUEST_ID.get(), [1])]
    REQUEST_ID.set("")
    assert names == ["a", "a", "b", "b"]


def test_a_real_workers_lines_name_the_request(books, redis_server, start_worker, tmp_path, rerank_toml):  # noqa: F811
    """And all of them are JSON, Celery's own included."""
    worker = start_worker(redis_server.url, "--log-format", "json")
    policy = '[[policies]]\nname = "books"\nindices = ["books"]\nmodel = "tiny"\ndeadline_ms = 15000\n'
    config = tmp_path / "with-policy.toml"
    config.write_text(rerank_toml.read_text() + policy)
    with closing(Sender(redis_server.url)) as sender:
        wait_until(lambda: sender.is_served() or worker.process.poll() is not None, timeout_s=120)
    with logged_gateway(books, config, redis_server.url, tmp_path) as gateway:
        assert gateway.search("X-Request-Id: follow-me")["X-Rerank-Status"] == "applied"
    lines = [json.loads(line) for line in worker.log.splitlines()]
    (line,) = [line for line in lines if line["event"] == "score.complete"]
    assert line["request_id"] == "follow-me"
    assert {"logger", "level", "id", "passages", "queue_ms", "model_ms"} <= set(line)
    assert SECRET not in worker.log
