"""Knows how waiting jobs become forward passes: merged, earliest deadline first, the unwanted dropped."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from worker.contract import ScoreJob

logger = logging.getLogger(__name__)


class Scorer(Protocol):
    """What a resident model must be able to do."""

    def compute_score(self, sentence_pairs: list[tuple[str, str]]) -> Sequence[float]:
        """One logit per (query text, passage), in their order."""


class ScoringError(Exception):
    """Base of why a job has no scores."""


class LateError(ScoringError):
    """The job's deadline passed before its forward pass (nobody waits for it any more)."""


class CancelledJobError(LateError):
    """Whoever waited for the job went away before its forward pass."""


class ModelFailedError(ScoringError):
    """The model raised, or not one finite number per pair (the texts or the model are at fault)."""


class ClosedError(ScoringError):
    """The batcher is shutting down (send the job to another worker)."""


@dataclass(frozen=True)
class Scored:
    """One logit per passage of a job, in its order, and what they took."""

    scores: tuple[float, ...]
    queue_ms: float  # from submit to the forward pass
    model_ms: float  # the forward pass, shared with the jobs merged into it


@dataclass(order=True)
class _Waiting:
    deadline: float
    submitted_s: float  # equal deadlines: first come, first served
    job: ScoreJob = field(compare=False)
    future: Future[Scored] = field(compare=False, default_factory=Future)

    def drop_if_late(self) -> bool:
        """Fail the job if its deadline has passed, and say whether it did."""
        if self.deadline > time.time():
            return False
        self.future.set_exception(LateError("the deadline has passed"))
        return True


FindCancelled = Callable[[Sequence[str]], Container[str]]
"""Job ids → those of them that nobody waits for."""


def _find_none(job_ids: Sequence[str]) -> Container[str]:
    return ()


class Batcher:
    """Scores the jobs of many threads in one thread of its own: all that wait make one forward pass.

    An idle batcher scores a job at once. While a pass runs, jobs gather for the next one.

    Args:
        max_pairs: of one pass; a job over it goes alone.
        find_cancelled: asked once a pass; it must not raise.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        max_pairs: int,
        find_cancelled: FindCancelled = _find_none,
        name: str = "scoring",
    ) -> None:
        self._scorer = scorer
        self._max_pairs = max_pairs
        self._find_cancelled = find_cancelled
        self._waiting: list[_Waiting] = []  # a heap
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: ScoreJob) -> Future[Scored]:
        """Queue a job.

        Returns:
            A future that gets the job's scores, or a `LateError` or `ModelFailedError` of this job alone.

        Raises:
            ClosedError: `close` was called.
        """
        waiting = _Waiting(job.deadline, time.monotonic(), job)
        waiting.future.set_running_or_notify_cancel()  # nobody can cancel it under the scoring thread
        with self._changed:
            if self._is_closed:
                raise ClosedError("the batcher is closed")
            heapq.heappush(self._waiting, waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Finish the jobs that wait, take no more, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._take():
            if wanted := self._drop_cancelled(batch):
                self._score(wanted)

    def _take(self) -> list[_Waiting]:
        """The jobs of the next pass, at least one; none once closed and empty."""
        batch: list[_Waiting] = []
        with self._changed:
            while not batch:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return []
                self._fill(batch)
        return batch

    def _fill(self, batch: list[_Waiting]) -> None:
        room = self._max_pairs
        while self._waiting:
            if self._waiting[0].drop_if_late():
                heapq.heappop(self._waiting)
                continue
            room -= len(self._waiting[0].job.passages)
            if batch and room < 0:
                return
            batch.append(heapq.heappop(self._waiting))

    def _drop_cancelled(self, batch: list[_Waiting]) -> list[_Waiting]:
        cancelled = self._find_cancelled([waiting.job.id for waiting in batch])
        for waiting in batch:
            if waiting.job.id in cancelled:
                waiting.future.set_exception(CancelledJobError("nobody waits for it"))
        return [waiting for waiting in batch if waiting.job.id not in cancelled]

    def _score(self, batch: list[_Waiting]) -> None:
        """Score the jobs together; if that fails, one by one, so that only the job at fault fails."""
        started_s = time.monotonic()
        try:
            logits = iter(self._compute([waiting.job for waiting in batch]))
        except ModelFailedError as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            logger.warning("score.split jobs=%d: %s", len(batch), error)
            for waiting in batch:
                if not waiting.drop_if_late():
                    self._score([waiting])
            return
        model_ms = (time.monotonic() - started_s) * 1000
        for waiting in batch:
            scores = tuple(islice(logits, len(waiting.job.passages)))
            if all(map(math.isfinite, scores)):
                queue_ms = (started_s - waiting.submitted_s) * 1000
                waiting.future.set_result(Scored(scores, queue_ms, model_ms))
            else:
                waiting.future.set_exception(ModelFailedError("the model's scores are not all finite"))

    def _compute(self, jobs: list[ScoreJob]) -> list[float]:
        pairs = [(job.query_text, passage) for job in jobs for passage in job.passages]
        try:
            logits = [float(logit) for logit in self._scorer.compute_score(pairs)]
        except Exception as error:
            logger.debug("score.failed", exc_info=True)  # may quote the texts
            raise ModelFailedError(f"the model raised {type(error).__name__}") from error
        if len(logits) != len(pairs):
            raise ModelFailedError(f"the model gave {len(logits)} scores for {len(pairs)} pairs")
        return logits
