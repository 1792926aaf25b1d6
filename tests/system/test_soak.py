"""Many clients, random faults: every answer is right and in time, and nothing is left behind.

Forty-five seconds of faults in `make test`, ten minutes in `make soak`. SOAK_SEED repeats the faults and
searches of another run, as far as time allows.
"""

import os
import random
import signal
import sys
import time
from contextlib import ExitStack, closing

import pytest
from redis import Redis

from demo import settings
from tests.conftest import find_free_port, find_redis, wait_until
from tests.processes import answers, running
from tests.system.conftest import write_config
from tests.system.soak.clients import CLIENTS, Clients
from tests.system.soak.faults import FAULTS, Injector, Site, Supervisor
from tests.system.soak.record import DEADLINE_S, Record
from tests.system.soak.remains import Footprint, find_left_over
from tests.system.soak.truth import WINDOW, Truth
from worker.contract import serving_key

pytestmark = pytest.mark.system

ONLY_ON = ("opensearch",)
FAULTS_S = 60 * float(os.environ.get("SOAK_MINUTES", "0.75"))  # enough for each fault once
SEED = os.environ.get("SOAK_SEED") or str(random.randrange(10**6))

THINK_S, CALM_THINK_S = 1.0, 3.0  # under faults, and while it recovers
SAMPLE = 60  # of the fresh queries' answers: their scores are compared with the model's
RECOVERY_LIMIT_S = 45.0  # the breaker's longest pause, and the start of a worker on a busy machine
CALM_S = 5.0  # so long all must have been applied again
DRAIN_LIMIT_S = 40.0  # the visibility timeout and two looks for what is older

WORKER_FLAGS = {"cache-ttl-s": 5, "visibility-timeout-s": 10, "concurrency": 16}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A rerank.toml with the demo's real model and a deadline that faults can break."""
    folder = tmp_path_factory.mktemp("soak-config")
    return write_config(folder, window=WINDOW, deadline_ms=int(DEADLINE_S * 1000))


@pytest.fixture(scope="module")
def record(engine, config, tmp_path_factory):
    """What came of it."""
    from rerankers import FlagAutoReranker

    folder, ports = tmp_path_factory.mktemp("soak"), [find_free_port() for _ in range(2)]
    redis_url, url = f"redis://127.0.0.1:{ports[0]}/0", f"http://127.0.0.1:{ports[1]}"
    flags = [f"--{name}={value}" for name, value in WORKER_FLAGS.items()]
    ours = {"REDIS_URL": redis_url, "CONFIG": str(config)}
    for_workers = {f"RERANK_WORKER_{name}": value for name, value in ours.items()}
    for_gateway = {f"RERANK_GATEWAY_{name}": value for name, value in ours.items()}
    for_gateway |= {"RERANK_GATEWAY_CLUSTER_URL": engine.url, "RERANK_GATEWAY_BIND": url.partition("//")[2]}
    redis_command = [find_redis(), "--port", str(ports[0]), "--bind", "127.0.0.1", "--save", ""]
    python = [sys.executable, "-m"]
    logs = [folder / f"worker-{number}.log" for number in range(2)]
    with ExitStack() as stack:

        def start(command, environment, log):
            return stack.enter_context(running(command, environment, log))

        redis = start(redis_command, {}, folder / "redis.log")
        one_thread = {"OMP_NUM_THREADS": "1"}
        workers = [start([*python, "worker", *flags], for_workers | one_thread, log) for log in logs]
        gateway = start([*python, "gateway"], for_gateway, folder / "gateway.log")
        reranker = FlagAutoReranker.from_finetuned(
            str(settings.base_model_path()), peft_path=str(settings.ADAPTER), max_length=settings.PAIR_TOKENS
        )
        truth = Truth(engine.url, reranker)
        asked = stack.enter_context(closing(Redis.from_url(redis_url, socket_timeout=5)))
        wait_until(answers(f"{url}/_rerank/health", gateway), timeout_s=60)

        def all_serve():
            return asked.hlen(serving_key("demo")) == len(workers)

        def measure():
            parts = {"gateway": gateway, "worker 1": workers[0], "worker 2": workers[1]}
            return {name: Footprint.of(process) for name, process in parts.items()}

        def drain():
            """Wait until nothing is left of any search; how long that took."""
            started = time.monotonic()
            while find_left_over(asked) and time.monotonic() < started + DRAIN_LIMIT_S:
                time.sleep(0.2)
            return time.monotonic() - started

        wait_until(all_serve, timeout_s=120)
        warm_up(url, truth, redis)
        drain()
        before = measure()

        clients = Clients(url, truth, SEED, think_s=THINK_S)
        supervisor = stack.enter_context(Supervisor(workers).watching())
        injector = Injector(Site(engine, redis, redis_url, workers), SEED)
        with clients.searching():
            injector.run(FAULTS_S)
            calm = time.monotonic()
            clients.think_s = CALM_THINK_S
            wait_for_calm(clients, calm, all_serve)
        drained_s = drain()
        record = Record(
            seed=SEED,
            sent=clients.sent,
            hung_up=clients.hung_up,
            answers=clients.answers,
            injected=injector.injected,
            calm=calm,
            restarts=supervisor.restarts,
            thought_dead=sum(log.read_text().count("worker.died") for log in logs),
            drained_s=drained_s,
            left_over=find_left_over(asked),
            gateway_log=(folder / "gateway.log").read_text(),
            before=before,
            after=measure(),
        )
        print(f"\n{record.tell()}")
        yield record, truth


