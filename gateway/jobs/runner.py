"""Knows which jobs this process runs: finds them in Redis, starts, pauses and ends them, forgets old ones."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from celery import Celery
from redis import Redis, RedisError

from gateway.cluster import Cluster
from gateway.hangup import Watcher
from gateway.jobs.asking import JobCluster
from gateway.jobs.control import Control, Limiter
from gateway.jobs.home import Home
from gateway.jobs.run import JobRun, start_over
from gateway.jobs.safe import NoSecret, Safe
from gateway.jobs.scoring import BulkScorer
from gateway.jobs.spec import BadJob, read_spec
from gateway.jobs.spool import Locked, Spool
from gateway.jobs.store import ENDED, Job, JobStore, State, Wanted
from gateway.jobs.tools import JobTools
from gateway.policies import PolicyFile
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

_LOOK_S = 0.5
_SWEEP_S = 60.0
_INPUT_LIFE_S = 86_400.0  # a job whose input has not come in a day gets none


_STARTS: Mapping[Wanted, frozenset[State]] = {
    "run": frozenset({"queued", "running", "paused"}),
    "retry": frozenset({"done", "failed", "running"}),  # running: it died just after it had begun
}


@dataclass(frozen=True)
class RunnerParts:
    """What a runner is made of."""

    redis: Redis
    sender: Celery
    cluster: Cluster
    policies: PolicyFile
    home: Home
    safe: Safe
    at_once: int
    retention_s: float


class Runner:
    """Runs jobs in threads until it is told to stop; what it leaves, the next one goes on with."""

    def __init__(self, parts: RunnerParts) -> None:
        self._parts = parts
        self._store = JobStore(parts.redis)
        self._watcher = Watcher()
        self._running: dict[str, tuple[threading.Thread, Control]] = {}
        self._stopped = threading.Event()
        self._swept = 0.0

    def stop(self) -> None:
        """Let each job write down how far it is."""
        self._stopped.set()

    def run(self) -> None:
        """Until `stop` is called."""
        is_lost = False
        while not self._stopped.wait(_LOOK_S):
            try:
                self._look()
                is_lost = False
            except RedisError as error:
                if not is_lost:
                    logger.warning(Event("jobs.lost", error=error))
                is_lost = True
        for _, control in self._running.values():
            control.stop()
        for thread, _ in self._running.values():
            thread.join()

    def _look(self) -> None:
        self._store.mark_runner(self._parts.home.id)
        for job_id in [job_id for job_id, (thread, _) in self._running.items() if not thread.is_alive()]:
            del self._running[job_id]
        ours = [found for found in self._store.find_all() if found[0].home == self._parts.home.id]
        for job, wanted in reversed(ours):  # the oldest first
            self._attend(job, wanted)
        if time.monotonic() - self._swept > _SWEEP_S:
            self._swept = time.monotonic()
            self._sweep([job for job, _ in ours])

    def _attend(self, job: Job, wanted: Wanted) -> None:
        if job.id in self._running:
            _, control = self._running[job.id]
            if wanted in ("pause", "cancel"):
                control.stop()
            elif control.trouble != job.trouble:
                self._store.tell_trouble(job.id, control.trouble)
            return
        if wanted == "cancel" and job.state not in ENDED:
            self._settle(job, "cancelled")
        elif wanted == "pause" and job.state in ("queued", "running"):
            self._settle(job, "paused")
        elif job.state in _STARTS.get(wanted, ()):
            self._start(job)

    def _start(self, job: Job) -> None:
        if len(self._running) >= self._parts.at_once:
            return
        control = Control(self._watcher)
        thread = threading.Thread(target=self._run, args=(job.id, control), name=f"job-{job.id}", daemon=True)
        self._running[job.id] = (thread, control)
        thread.start()

    def _settle(self, job: Job, state: State) -> None:
        """Of one that nobody runs."""
        try:
            with self._parts.home.spool(job.id).locked():
                self._write(_change(job, state))
        except Locked:
            pass

    def _run(self, job_id: str, control: Control) -> None:
        spool = self._parts.home.spool(job_id)
        try:
            with spool.locked():
                found = self._store.find(job_id)
                if found is None:
                    return
                job, wanted = found
                if wanted == "retry" and job.state in ENDED:
                    job = _prepare_retry(job, spool)
                elif wanted not in ("run", "retry") or job.state in ENDED:
                    return
                job = replace(job, state="running", started=job.started or time.time(), error="")
                self._write(job)
                if wanted == "retry":
                    self._store.want(job_id, "run")
                logger.info(Event("job.started", id=job.id, kind=job.spec["kind"], round=job.round))
                job = self._carry_on(job, spool, control)
                logger.info(Event("job.left", id=job.id, state=job.state, done=job.done, failed=job.failed))
                self._write(job)
        except Locked:
            pass  # another process runs it
        except RedisError as error:
            logger.warning(Event("job.lost", id=job_id, error=error))
        finally:
            control.close()

    def _carry_on(self, job: Job, spool: Spool, control: Control) -> Job:
        parts = self._parts
        try:
            spec = read_spec(job.spec)
            resolved = spec.resolve(parts.policies.current())
            authorization = parts.safe.take(self._store.read_secret(job.id))
        except (BadJob, NoSecret) as error:
            return _change(job, "failed", str(error))
        tools = JobTools(
            job=job,
            resolved=resolved,
            spool=spool,
            cluster=JobCluster(parts.cluster, control, authorization),
            scorer=BulkScorer(parts.redis, parts.sender, control, Limiter(control, spec.max_pairs_per_s)),
            control=control,
            policies=parts.policies,
        )
        return JobRun(job, spec, tools, self._store).run()

    def _write(self, job: Job) -> None:
        """For as long as it takes: an end that is not written down would be come to again."""
        while True:
            try:
                self._store.write(job)
                return
            except RedisError as error:
                logger.warning(Event("job.unwritten", id=job.id, error=error))
                if self._stopped.wait(1.0):
                    return

    def _sweep(self, jobs: list[Job]) -> None:
        """Forget what has ended long ago, and what never began."""
        now = time.time()
        for job in jobs:
            is_old = job.state in ENDED and job.ended < now - self._parts.retention_s
            has_no_input = job.state == "awaiting_input" and job.created < now - _INPUT_LIFE_S
            if is_old or has_no_input:
                logger.info(Event("job.forgotten", id=job.id))
                self._store.forget(job.id)
                self._parts.home.spool(job.id).delete()


def stop_with_parent(runner: Runner) -> None:
    """Stop the runner by a signal, or when the process that has started this one is gone."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    threading.Thread(target=watch, name="parent", daemon=True).start()


def _prepare_retry(job: Job, spool: Spool) -> Job:
    """What failed is done again; a job that itself failed goes on, or begins where it had done nothing."""
    if job.state == "failed":
        return start_over(job) if not job.done else job
    retried = spool.retried(job.round + 1)
    if not retried.exists():  # else the one before has died right here
        with spool.failures.open("rb+") as file:
            file.truncate(job.failures_bytes)
        spool.failures.replace(retried)
    return replace(
        job, round=job.round + 1, cursor=None, failed=0, seen=0, failures_bytes=0, total=None, ended=0.0
    )


def _change(job: Job, state: State, error: str = "") -> Job:
    ended = time.time() if state in ENDED else 0.0
    return replace(job, state=state, ended=ended, error=error, trouble="")
