"""Flower as it is started here: a real one, with a real worker, asked over HTTP."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from tests.conftest import find_free_port, wait_until
from tests.processes import running

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SECRET = "topsecret"
LOGIN = urllib3.util.make_headers(basic_auth="operator:pass")
STRANGER = urllib3.util.make_headers(basic_auth="operator:wrong")


@pytest.fixture(scope="module")
def flower(shared_worker, redis_url, tmp_path_factory):
    """``flower(method, path, **headers)`` asks one that has seen a job of users' texts."""
    _, sender = shared_worker
    folder, port = tmp_path_factory.mktemp("flower"), find_free_port()
    environment = {"RERANK_MONITOR_REDIS_URL": redis_url, "RERANK_MONITOR_PASSWORD": "pass"}
    command = [sys.executable, "-m", "worker.monitor", "--bind", f"0.0.0.0:{port}"]
    command += ["--url-prefix", "workers", "--max-tasks", "10"]

    def ask(method, path, headers=LOGIN, body=None):
        url = f"http://127.0.0.1:{port}/workers{path}"
        return urllib3.request(method, url, body=body, headers=headers, retries=False, timeout=10)

    def tasks():
        return json.loads(ask("GET", "/api/tasks").data)

    def answers():
        process.expect_running()
        try:
            return ask("GET", "/healthcheck").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    numbers = itertools.count()

    def has_seen_a_job():
        """Events of before it listened are gone, so that each look is after a job of its own."""
        number = next(numbers)
        sender.send_job(f"seen{number}", f"{SECRET} passage {number}", query_text=f"{SECRET} query")
        sender.wait_for_reply(f"seen{number}")
        return "SUCCESS" in {task["state"] for task in tasks().values()}

    with running(command, environment, folder / "flower.log") as process:
        wait_until(answers, timeout_s=60)
        wait_until(has_seen_a_job, timeout_s=60)
        ask.process, ask.sender, ask.tasks = process, sender, tasks
        yield ask


def test_the_job_is_shown_from_its_arrival_to_its_end(flower):
    """Events of the worker's own making: received, started, succeeded."""
    task_id = flower.sender.send_job("watched", "passage")

    def find_ended():
        task = flower.tasks().get(task_id)
        return task if task and task["state"] == "SUCCESS" else None

    task = wait_until(find_ended)
    assert task["name"] == "rerank.score"
    assert task["received"] <= task["started"] <= task["succeeded"]
    assert task["runtime"] > 0
    assert task["worker"].startswith("rerank-")


def test_no_text_of_a_user_is_shown(flower):
    task_id = next(iter(flower.tasks()))
    for path in (
        "/tasks",
        "/workers",
        f"/task/{task_id}",
        "/api/tasks",
        f"/api/task/info/{task_id}",
        "/metrics",
    ):
        answered = flower("GET", path)
        assert answered.status == 200, path
        assert SECRET.encode() not in answered.data, path
    assert "<job" in flower.tasks()[task_id]["args"]


@pytest.mark.parametrize("path", ["/", "/workers", "/tasks", "/broker", "/api/tasks", "/api/workers"])
@pytest.mark.parametrize(
    "headers",
    [{}, urllib3.util.make_headers(basic_auth="operator:wrong")],
    ids=["nobody", "a wrong password"],
)
def test_who_does_not_log_in_sees_nothing(path, headers, flower):
    answered = flower("GET", path, headers)
    assert answered.status == 401
    assert b"rerank.score" not in answered.data


@pytest.mark.parametrize(
    "path",
    [
        "/api/worker/shutdown/{worker}",
        "/api/worker/pool/grow/{worker}",
        "/api/worker/queue/cancel-consumer/{worker}?queue=online.tiny",
        "/api/task/send-task/rerank.score",
        "/api/task/async-apply/rerank.score",
        "/api/task/revoke/{task}",
    ],
)
def test_nothing_can_be_changed(path, flower):
    task_id, task = next(iter(flower.tasks().items()))
    path = path.format(worker=task["worker"], task=task_id)
    assert flower("POST", path, body=b"{}").status == 403
    assert flower.sender.score(f"after{len(path)}", "passage").error is None


def test_a_bounded_number_of_jobs_is_remembered(flower):
    for number in range(15):
        flower.sender.score(f"many{number}", f"passage {number}")
    wait_until(lambda: "SUCCESS" in {task["state"] for task in flower.tasks().values()})
    assert len(flower.tasks()) <= 10


def test_the_password_is_in_no_list_of_processes(flower):
    assert b"pass" not in Path(f"/proc/{flower.process.pid}/cmdline").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(["--bind", "0.0.0.0:5555"], "--password is needed", id="open without password"),
        pytest.param(["--bind", "[::]:5555"], "--password is needed", id="open in IPv6"),
        pytest.param(["--bind", "5555"], "--bind", id="no host"),
        pytest.param(["--redis-url", "http://:secret@r"], "--redis-url", id="not Redis"),
        pytest.param(["--nonsense", "1"], "nonsense", id="unknown option"),
        pytest.param(["--max-tasks", "0"], "--max-tasks", id="remembers nothing"),
    ],
)
def test_it_does_not_start_wrongly(flags, message):
    command = [sys.executable, "-m", "worker.monitor", *flags]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert "secret" not in ended.stderr
