"""One request as one trace, from its client through gateway, queue and worker, told to a real collector."""

import json
import re
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import pytest
from redis import Redis

from gateway.errors import ConfigurationError
from gateway.settings import read_settings
from tests.conftest import RedisServer, find_free_port, wait_until
from tests.gateway.collector import Collector, draw
from tests.gateway.doubles import RERANK_TOML, Client, ClusterDouble, answer, search_answer
from tests.processes import answers, running
from tests.worker.conftest import Sender
from worker import settings as worker_settings
from worker.contract import SCORE_TASK, ScoreJob, online_queue, reply_key, serving_key
from worker.contract.otel import open_tracing
from worker.errors import ConfigError

pytestmark = pytest.mark.system

QUERY, TITLES, KEY = "topsecret", ("whisper", "confidential", "murmur"), "passw0rd"
TEXTS = (QUERY, *TITLES, KEY)
SEARCH = json.dumps({"query": {"match": {"title": QUERY}}}).encode()
RERANK = json.dumps({"query": QUERY, "documents": list(TITLES)}).encode()
JOB = "rerank.score"
JSON = "Content-Type: application/json"
NDJSON = "Content-Type: application/x-ndjson"
PARENT = "00f067aa0ba902b7"
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}

SERVED = """
gateway | cluster | client
gateway | queue | producer
  worker | rerank.score | consumer
    worker | wait | internal
    worker | pass | internal
gateway | merge | internal
"""


@dataclass
class Traced:
    """A gateway and a worker that tell their traces to a collector."""

    client: Client
    collector: Collector
    cluster: ClusterDouble
    folder: object

    def ask(self, method, target, body=b"", *headers, flags="01", kind=JSON):
        """The answer's status, and the trace's id."""
        trace_id = secrets.token_hex(16)
        named = [kind, f"Authorization: ApiKey {KEY}", f"traceparent: 00-{trace_id}-{PARENT}-{flags}"]
        status, _, _ = self.client.request(method, target, [*named, *headers], body)
        return status, trace_id

    def wait_for(self, trace_id, *names):
        """The trace's spans, once those of these names, each its process's last, have come."""

        def look():
            spans = self.collector.spans(trace_id)
            return spans if set(names) <= {told.name for told in spans} else None

        return wait_until(look)

    def settle(self):
        """Wait until all has come that was told so far: each process tells in order."""
        query = {"query": {"match": {"title": QUERY + secrets.token_hex(4)}}}
        _, trace_id = self.ask("POST", "/books/_search", json.dumps(query).encode())
        self.wait_for(trace_id, "POST search", JOB)

    def lines(self, log, event):
        told = [json.loads(line) for line in (self.folder / log).read_text().splitlines()]
        return [line for line in told if line["event"] == event]


@contextmanager
def running_gateway(cluster_url, config, redis_url, log, environment, **flags):
    port = find_free_port()
    told = {"bind": f"127.0.0.1:{port}", "cluster-url": cluster_url, "config": config, "redis-url": redis_url}
    with running(_command("gateway", told | flags), environment, log) as process:
        wait_until(answers(f"http://127.0.0.1:{port}/_rerank/health", process), timeout_s=60)
        yield Client(port, process.pid)


