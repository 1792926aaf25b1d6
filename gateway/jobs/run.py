"""Knows how one job is carried on: batches side by side, committed in order, a checkpoint now and then."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from redis import RedisError

from gateway.errors import ClientGone
from gateway.jobs.destination import Bulk
from gateway.jobs.items import Batch, BeginAnew, Done, Failure, JobFailed, Outcome, Tally, Work
from gateway.jobs.pairs import PairsWork
from gateway.jobs.queries import QueriesWork
from gateway.jobs.scan import ScanWork
from gateway.jobs.spec import Spec
from gateway.jobs.spool import RowFile
from gateway.jobs.store import Job, JobStore
from gateway.jobs.tools import JobTools
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

KINDS: Mapping[str, type[Any]] = {"queries": QueriesWork, "pairs": PairsWork, "scan": ScanWork}

_CHECKPOINT_S = 0.5
_AHEAD = 2  # batches that are done or under way, for each that is worked on
_HOPELESS = 100  # so many failures, and nothing done: the rest will fail too
_ANEW = 3


@dataclass(frozen=True)
class _Taken:
    """A batch that is worked on."""

    batch: Batch[Any]
    outcomes: Future[list[Outcome]]


class JobRun:
    """Carries a job on, from its last checkpoint; whoever calls holds its folder's lock.

    ``job`` is how far it is.
    """

    def __init__(self, job: Job, spec: Spec, tools: JobTools, store: JobStore) -> None:
        self.job = job
        self._spec = spec
        self._tools = tools
        self._store = store
        self._tally = Tally()
        self._written = 0.0

    def run(self) -> Job:
        """To its end, or until it is stopped.

        Returns:
            The job as it is then: done, failed, or running where it was stopped.
        """
        try:
            while True:
                try:
                    self._run_round()
                    return self._end("done")
                except BeginAnew as reason:
                    self._begin_anew(str(reason))
        except ClientGone:  # Stopped, or an answer that was broken off
            return self.job
        except (JobFailed, OSError) as error:
            logger.warning(Event("job.failed", id=self.job.id, error=error))
            return self._end("failed", str(error))
        except Exception as error:
            logger.exception(Event("job.failed", id=self.job.id))
            return self._end("failed", f"a mistake of the gateway's: {type(error).__name__}")

    def _run_round(self) -> None:
        tools = replace(self._tools, job=self.job)
        work: Work[Any] = KINDS[self._spec.kind](self._spec, tools)
        bulk = Bulk(tools.cluster)
        if self._spec.destination and self._spec.destination.index:
            bulk.prepare(self._spec.destination.index)
        self._results = RowFile(tools.spool.results, self.job.results_bytes)
        self._failures = RowFile(tools.spool.failures, self.job.failures_bytes)

        def do(batch: Batch[Any]) -> list[Outcome]:
            return bulk.write(work.do(batch))

        taken: deque[_Taken] = deque()
        most = _AHEAD * self._spec.concurrency
        pool = ThreadPoolExecutor(self._spec.concurrency, thread_name_prefix=f"job-{self.job.id[:8]}")
        with closing(self._results), closing(self._failures):
            try:
                for batch in work.batches(self.job.cursor):
                    taken.append(_Taken(batch, pool.submit(do, batch)))
                    while taken and (len(taken) >= most or taken[0].outcomes.done()):
                        self._commit(taken.popleft(), work)
                    tools.control.check()
                while taken:
                    self._commit(taken.popleft(), work)
            except BeginAnew:
                raise
            except BaseException:
                tools.control.stop()  # or the other batches would be waited for, perhaps for long
                raise
            finally:
                pool.shutdown(cancel_futures=True)
                self._checkpoint(work)
        with suppress(ClientGone):
            work.close()

    def _commit(self, taken: _Taken, work: Work[Any]) -> None:
        while not wait([taken.outcomes], _CHECKPOINT_S).done:
            self._checkpoint_sometimes(work)
        done = failed = pairs = 0
        for outcome in taken.outcomes.result():
            row = json.dumps(outcome.row, ensure_ascii=False).encode("utf-8", "backslashreplace")
            if isinstance(outcome, Done):
                self._results.append(row)
                done += 1
                pairs += outcome.pairs
            else:
                self._failures.append(row)
                failed += 1
        job = self.job
        self._tally.add(time.monotonic(), pairs, done + failed)
        self.job = replace(
            job,
            cursor=taken.batch.cursor,
            done=job.done + done,
            failed=job.failed + failed,
            seen=job.seen + done + failed,
            pairs=job.pairs + pairs,
        )
        if not self.job.done and self.job.failed >= _HOPELESS:
            last = taken.outcomes.result()[-1]
            reason = last.reason if isinstance(last, Failure) else ""
            raise JobFailed(f"the first {self.job.failed} items all failed, the last with: {reason}")
        self._checkpoint_sometimes(work)

    def _checkpoint_sometimes(self, work: Work[Any]) -> None:
        if time.monotonic() - self._written < _CHECKPOINT_S:
            return
        self._checkpoint(work)

    def _checkpoint(self, work: Work[Any]) -> None:
        """Files first: what Redis says is there is there."""
        self._written = time.monotonic()
        rates = self._tally.rates(self._written)
        self.job = replace(
            self.job,
            results_bytes=self._results.sync(),
            failures_bytes=self._failures.sync(),
            total=work.total,
            pairs_per_s=rates[0],
            items_per_s=rates[1],
            trouble=self._tools.control.trouble,
        )
        try:
            self._store.write(self.job)
        except RedisError as error:
            logger.warning(Event("job.unwritten", id=self.job.id, error=error))

    def _begin_anew(self, reason: str) -> None:
        if self.job.anew >= _ANEW or self.job.round:
            raise JobFailed(f"{reason}, again")
        logger.warning(Event("job.anew", id=self.job.id, reason=reason))
        self.job = start_over(self.job)

    def _end(self, state: Any, error: str = "") -> Job:
        self.job = replace(
            self.job,
            state=state,
            ended=time.time(),
            error=error,
            trouble="",
            pairs_per_s=0.0,
            items_per_s=0.0,
        )
        return self.job


def start_over(job: Job) -> Job:
    """At its beginning, with nothing done."""
    return replace(
        job,
        cursor=None,
        done=0,
        failed=0,
        seen=0,
        pairs=0,
        results_bytes=0,
        failures_bytes=0,
        anew=job.anew + 1,
    )
