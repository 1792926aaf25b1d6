import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from demo import settings
from demo.errors import DemoError
from demo.processes import DEFAULT_PORTS, PORT_STEP, choose_port, make_plan
from demo.story import show_addresses
from gateway.settings import read_config
from search_plugin import Policy
from tests.conftest import wait_until


def test_a_taken_port_gives_way_to_the_service_s_next():
    """Whatever runs on this machine already: no port is a listening one."""
    with socket.socket() as taken:
        first = choose_port("engine")
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert choose_port("engine") >= first + PORT_STEP


def test_no_service_s_next_port_is_another_s_first():
    """Else one of two that start together would fail."""
    assert len({port % PORT_STEP for port in (DEFAULT_PORTS["engine"], DEFAULT_PORTS["gateway"])}) == 2
    assert len({port // 1000 for port in DEFAULT_PORTS.values()}) == 3


@pytest.mark.parametrize(
    ("environment", "processes"),
    [
        pytest.param({}, {"engine", "redis", "worker", "gateway", "flower"}, id="all our own"),
        pytest.param(
            {"CLUSTER_URL": "http://c:9200"}, {"redis", "worker", "gateway", "flower"}, id="a cluster runs"
        ),
        pytest.param(
            {"REDIS_URL": "redis://r/0"}, {"engine", "worker", "gateway", "flower"}, id="a Redis runs"
        ),
    ],
)
def test_what_runs_already_is_not_started(environment, processes, tmp_path, adapter):
    assert set(make_plan(environment, tmp_path, adapter).commands) == processes


def test_everything_is_reached_on_loopback_only(tmp_path, adapter):
    plan = make_plan({}, tmp_path, adapter)
    assert plan.environment["RERANK_GATEWAY_BIND"].startswith("127.0.0.1:")
    assert "--bind 127.0.0.1" in " ".join(plan.commands["redis"])
    assert plan.commands["flower"][-1].startswith("--bind=127.0.0.1:")


def test_the_pages_are_told_and_link_flower(tmp_path, adapter):
    plan = make_plan({}, tmp_path, adapter)
    assert plan.environment["RERANK_GATEWAY_FLOWER_URL"] == plan.flower_url
    told = show_addresses(plan, "what a person types")
    assert f"{plan.gateway_url}/_rerank/ui/\n" in told
    assert f"{plan.gateway_url}/_rerank/ui/compare?query=what+a+person+types&index=pydocs\n" in told


def test_credentials_go_to_clients_and_not_into_the_gateway_s_settings(tmp_path, adapter):
    plan = make_plan({"CLUSTER_URL": "https://me:secret@c:9200"}, tmp_path, adapter)
    assert plan.environment["RERANK_GATEWAY_CLUSTER_URL"] == "https://c:9200"
    assert plan.gateway_url.startswith("http://me:secret@127.0.0.1:")


def test_the_password_of_redis_is_in_no_command(tmp_path, adapter):
    """Every user of the machine can read those."""
    plan = make_plan({"REDIS_URL": "redis://:secret@r/0"}, tmp_path, adapter)
    assert "secret" not in str(plan.commands)


def test_the_gateway_understands_the_written_configuration(tmp_path, adapter):
    make_plan({}, tmp_path, adapter)
    assert read_config(tmp_path / "rerank.toml").policies == (
        Policy(
            name="pydocs",
            indices=("pydocs*",),
            model="pydocs",
            passage_fields=("title", "body"),
            window=settings.WINDOW,
            deadline_ms=settings.DEADLINE_MS,
        ),
    )


def test_an_unknown_engine_is_named(tmp_path, adapter):
    with pytest.raises(DemoError, match="ENGINE=solr: expected opensearch or elasticsearch"):
        make_plan({"ENGINE": "solr"}, tmp_path, adapter)


def test_a_missing_adapter_is_named_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(DemoError, match="python -m demo train"):
        make_plan({}, tmp_path, tmp_path / "none")


@pytest.mark.system
def test_when_a_process_ends_the_others_do_and_its_log_is_shown(tmp_path, adapter):
    """A Redis address that the worker refuses stands for whatever may end a process."""
    with demo(tmp_path, adapter, REDIS_URL="foo://127.0.0.1:1") as child:
        said, complaint = child.communicate(timeout=120)
        assert child.returncode == 1, said
        assert " stopped (rc=2); the end of its log " in complaint
        assert find_processes(tmp_path) == []


@pytest.mark.system
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_leaves_no_process_behind(tmp_path, adapter, number):
    """Whatever stage the start has reached."""
    with demo(tmp_path, adapter) as child:
        wait_until(lambda: find_processes(tmp_path))
        child.send_signal(number)
        child.communicate(timeout=60)
        assert child.returncode == 130
        assert find_processes(tmp_path) == []


@contextmanager
def demo(state, adapter, **environment):
    """The demo as its users start it; what it leaves behind is ended, whatever the test finds."""
    command = [sys.executable, "-m", "demo", "run", "--state", str(state), "--adapter", str(adapter)]
    environment = {**os.environ, "CLUSTER_URL": "http://127.0.0.1:9", **environment}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()
            for line in find_processes(state):
                os.kill(int(line.split()[0]), signal.SIGKILL)


def find_processes(state):
    """Those that the demo started: the state folder is in their environment."""
    listing = subprocess.run(
        ["ps", "eww", "-A", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    return [line for line in listing.stdout.splitlines() if f"RERANK_WORKER_CONFIG={state}" in line]
