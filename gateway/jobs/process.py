"""Knows the runner as a process: what it is made of, and that the gateway keeps one beside it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.cluster import open_cluster
from gateway.errors import ConfigurationError
from gateway.jobs.home import Home
from gateway.jobs.runner import Runner, RunnerParts, stop_with_parent
from gateway.jobs.safe import Safe
from gateway.policies import PolicyFile
from gateway.score_queue import make_sender
from gateway.settings import GatewaySettings
from worker.contract.address import RedisAddress
from worker.contract.logs import Event
from worker.contract.traces import begin_tracing

logger = logging.getLogger(__name__)

_SOCKET_TIMEOUT_S = 5.0
_CONNECTIONS = 32  # to Redis and to each node, kept for the next use
_RESTART_S = 1.0
_DAY_S = 86_400.0


def run_jobs(settings: GatewaySettings) -> None:
    """Run jobs until told to stop, or until the parent process is gone.

    Raises:
        ConfigurationError: there is no folder for jobs, or another setting is wrong.
    """
    if settings.jobs_folder is None:
        raise ConfigurationError("--jobs-folder: is needed to run jobs")
    begin_tracing("rerank-gateway", settings.traces_endpoint, settings.traces_ratio)
    timeouts = {"socket_timeout": _SOCKET_TIMEOUT_S, "socket_connect_timeout": _SOCKET_TIMEOUT_S}
    address = RedisAddress.from_url(settings.redis_url)
    runner = Runner(
        RunnerParts(
            redis=address.connect(retry=Retry(NoBackoff(), 1), **timeouts),
            sender=make_sender(address, timeouts, _CONNECTIONS),
            cluster=open_cluster(settings, idle_connections=_CONNECTIONS),
            policies=PolicyFile(settings.config),
            home=Home(settings.jobs_folder),
            safe=Safe(settings.jobs_secret.get_secret_value()),
            at_once=settings.jobs_at_once,
            retention_s=settings.jobs_retention_days * _DAY_S,
        )
    )
    stop_with_parent(runner)
    runner.run()


@contextmanager
def runner_beside(argv: Sequence[str]) -> Iterator[None]:
    """Keep a process that runs jobs, with the gateway's own arguments; where one dies, another is started."""
    owner = os.getpid()
    ended = threading.Event()
    command = [sys.executable, "-m", "gateway", "run-jobs", *argv]
    environment = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    current = [subprocess.Popen(command, env=environment)]

    def keep() -> None:
        while not ended.is_set():
            current[0].wait()
            if not ended.wait(_RESTART_S):
                logger.warning(Event("runner.died"))
                current[0] = subprocess.Popen(command, env=environment)

    threading.Thread(target=keep, name="job-runner", daemon=True).start()
    try:
        yield
    finally:
        if os.getpid() == owner:  # the processes that were forked meanwhile come here too
            ended.set()
            current[0].terminate()
            current[0].wait()