def _command(module, flags):
    words = [word for flag, value in flags.items() for word in (f"--{flag.replace('_', '-')}", str(value))]
    return [sys.executable, "-m", module, *words]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Redis, a served model and one that nobody serves, a cluster and a collector."""
    folder = tmp_path_factory.mktemp("traces")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    unserved = '[models.unserved]\npath = "model"\n[[policies]]\nname = "films"\nindices = ["films"]\n'
    config = folder / "rerank.toml"
    config.write_text(RERANK_TOML.replace("somewhere", "model") + unserved + 'model = "unserved"\n')
    redis = RedisServer(find_free_port())
    redis.start()
    cluster, collector = ClusterDouble(), Collector()
    ours = {"config": config, "redis_url": redis.url, "models": "tiny"}
    traces = {"traces_endpoint": collector.url, "log_format": "json"}
    command = _command("tests.worker.scripted_worker", ours | traces)
    with (
        running(command, SOON, folder / "worker.log") as worker,
        closing(Redis.from_url(redis.url)) as client,
    ):
        wait_until(lambda: worker.expect_running() and client.exists(serving_key("tiny")), timeout_s=60)
        yield folder, config, redis.url, cluster, collector
    cluster.close()
    collector.close()
    redis.kill()


@pytest.fixture(scope="module")
def running_traced(parts):
    folder, config, redis_url, cluster, collector = parts
    flags = {"traces_endpoint": collector.url, "log_format": "json", "slow_log_ms": 1}
    flags |= {"jobs_folder": folder / "jobs"}
    with running_gateway(cluster.url, config, redis_url, folder / "gateway.log", SOON, **flags) as client:
        yield Traced(client, collector, cluster, folder)


@pytest.fixture
def traced(running_traced, parts):
    """With nothing known in the cache."""
    with closing(Redis.from_url(parts[2])) as redis:
        for key in redis.scan_iter("rerank:scores:*"):
            redis.delete(key)
    running_traced.cluster.reset()
    running_traced.cluster.script = answer_searches
    yield running_traced
    sent = b"".join(running_traced.collector.received)
    assert not [text for text in TEXTS if text.encode() in sent]


def answer_searches(received):
    headers = ["content-type: application/json"]
    body = search_answer(*TITLES)
    if "_msearch" in received.target:
        body = b'{"took":1,"responses":[%s]}' % b",".join(
            [body.replace(b'"took"', b'"status":200,"took"')] * 2
        )
    return answer(body, headers=headers)


def indent(tree):
    return [line.replace("gateway", "rerank-gateway").replace("worker", "rerank-worker") for line in tree]


def expect_tree(spans, parent_id, first, below=SERVED):
    lines = below.strip().splitlines()
    assert draw(spans, parent_id) == indent([f"gateway | {first}", *(f"  {line}" for line in lines)])


def test_a_search_is_a_part_of_its_clients_trace(traced):
    status, trace_id = traced.ask("POST", "/books/_search", SEARCH, "tracestate: vendor=1")
    assert status == 200
    spans = traced.wait_for(trace_id, "POST search", JOB)
    expect_tree(spans, PARENT, "POST search | server")
    by_name = {told.name: told for told in spans}
    assert {told.state for told in spans} == {"vendor=1"}
    ours = {"rerank.policy": "books", "rerank.model": "tiny", "rerank.pairs": 3}
    expected = {
        "POST search": {
            **ours,
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "rerank.status": "applied",
            "rerank.window": "4",
            "rerank.cached": 0,
            "rerank.index": "books",
        },
        "cluster": {"http.response.status_code": 200, "rerank.node": traced.cluster.url[7:]},
        "queue": {**ours, "rerank.cached": 0, "messaging.destination.name": "online.tiny"},
        "rerank.score": {
            **ours,
            "rerank.status": "scored",
            "messaging.destination.name": "online.tiny",
            "messaging.operation.type": "process",
        },
        "pass": {"rerank.pairs": 3, "rerank.jobs": 1},
        "merge": {"rerank.status": "applied"},
    }
    for name, attributes in expected.items():
        assert attributes.items() <= by_name[name].attributes.items(), name
    order = ["POST search", "cluster", "queue", "rerank.score", "wait", "pass", "merge"]
    assert [told.name for told in spans] == order
    assert all(told.started_ns <= told.ended_ns for told in spans)
    assert by_name["pass"].ended_ns - by_name["pass"].started_ns >= 10_000_000  # as the scripted model takes


def test_the_cluster_joins_the_trace_of_a_search_that_the_gateway_sends(traced):
    _, trace_id = traced.ask("POST", "/books/_search", SEARCH, "tracestate: vendor=1")
    (cluster,) = [told for told in traced.wait_for(trace_id, "POST search") if told.name == "cluster"]
    sent = [(name.lower(), value) for name, value in traced.cluster.received[-1].headers]
    assert [value for name, value in sent if name == "traceparent"] == [f"00-{trace_id}-{cluster.span_id}-01"]
    assert [value for name, value in sent if name == "tracestate"] == ["vendor=1"]


def test_a_request_to_a_rerank_api_is_a_part_of_its_clients_trace(traced):
    status, trace_id = traced.ask("POST", "/_rerank/v1/rerank", RERANK)
    assert status == 200
    spans = traced.wait_for(trace_id, "POST /v1/rerank", JOB)
    below = SERVED.replace("gateway | cluster | client\n", "").replace("gateway | merge | internal\n", "")
    expect_tree(spans, PARENT, "POST /v1/rerank | server", below)
    expected = {"rerank.model": "tiny", "rerank.pairs": 3, "rerank.cached": 0, "http.route": "/v1/rerank"}
    assert expected.items() <= spans[0].attributes.items()


@pytest.mark.parametrize(
    ("target", "body", "first"),
    [("/books/_search", SEARCH, "POST search"), ("/_rerank/v1/rerank", RERANK, "POST /v1/rerank")],
    ids=["search", "rerank API"],
)
def test_known_scores_are_no_workers_affair(target, body, first, traced):
    def ask():
        _, trace_id = traced.ask("POST", target, body)
        spans = traced.wait_for(trace_id, first)
        return spans if spans[0].attributes["rerank.cached"] == 3 else None

    spans = wait_until(ask)
    traced.settle()
    spans = traced.collector.spans(spans[0].trace_id)
    assert {told.service for told in spans} == {"rerank-gateway"}
    (queue,) = [told for told in spans if told.name == "queue"]
    assert queue.attributes["rerank.cached"] == queue.attributes["rerank.pairs"] == 3


def test_each_search_of_a_multi_search_waits_in_a_span_of_its_own(traced):
    other = SEARCH.replace(QUERY.encode(), KEY.encode())
    body = b'{"index":"books"}\n' + SEARCH + b'\n{"index":"books"}\n' + other + b"\n"
    _, trace_id = traced.ask("POST", "/_msearch", body, kind=NDJSON)
    traced.settle()
    spans = traced.collector.spans(trace_id)
    names = [told.name for told in spans if told.parent_id == spans[0].span_id]
    assert sorted(names) == ["cluster", "merge", "merge", "queue", "queue"]
    queues = {told.span_id for told in spans if told.name == "queue"}
    assert {told.parent_id for told in spans if told.name == "rerank.score"} == queues


@pytest.mark.parametrize(
    "traceparent",
    [None, "no-trace", f"00-{'0' * 32}-{PARENT}-01", f"ff-{'a' * 32}-{PARENT}-01"],
    ids=["none", "malformed", "zeros", "no such version"],
)
def test_without_a_trace_of_the_clients_one_begins(traceparent, traced):
    before = {told.trace_id for told in traced.collector.spans()}
    headers = [f"traceparent: {traceparent}"] if traceparent else []
    traced.client.request("POST", "/books/_search", [JSON, *headers], SEARCH)

    def look():
        spans = [told for told in traced.collector.spans() if told.trace_id not in before]
        return spans if {"POST search", "rerank.score"} <= {told.name for told in spans} else None

    spans = wait_until(look)
    assert len({told.trace_id for told in spans}) == 1
    expect_tree(spans, "", "POST search | server")


def test_what_the_client_does_not_record_is_not_told(traced):
    _, silent = traced.ask("POST", "/books/_search", SEARCH, flags="00")
    assert re.fullmatch(f"00-{silent}-[0-9a-f]{{16}}-00", traced.cluster.received[-1].header("traceparent"))
    traced.settle()
    assert traced.collector.spans(silent) == []


FAILED = """
gateway | cluster | client
gateway | queue | producer !
gateway | merge | internal
"""


@pytest.mark.parametrize(
    ("index", "below", "told"),
    [
        pytest.param("films", FAILED, {"status": "failed", "reason": "no_worker"}, id="nobody serves"),
        pytest.param(
            "music",
            "gateway | cluster | client",
            {"status": "skipped", "reason": "policy_off"},
            id="no policy",
        ),
    ],
)
def test_why_the_order_is_the_clusters_is_told(index, below, told, traced):
    status, trace_id = traced.ask("POST", f"/{index}/_search", SEARCH)
    assert status == 200
    spans = traced.wait_for(trace_id, "POST search")
    expect_tree(spans, PARENT, "POST search | server", below)
    assert {f"rerank.{name}": value for name, value in told.items()}.items() <= spans[0].attributes.items()
    assert [one.attributes["error.type"] for one in spans if one.is_error] == [told["reason"]] * (
        "!" in below
    )


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        pytest.param("/_rerank/v1/rerank", RERANK.replace(b"{", b'{"model":"unserved",', 1), 503, id="ours"),
        pytest.param("/books/_search", SEARCH, 502, id="the cluster's"),
    ],
)
def test_an_error_is_told_as_one(target, body, status, traced):
    traced.cluster.script = lambda received: b""
    got, trace_id = traced.ask("POST", target, body)
    name = "POST search" if "search" in target else "POST /v1/rerank"
    spans = traced.wait_for(trace_id, name)
    assert (got, spans[0].attributes["http.response.status_code"], spans[0].is_error) == (
        status,
        status,
        True,
    )


def test_what_passes_through_is_not_touched_and_not_told(traced):
    status, trace_id = traced.ask("GET", "/_cat/indices", b"", "tracestate: vendor=1")
    assert status == 200
    received = traced.cluster.received[-1]
    assert received.header("traceparent") == f"00-{trace_id}-{PARENT}-01"
    assert received.header("tracestate") == "vendor=1"
    traced.settle()
    assert traced.collector.spans(trace_id) == []


def test_log_lines_of_both_sides_name_trace_and_span(traced):
    _, trace_id = traced.ask("POST", "/books/_search", SEARCH)
    spans = {told.name: told.span_id for told in traced.wait_for(trace_id, "POST search", JOB)}
    for log, event, name in (
        ("gateway.log", "search.slow", "POST search"),
        ("worker.log", "score.complete", "rerank.score"),
    ):
        line = traced.lines(log, event)[-1]
        assert (line["trace_id"], line["span_id"]) == (trace_id, spans[name]), log


def test_each_batch_of_a_bulk_job_is_a_trace(traced):
    pairs = [{"query": QUERY, "passages": list(TITLES)}]
    spec = json.dumps({"kind": "pairs", "model": "tiny", "pairs": pairs}).encode()
    status, _, _ = traced.client.request("POST", "/_rerank/jobs", [JSON], spec)
    assert status == 201

    def look():
        found = [told for told in traced.collector.spans() if told.name == "batch"]
        spans = found and traced.collector.spans(found[0].trace_id)
        return spans if len(spans) == 2 else None

    spans = wait_until(look, timeout_s=60)
    assert draw(spans) == indent(["gateway | batch | producer", "  worker | rerank.score_many | consumer"])


@pytest.mark.parametrize(
    ("changed", "told", "is_error"),
    [
        pytest.param(
            {"model": "other"}, {"rerank.status": "refused", "error.type": "refused"}, True, id="refused"
        ),
        pytest.param(
            {"deadline": 1.0}, {"rerank.status": "late", "rerank.policy": "books"}, False, id="late"
        ),
        pytest.param({"passages": []}, {"messaging.destination.name": "online.tiny"}, False, id="no job"),
    ],
)
def test_what_became_of_a_job_is_told(changed, told, is_error, traced, parts):
    job = ScoreJob(id="job", model="tiny", policy="books", query_text=QUERY, passages=TITLES, deadline=4e9)
    trace_id = secrets.token_hex(16)
    with closing(Sender(parts[2])) as sender:
        sender.app.send_task(
            SCORE_TASK,
            args=[job.to_message() | changed],
            headers={"traceparent": f"00-{trace_id}-{PARENT}-01"},
            queue=online_queue("tiny"),
            ignore_result=True,
        )
        (span,) = traced.wait_for(trace_id, JOB)
        sender.redis.delete(reply_key("job"))
    assert told.items() <= span.attributes.items()
    assert (span.is_error, span.parent_id) == (is_error, PARENT)


def test_a_gateway_that_tells_no_traces_leaves_the_clients_as_it_came(parts, traced, tmp_path):
    _, config, redis_url, cluster, collector = parts
    with running_gateway(cluster.url, config, redis_url, tmp_path / "log", {}) as client:
        _, trace_id = Traced(client, collector, cluster, tmp_path).ask("POST", "/books/_search", SEARCH)
    assert cluster.received[-1].header("traceparent") == f"00-{trace_id}-{PARENT}-01"
    traced.settle()
    assert collector.spans(trace_id) == []


@contextmanager
def no_collector():
    yield f"http://127.0.0.1:{find_free_port()}"


@contextmanager
def hanging_collector():
    """Takes connections and requests, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def refusing_collector():
    with closing(ClusterDouble()) as double:
        double.script = lambda received: answer(b"no", status="503 Service Unavailable")
        yield double.url