def warm_up(url, truth, redis):
    """Let all pools grow to what they are under load: many at once, while Redis hangs and after it."""
    clients = Clients(url, truth, "warm-up", think_s=0.05)
    with clients.searching():
        time.sleep(2)
        redis.send(signal.SIGSTOP)
        time.sleep(3)
        redis.send(signal.SIGCONT)
        time.sleep(3)


def wait_for_calm(clients, calm, all_serve):
    """Until both workers serve and all answers of some seconds were applied, or for long enough."""
    while time.monotonic() < calm + RECOVERY_LIMIT_S + CALM_S:
        lately = time.monotonic() - CALM_S
        answers = [answer for answer in clients.answers[-20 * CLIENTS :] if answer.got > max(lately, calm)]
        if lately > calm and all(answer.is_applied for answer in answers) and all_serve():
            return
        time.sleep(0.2)


def test_every_answer_is_the_models_order_or_the_clusters(record):
    """Scores as the model gives them in this process, or byte for byte what the cluster says, and why."""
    record, _ = record
    assert not record.faults()[:5]


def test_fresh_queries_have_the_models_scores(record):
    """Those that nobody asked before, a sample."""
    record, truth = record
    fresh = [answer for answer in record.answers if answer.hits]
    sample = random.Random(SEED).sample(fresh, min(SAMPLE, len(fresh)))
    assert sample
    assert not [fault for answer in sample if (fault := truth.find_wrong_scores(answer.search, answer.hits))]


def test_no_answer_is_late(record):
    """The deadline, the time that the cluster itself stood still, and the slack of a busy machine."""
    record, _ = record
    assert not [answer for answer in record.answers if record.is_late(answer)][:5]


def test_counts_add_up(record):
    """No search is lost, none answered twice, and faults of all kinds were met."""
    record, _ = record
    assert record.sent == len(record.answers) + record.hung_up
    assert {fault.name for fault in record.injected} == set(FAULTS)
    outcomes = record.count_outcomes()
    assert 0 < outcomes["applied"] < len(record.answers)


def test_all_is_well_again_without_a_hand(record):
    """Workers serve, the breaker is closed."""
    record, _ = record
    assert record.recovered_s < RECOVERY_LIMIT_S


def test_nothing_is_left_in_redis(record):
    """Once the visibility timeout has passed: no job, reply, mark or score."""
    record, _ = record
    assert not record.left_over


def test_only_dead_workers_are_thought_to_have_died(record):
    """Else what they were computing would be suspected of having killed them."""
    record, _ = record
    assert record.thought_dead <= record.restarts


def test_no_process_grows(record):
    """Memory, open files and threads, before and after."""
    record, _ = record
    grown = {name for name, after in record.after.items() if after.exceeds(record.before[name])}
    assert not grown


def test_the_gateway_meets_no_mistake_of_its_own(record):
    record, _ = record
    assert "Traceback" not in record.gateway_log
