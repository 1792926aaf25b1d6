"""A real worker's life: how it starts, what it survives, how it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from worker.contract import MARK_LIFE_S, bulk_queue, online_queue, reply_key

pytestmark = pytest.mark.system

START_S = 120


@pytest.fixture
def serving_worker(redis_server, start_worker, sender, wait_until):
    """A worker that serves, on a Redis of its own."""
    worker = start_worker(redis_server.url)
    wait_until(sender.is_served, START_S)
    return worker


def test_a_model_is_marked_as_served_only_once_it_is_loaded(redis_server, start_worker, sender, wait_until):
    worker = start_worker(redis_server.url)
    wait_until(sender.is_served, START_S)
    assert "model.loaded" in worker.log
    version = sender.read_serving().version
    assert sender.score("j", "passage").model_version == version


def test_a_job_sent_before_any_worker_is_scored_when_one_comes(redis_server, start_worker, sender):
    sender.send_job("early", "passage", deadline_s=START_S)
    start_worker(redis_server.url)
    assert sender.wait_for_reply("early", START_S).error is None


def test_the_mark_outlives_its_own_expiry_and_goes_when_the_worker_is_killed(
    serving_worker, sender, wait_until
):
    until = time.monotonic() + MARK_LIFE_S + 1
    while time.monotonic() < until:
        assert sender.is_served()
        time.sleep(0.1)
    serving_worker.end(signal.SIGKILL)
    wait_until(lambda: not sender.is_served(), MARK_LIFE_S + 0.5)


def test_a_killed_workers_bulk_goes_to_the_next_worker(redis_server, start_worker, sender, wait_until):
    first = start_worker(redis_server.url, "--visibility-timeout-s", "1")
    wait_until(sender.is_served, START_S)
    passages = [f"how to parse text {n}" for n in range(10_000)]  # takes seconds
    sender.send_job("long", *passages, deadline_s=300, queue=bulk_queue)
    wait_until(lambda: sender.count_unacknowledged())
    first.end(signal.SIGKILL)
    assert not sender.redis.exists(reply_key("long"))
    start_worker(redis_server.url, "--visibility-timeout-s", "30")
    assert len(sender.wait_for_reply("long", START_S).scores) == 10_000


@pytest.mark.parametrize(
    ("passages", "queue"),
    [
        pytest.param(1, online_queue, id="idle"),
        pytest.param(2_000, online_queue, id="in the middle of a search's job"),
        pytest.param(2_000, bulk_queue, id="in the middle of bulk"),
    ],
)
def test_a_worker_comes_back_by_itself_when_redis_does(
    passages, queue, redis_server, serving_worker, sender, wait_until
):
    """With bulk not yet acknowledged Celery itself gives up; the models must stay loaded."""
    sender.send_job("before", *[f"how to parse text {n}" for n in range(passages)], queue=queue)
    if passages == 1:
        sender.wait_for_reply("before")
    else:
        wait_until(lambda: sender.is_taken(queue))
    redis_server.kill()
    redis_server.start()
    wait_until(sender.is_served)
    assert sender.score("after", "passage").error is None
    wait_until(lambda: not sender.count_unacknowledged())
    assert serving_worker.process.poll() is None
    assert serving_worker.log.count("model.loaded") == 1


@pytest.mark.parametrize("queue", [online_queue, bulk_queue])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_worker_in_seconds_after_the_jobs_it_took(
    signal_number, queue, serving_worker, sender, wait_until
):
    passages = [f"how to parse text {n}" for n in range(2_000)]
    sender.send_job("last", *passages, queue=queue)
    wait_until(lambda: sender.is_taken(queue))
    started = time.monotonic()
    assert serving_worker.end(signal_number) == 0
    assert time.monotonic() - started < 15
    assert len(sender.wait_for_reply("last", 1).scores) == 2_000
    assert not sender.count_unacknowledged()
    wait_until(lambda: not sender.is_served(), MARK_LIFE_S + 0.5)


@pytest.mark.parametrize(
    ("broken_file", "named"),
    [
        pytest.param("config.json", "models.m.path", id="found before loading"),
        pytest.param("model.safetensors", "models.m", id="found in loading"),
    ],
)
def test_a_folder_without_a_model_ends_the_worker_with_one_clear_line(
    broken_file, named, reranker_folder, tmp_path
):
    folder = tmp_path / "model"
    shutil.copytree(reranker_folder, folder)
    (folder / broken_file).unlink()
    config = tmp_path / "rerank.toml"
    config.write_text(f'[models.m]\npath = "{folder}"\n')
    worker = subprocess.run(
        [sys.executable, "-m", "worker", "--config", config], capture_output=True, text=True, timeout=START_S
    )
    assert worker.returncode == 2
    assert worker.stdout == ""
    assert worker.stderr.startswith("worker: ")
    assert worker.stderr.count("\n") == 1
    assert named in worker.stderr
    assert str(folder) in worker.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="torch has another OpenMP there")
@pytest.mark.parametrize(
    ("environment", "told"),
    [
        pytest.param({}, "GOMP_SPINCOUNT = '1000'", id="by default"),
        pytest.param({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'", id="as the operator says"),
        pytest.param(
            {"OMP_WAIT_POLICY": "ACTIVE"}, "OMP_WAIT_POLICY = 'ACTIVE'", id="not where a policy is set"
        ),
    ],
)
def test_threads_that_wait_for_each_other_soon_sleep(environment, told, reranker_folder, tmp_path):
    """OpenMP tells what it goes by when it is loaded: the worker has set it before."""
    folder = tmp_path / "model"
    shutil.copytree(reranker_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))  # it ends soon
    config = tmp_path / "rerank.toml"
    config.write_text(f'[models.m]\npath = "{folder}"\n')
    worker = subprocess.run(
        [sys.executable, "-m", "worker", "--config", config],
        env=os.environ | {"OMP_DISPLAY_ENV": "VERBOSE"} | environment,
        capture_output=True,
        text=True,
        timeout=START_S,
    )
    assert worker.returncode == 2
    assert told in worker.stderr
    assert ("GOMP_SPINCOUNT = '1000'" in worker.stderr) == (not environment)


def test_a_model_on_several_devices_outlives_the_death_of_one(
    redis_server, start_worker, sender, wait_until, rerank_toml, tmp_path
):
    """The job that met it is answered with an error, the next one with scores; nothing is left at the end."""
    config = tmp_path / "two-devices.toml"
    config.write_text(rerank_toml.read_text().replace('"cpu"', '["cpu", "cpu"]'))
    worker = start_worker(redis_server.url, "--config", str(config))
    wait_until(sender.is_served, START_S)
    devices = {
        process
        for process in psutil.Process(worker.process.pid).children(recursive=True)
        if "spawn_main" in " ".join(process.cmdline())
    }
    assert len(devices) == 2
    before = sender.score("before", "passage", "how to")
    assert before.error is None
    for process in devices:
        process.kill()
    assert sender.score("hit", "passage", "how to").error is not None
    after = sender.score("after", "passage", "how to")
    assert after.scores == before.scores
    left = psutil.Process(worker.process.pid).children(recursive=True)
    worker.end(signal.SIGTERM)
    wait_until(lambda: not any(process.is_running() for process in left))
