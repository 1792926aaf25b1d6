"""A real worker process, and a sender that does what a gateway does."""

import subprocess
import sys
import time
from contextlib import closing

import pytest
from celery import Celery

from worker.contract import (
    KEY_PREFIX,
    SCORE_TASK,
    ScoreJob,
    ScoreReply,
    ServingModel,
    online_queue,
    reply_key,
    serving_key,
)
from worker.contract.address import RedisAddress

ALIAS = "tiny"


class WorkerProcess:
    """``python -m worker`` with its log in a file."""

    def __init__(self, folder, *flags, module="worker"):
        self._log_path = folder / f"worker-{time.monotonic_ns()}.log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", module, *flags], stdout=log, stderr=log)

    @property
    def log(self):
        return self._log_path.read_text()

    def end(self, signal_number):
        """Send the signal and return the exit code."""
        self.process.send_signal(signal_number)
        return self.process.wait(timeout=30)


class Sender:
    """Sends jobs as a gateway does and waits for their replies."""

    def __init__(self, redis_url):
        address = RedisAddress.from_url(redis_url)
        self.redis = address.connect(socket_timeout=None)  # BLPOP has its own
        self.app = Celery("sender", set_as_current=False)
        self.app.conf.update(address.configure_celery())

    def send(self, message, queue=online_queue):
        """Queue a message, well-formed or not; its task's id."""
        return self.app.send_task(
            SCORE_TASK, args=[message], argsrepr="(<job>,)", queue=queue(ALIAS), ignore_result=True
        ).id

    def send_job(
        self, job_id, *passages, query_text="how to delete a folder", deadline_s=60.0, queue=online_queue
    ):
        job = ScoreJob(
            id=job_id,
            model=ALIAS,
            query_text=query_text,
            passages=passages,
            deadline=time.time() + deadline_s,
        )
        return self.send(job.to_message(), queue)

    def wait_for_reply(self, job_id, timeout_s=30):
        popped = self.redis.blpop([reply_key(job_id)], timeout=timeout_s)
        assert popped, f"no reply to {job_id} within {timeout_s} s"
        return ScoreReply.from_message(popped[1])

    def score(self, job_id, *passages):
        self.send_job(job_id, *passages)
        return self.wait_for_reply(job_id)

    def is_served(self):
        return self.read_serving() is not None

    def read_serving(self):
        """What the workers tell of the model."""
        return ServingModel.from_hash(self.redis.hgetall(serving_key(ALIAS)), time.time())

    def is_taken(self, queue=online_queue):
        """Has a worker taken all that was sent?"""
        return not self.redis.llen(f"{KEY_PREFIX}{queue(ALIAS)}")

    def count_unacknowledged(self):
        """Only bulk is kept until it is acknowledged."""
        return self.redis.hlen(f"{KEY_PREFIX}unacked")

    def close(self):
        self.app.close()
        self.redis.close()


@pytest.fixture(scope="session")
def rerank_toml(reranker_folder, tmp_path_factory):
    """A configuration file with the tiny reranker."""
    path = tmp_path_factory.mktemp("config") / "rerank.toml"
    path.write_text(f'[models.{ALIAS}]\npath = "{reranker_folder}"\nmax_length = 64\ndevices = "cpu"\n')
    return path


@pytest.fixture
def start_worker(rerank_toml, tmp_path):
    """``start_worker(redis_url, *flags)`` starts one, which may not serve yet; all end with the test."""
    workers = []

    def start(redis_url, *flags, module="worker"):
        settings = ("--redis-url", redis_url, "--config", str(rerank_toml))
        workers.append(WorkerProcess(tmp_path, *settings, *flags, module=module))
        return workers[-1]

    yield start
    for worker in workers:
        worker.process.kill()
        worker.process.wait()


@pytest.fixture
def sender(redis_server):
    """A sender to the test's own Redis."""
    with closing(Sender(redis_server.url)) as sender:
        yield sender


@pytest.fixture(scope="module")
def shared_worker(redis_url, rerank_toml, tmp_path_factory, wait_until):
    """A worker, and a sender to it, that the tests of a module share."""
    worker = WorkerProcess(
        tmp_path_factory.mktemp("worker"), "--redis-url", redis_url, "--config", str(rerank_toml)
    )
    with closing(Sender(redis_url)) as sender:
        wait_until(lambda: sender.is_served() or worker.process.poll() is not None, timeout_s=120)
        assert worker.process.poll() is None, worker.log
        yield worker, sender
    worker.process.kill()
    worker.process.wait()