@pytest.mark.parametrize("collector", [no_collector, hanging_collector, refusing_collector])
def test_no_collector_can_slow_or_fail_a_request(collector, parts, traced, tmp_path):
    _, config, redis_url, cluster, _ = parts
    environment = {
        "OTEL_BSP_SCHEDULE_DELAY": "10",
        "OTEL_BSP_MAX_QUEUE_SIZE": "8",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
    }
    with ExitStack() as ending:
        flags = {"traces_endpoint": ending.enter_context(collector())}
        started = running_gateway(cluster.url, config, redis_url, tmp_path / "log", environment, **flags)
        client = ending.enter_context(started)
        began_s = time.monotonic()
        for _ in range(40):  # several spans each: the queue of eight is soon full
            status, headers, _ = client.request("POST", "/books/_search", [JSON], SEARCH)
            assert (status, dict(headers)["X-Rerank-Status"]) == (200, "applied")
        ended_s = time.monotonic()
    assert ended_s - began_s < 20  # each export takes a second or two until it is given up
    assert time.monotonic() - ended_s < 20


def test_an_exception_is_told_by_its_class_only(traced, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", SOON["OTEL_BSP_SCHEDULE_DELAY"])
    tracing = open_tracing("test", traced.collector.url, 1.0)
    with pytest.raises(ValueError, match=QUERY), tracing.span("broken", "internal", {}, {}):
        raise ValueError(QUERY)
    (told,) = wait_until(lambda: [told for told in traced.collector.spans() if told.name == "broken"])
    assert (told.is_error, told.attributes["error.type"]) == (True, "ValueError")


SIDES = {
    "gateway": (read_settings, ConfigurationError),
    "worker": (worker_settings.read_settings, ConfigError),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("flags", "option"),
    [
        (["--traces-endpoint", "collector:4318"], "--traces-endpoint"),
        (["--traces-endpoint", "grpc://collector:4317"], "--traces-endpoint"),
        (["--traces-endpoint", f"http://u:{KEY}@collector"], "--traces-endpoint"),
        (["--traces-ratio", "1.5"], "--traces-ratio"),
        (["--traces-ratio", "-0.1"], "--traces-ratio"),
    ],
    ids=["no scheme", "another protocol", "credentials", "more than all", "less than none"],
)
def test_a_wrong_option_is_named(flags, option, side):
    read, error = SIDES[side]
    with pytest.raises(error) as caught:
        read(flags)
    assert option in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("side", SIDES)
def test_without_the_library_the_option_stops_the_start_and_names_the_extra(side):
    code = f"import sys; sys.modules['opentelemetry'] = None; from {side}.__main__ import main; "
    code += "sys.exit(main(['--traces-endpoint', 'http://127.0.0.1:9']))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert "--traces-endpoint" in ended.stderr
    assert "rerank-sidecar[otel]" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_ratio_is_of_the_traces_that_begin_here(parts, traced, tmp_path):
    _, config, redis_url, cluster, collector = parts
    flags = {"traces_endpoint": collector.url, "traces_ratio": 0}
    with running_gateway(cluster.url, config, redis_url, tmp_path / "log", SOON, **flags) as client:
        asking = Traced(client, collector, cluster, tmp_path)
        before = {told.trace_id for told in collector.spans()}
        client.request("POST", "/books/_search", [JSON], SEARCH)
        _, trace_id = asking.ask("POST", "/books/_search", SEARCH)
        asking.wait_for(trace_id, "POST search")
        assert {told.trace_id for told in collector.spans()} - before == {trace_id}
