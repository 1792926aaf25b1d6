"""Knows how waiting jobs become forward passes: in which order, how many at once, the unwanted dropped."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from worker.contract import ScoreJob
from worker.contract.logs import Event

logger = logging.getLogger(__name__)

Row = dict[str, list[int]]


class Scorer(Protocol):
    """What a resident model must be able to do."""

    @property
    def tokens_at_once(self) -> int:
        """How many tokens it computes in one forward pass at most."""

    def encode(self, sentence_pairs: Sequence[tuple[str, str]]) -> list[Row]:
        """One row of ids per (query text, passage), in their order."""

    def score_encoded(self, rows: Sequence[Row]) -> Sequence[float]:
        """One logit per row, in their order."""


class ScoringError(Exception):
    """Base of why a job has no scores."""


class LateError(ScoringError):
    """The job's deadline passed before its last forward pass (nobody waits for it any more)."""


class CancelledJobError(LateError):
    """Whoever waited for the job went away before its last forward pass."""


class ModelFailedError(ScoringError):
    """The model raised, or not one finite number per pair (the texts or the model are at fault)."""


class ClosedError(ScoringError):
    """The batcher is shutting down (send the job to another worker)."""


@dataclass(frozen=True)
class Scored:
    """One logit per passage of a job, in its order, and what they took."""

    scores: tuple[float, ...]
    queue_ms: float  # from when it was encoded to the first forward pass
    model_ms: float  # encoding, and the forward passes that it had a share in
    n_tokens: int  # of its pairs
    submitted_s: float  # when it was encoded, of time.monotonic()
    passes: tuple[PassDone, ...]  # that it had a share in


Clock = Callable[[], float]
"""Epoch seconds, by the clock that deadlines go by."""

DEATHS = 2
"""A pair over which so many workers died is refused; after the first it is computed alone."""

_DECAY = 0.9  # of what is known of the speed, with each pass
_ENOUGH = 4.0  # passes, that they may be called slow
_SAME_SIZE = 0.1  # passes whose sizes differ by less tell nothing of what a token takes
_BULK_JOBS, _BULK_S = 2, 1.0  # so many jobs, or so many seconds' work, of bulk are kept ready
_SAMPLE = ScoreJob(
    id="sample",
    model="sample",
    query_text="a query as people type it",
    passages=tuple(f"passage {number}, some sentences long. " * 10 for number in range(8)),
    deadline=4e9,
)


class Speed:
    """How fast a model computes, by the passes of late; read by other threads."""

    def __init__(self) -> None:
        self._passes = self._seconds = self._tokens = self._characters = 0.0
        self._squares = self._products = 0.0  # of tokens; of tokens and seconds
        self._largest = 0.0  # tokens of a pass

    def add(self, seconds: float, tokens: int, characters: int) -> None:
        self._passes = self._passes * _DECAY + 1
        self._seconds = self._seconds * _DECAY + seconds
        self._tokens = self._tokens * _DECAY + tokens
        self._characters = self._characters * _DECAY + characters
        self._squares = self._squares * _DECAY + tokens * tokens
        self._products = self._products * _DECAY + tokens * seconds
        self._largest = max(self._largest * _DECAY, tokens)

    def tokens_within(self, seconds: float) -> float:
        """Of a pass that takes so long. 0: not known.

        A pass takes a time of its own, whatever is in it: nearly none usually, many times ``seconds`` where
        others use the same processor cores, since the model's threads wait for each other at every step.
        Then a pass takes up to twice that time: smaller ones would only be slower. They grow step by step,
        each at most twice the largest of late.
        """
        if not self._tokens:
            return 0.0
        mean_tokens, mean_s = self._tokens / self._passes, self._seconds / self._passes
        variance = self._squares / self._passes - mean_tokens**2
        covariance = self._products / self._passes - mean_tokens * mean_s
        at_most = mean_s / mean_tokens  # what a token takes, as if there were no such time
        if variance <= (_SAME_SIZE * mean_tokens) ** 2:
            is_slow = mean_s > seconds and self._passes > _ENOUGH
            return 2 * mean_tokens if is_slow else seconds / at_most  # one of another size tells why
        per_token = min(max(covariance / variance, at_most / 100), at_most)
        own_s = mean_s - per_token * mean_tokens
        return max(seconds / at_most, min(max(seconds - own_s, own_s) / per_token, 2 * self._largest))

    @property
    def tokens_per_s(self) -> float:
        """0: not known."""
        return self._tokens / self._seconds if self._seconds else 0.0

    @property
    def characters_per_s(self) -> float:
        """0: not known."""
        return self._characters / self._seconds if self._seconds else 0.0


@dataclass(eq=False)
class _Pair:
    """A pair that waits for its score, for one or several jobs."""

    texts: tuple[str, str]
    row: Row
    is_suspect: bool  # a worker died over it: it gets a pass of its own
    jobs: list[_Waiting] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return len(self.row["input_ids"])

    @property
    def n_characters(self) -> int:
        return len(self.texts[0]) + len(self.texts[1])


@dataclass(eq=False)
class _Waiting:
    """A job whose scores are not all there yet."""

    job: ScoreJob
    submitted_s: float = math.inf
    future: Future[Scored] = field(default_factory=Future)
    open: dict[str, _Pair] = field(default_factory=dict)  # passage → pair without a score, longest first
    scores: dict[str, float] = field(default_factory=dict)
    n_tokens: int = 0
    is_alone: bool = False  # a pass of several jobs failed: this one gets its own
    passes: list[PassDone] = field(default_factory=list)
    model_s: float = 0.0

    def goes_with(self, other: _Waiting) -> bool:
        """May they share a pass?"""
        return not self.is_alone and not other.is_alone and self.job.bulk == other.job.bulk

    def fail(self, error: ScoringError) -> None:
        for pair in self.open.values():
            pair.jobs.remove(self)
        self.open.clear()
        self.future.set_exception(error)


@dataclass(frozen=True)
class _Pass:
    """Pairs to be computed at once, and the jobs for which they were chosen."""

    pairs: list[_Pair]
    jobs: list[_Waiting]


@dataclass(frozen=True)
class PassDone:
    """What a forward pass was, for whoever counts; ``started_s`` is of ``time.monotonic()``."""

    started_s: float
    seconds: float
    pairs: int
    tokens: int
    jobs: int
    is_bulk: bool


class Observer(Protocol):
    """Who wants to know of passes; called in the scoring thread."""

    def pass_begins(self, pairs: Collection[tuple[str, str]]) -> None:
        """These pairs are going to be computed."""

    def pass_ends(self, done: PassDone) -> None:
        """They were."""


class Suspects(Protocol):
    """Who knows the pairs over which workers died."""

    def count_deaths(self, texts: tuple[str, str]) -> int:
        """How many died over this pair; called by many threads."""

    def clear(self, texts: tuple[str, str]) -> None:
        """The pair was computed, and nobody died of it; called in the scoring thread."""


class Loaded(Protocol):
    """What comes of loading."""

    @property
    def scorer(self) -> Scorer:
        """What scores."""


L = TypeVar("L", bound=Loaded)


class Batcher(Generic[L]):
    """Scores the jobs of many threads in one thread of its own, pass by pass.

    A pass is taken from all pairs that wait as soon as the model is free, so nothing waits while it is idle.
    Searches go before bulk; then the policy that has used the model least lately; in it the earliest
    deadline. Late and cancelled jobs are dropped between passes. Equal pairs are scored once. A pair over
    which a worker died is computed alone, one over which several did is refused.

    Args:
        load: gives the model, which then is ``loaded``. It is called in the scoring thread: OpenMP keeps a
            team of threads for each thread that computes, and a second one on the same cores makes small
            passes take twice as long.
        pass_s: how long a pass should take.
        clock: of the jobs' deadlines.

    Raises:
        Exception: whatever ``load`` raises.
    """

    def __init__(
        self,
        load: Callable[[], L],
        *,
        pass_s: float = 0.1,
        clock: Clock = time.time,
        observers: Sequence[Observer] = (),
        suspects: Suspects | None = None,
        name: str = "scoring",
    ) -> None:
        self._pass_s = pass_s
        self._clock = clock
        self._observers = observers
        self._suspects = suspects
        self.speed = Speed()
        self._waiting: list[_Waiting] = []
        self._pairs: dict[tuple[str, str], _Pair] = {}  # those that wait, to find equal ones
        self._used: Counter[str] = Counter()  # policy → tokens computed for it while it had jobs waiting
        self._changed = threading.Condition()
        self._is_closed = False
        self.pass_started_s: float | None = None
        loaded: Future[L] = Future()
        self._thread = threading.Thread(target=self._run, args=(load, loaded), name=name, daemon=True)
        self._thread.start()
        self.loaded = loaded.result()
        self._scorer = self.loaded.scorer

    def submit(self, job: ScoreJob) -> Future[Scored]:
        """Queue a job; its texts are encoded in the caller's thread.

        Returns:
            A future that gets the job's scores, or a `LateError` or `ModelFailedError` of this job alone.

        Raises:
            ClosedError: `close` was called.
        """
        return self.submit_many([job])[0]

    def submit_many(self, jobs: Sequence[ScoreJob]) -> list[Future[Scored]]:
        """The same for several, which takes less than one after the other."""
        started_s, now = time.monotonic(), self._clock()
        all_waiting = [_Waiting(job) for job in jobs]
        for waiting in all_waiting:
            waiting.future.set_running_or_notify_cancel()  # nobody can cancel it under the scoring thread
            if waiting.job.deadline <= now:
                waiting.fail(LateError("the deadline has passed"))
        to_encode = [waiting for waiting in all_waiting if not waiting.future.done()]
        encoded = self._encode(to_encode)
        suspects = {
            waiting: self._find_suspects(waiting) for waiting in to_encode if not waiting.future.done()
        }
        queued = [waiting for waiting in suspects if not waiting.future.done()]
        submitted_s = time.monotonic()
        with self._changed:
            if self._is_closed:
                raise ClosedError("the batcher is closed")
            for waiting in queued:
                rows = encoded[waiting]
                waiting.submitted_s = submitted_s
                waiting.model_s = submitted_s - started_s
                waiting.n_tokens = sum(len(row["input_ids"]) for row in rows.values())
                for passage, row in sorted(rows.items(), key=lambda found: -len(found[1]["input_ids"])):
                    texts = (waiting.job.query_text, passage)
                    new = _Pair(texts, row, is_suspect=passage in suspects[waiting])
                    pair = self._pairs.setdefault(texts, new)
                    pair.jobs.append(waiting)
                    waiting.open[passage] = pair
                self._join(waiting.job.policy)
                self._waiting.append(waiting)
            self._changed.notify()
        return [waiting.future for waiting in all_waiting]

    def _encode(self, jobs: Sequence[_Waiting]) -> dict[_Waiting, dict[str, Row]]:
        """Rows by passage, all at once; if that fails job by job, and only the one at fault fails."""
        passages = {waiting: list(dict.fromkeys(waiting.job.passages)) for waiting in jobs}
        pairs = [(waiting.job.query_text, text) for waiting, texts in passages.items() for text in texts]
        try:
            rows = iter(self._scorer.encode(pairs) if pairs else ())
            return {waiting: dict(zip(texts, rows, strict=False)) for waiting, texts in passages.items()}
        except Exception as error:
            if len(jobs) > 1:
                return {waiting: found for one in jobs for waiting, found in self._encode([one]).items()}
            logger.debug(Event("encode.failed"), exc_info=True)  # may quote the texts
            jobs[0].fail(_model_failed(error))
            return {}

    def _find_suspects(self, waiting: _Waiting) -> frozenset[str]:
        """The passages over which a worker died; the job fails where several did over one."""
        query_text = waiting.job.query_text
        deaths = {passage: self._count_deaths((query_text, passage)) for passage in waiting.job.passages}
        if max(deaths.values()) >= DEATHS:
            waiting.fail(ModelFailedError("workers died over a text of it"))
        return frozenset(passage for passage, count in deaths.items() if count)

    def measure(self) -> None:
        """Find out how fast the model is, before the first job comes."""
        for _ in range(2):  # what is slow only the first time counts little then
            self.submit(_SAMPLE).result()

    def has_room_for_bulk(self) -> bool:
        """Is so little of it waiting that the model may soon have nothing to do?"""
        with self._changed:
            waiting = [waiting for waiting in self._waiting if waiting.job.bulk]
            tokens = sum(pair.n_tokens for job in waiting for pair in job.open.values())
        return len(waiting) < _BULK_JOBS or tokens < _BULK_S * self.speed.tokens_per_s

    def job_ids(self, *, bulk: bool = True) -> list[str]:
        """Of the jobs that wait, with or without those of bulk."""
        with self._changed:
            return [waiting.job.id for waiting in self._waiting if bulk or not waiting.job.bulk]

    def cancel(self, job_ids: Collection[str]) -> None:
        """Drop jobs that nobody waits for."""
        with self._changed:
            for waiting in [waiting for waiting in self._waiting if waiting.job.id in job_ids]:
                self._drop(waiting, CancelledJobError("nobody waits for it"))

    def close(self) -> None:
        """Finish the jobs that wait, take no more, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _count_deaths(self, texts: tuple[str, str]) -> int:
        return self._suspects.count_deaths(texts) if self._suspects else 0

    def _join(self, policy: str) -> None:
        """A policy that comes back has not saved up for the time it was away."""
        here = {waiting.job.policy for waiting in self._waiting}
        if policy not in here:
            least = min((self._used[other] for other in here), default=0)
            self._used = Counter({other: self._used[other] for other in here})
            self._used[policy] = least

    def _run(self, load: Callable[[], L], loaded: Future[L]) -> None:
        try:
            loaded.set_result(load())
        except BaseException as error:
            loaded.set_exception(error)
            return
        while taken := self._take():
            self._compute(taken)

    def _take(self) -> _Pass | None:
        """What is to be scored next; nothing once closed and empty."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                self._drop_late()
                if self._waiting:
                    return self._choose()
                if self._is_closed:
                    return None

    def _drop_late(self) -> None:
        now = self._clock()
        for waiting in [waiting for waiting in self._waiting if waiting.job.deadline <= now]:
            self._drop(waiting, LateError("the deadline has passed"))

    def _choose(self) -> _Pass:
        room = self._room()
        chosen: dict[tuple[str, str], _Pair] = {}
        jobs: list[_Waiting] = []
        first: _Waiting | None = None
        for waiting in self._in_turn():
            first = first or waiting
            if waiting is not first and not waiting.goes_with(first):
                break
            for pair in waiting.open.values():
                if pair.texts in chosen or (pair.is_suspect and chosen):
                    continue
                if pair.is_suspect:
                    return _Pass([pair], [waiting])
                if chosen and pair.n_tokens > room:
                    return _Pass(list(chosen.values()), jobs)
                chosen[pair.texts] = pair
                room -= pair.n_tokens
                self._used[waiting.job.policy] += pair.n_tokens
                if waiting not in jobs[-1:]:
                    jobs.append(waiting)
        return _Pass(list(chosen.values()), jobs)

    def _in_turn(self) -> Iterator[_Waiting]:
        """All that wait, the most urgent first; whose policy's turn it is, is asked before each."""
        queues: defaultdict[tuple[bool, str], deque[_Waiting]] = defaultdict(deque)
        for waiting in sorted(self._waiting, key=lambda waiting: (waiting.job.deadline, waiting.submitted_s)):
            queues[waiting.job.bulk, waiting.job.policy].append(waiting)
        while queues:
            name = min(queues, key=lambda name: self._urgency(queues[name][0]))
            yield queues[name].popleft()
            if not queues[name]:
                del queues[name]

    def _urgency(self, waiting: _Waiting) -> tuple[bool, float, float, float]:
        job = waiting.job
        return job.bulk, self._used[job.policy], job.deadline, waiting.submitted_s

    def _room(self) -> float:
        """Tokens of a pass."""
        most = self._scorer.tokens_at_once
        return min(self.speed.tokens_within(self._pass_s) or most, most)

    def _compute(self, taken: _Pass) -> None:
        """One forward pass. If it fails, its jobs get passes of their own: only the one at fault fails."""
        pairs = taken.pairs
        for observer in self._observers:
            observer.pass_begins([pair.texts for pair in pairs])
        self.pass_started_s = started_s = time.monotonic()
        scores: Mapping[_Pair, float] = {}
        error = None
        try:
            scores = self._score(pairs)
        except ModelFailedError as failure:
            error = failure
        seconds = time.monotonic() - started_s
        self.pass_started_s = None
        tokens = sum(pair.n_tokens for pair in pairs)
        done = PassDone(started_s, seconds, len(pairs), tokens, len(taken.jobs), taken.jobs[0].job.bulk)
        if error is None:
            self.speed.add(seconds, tokens, sum(pair.n_characters for pair in pairs))
        with self._changed:
            # also for jobs that came during the pass with a pair that was in it
            for waiting in {waiting for pair in pairs for waiting in pair.jobs}:
                waiting.passes.append(done)
                waiting.model_s += seconds
            if error is None:
                self._give(scores)
            else:
                self._isolate(taken.jobs, error)
        for observer in self._observers:
            observer.pass_ends(done)

    def _score(self, pairs: list[_Pair]) -> dict[_Pair, float]:
        try:
            scores = [float(score) for score in self._scorer.score_encoded([pair.row for pair in pairs])]
        except Exception as error:
            logger.debug(Event("score.failed"), exc_info=True)
            raise _model_failed(error) from error
        if len(scores) != len(pairs):
            raise ModelFailedError(f"the model gave {len(scores)} scores for {len(pairs)} pairs")
        return dict(zip(pairs, scores, strict=True))

    def _give(self, scores: Mapping[_Pair, float]) -> None:
        """Put the scores into the jobs that waited for them, and finish those that have all."""
        for pair, score in scores.items():
            self._pairs.pop(pair.texts, None)
            if pair.is_suspect and self._suspects:
                self._suspects.clear(pair.texts)
            for waiting in list(pair.jobs):
                if not math.isfinite(score):
                    self._drop(waiting, ModelFailedError("the model's scores are not all finite"))
                    continue
                passage = pair.texts[1]
                del waiting.open[passage]
                waiting.scores[passage] = score
                if not waiting.open:
                    self._finish(waiting)

    def _finish(self, waiting: _Waiting) -> None:
        self._waiting.remove(waiting)
        scores = tuple(waiting.scores[passage] for passage in waiting.job.passages)
        queue_ms = (waiting.passes[0].started_s - waiting.submitted_s) * 1000
        scored = Scored(
            scores=scores,
            queue_ms=max(queue_ms, 0.0),
            model_ms=waiting.model_s * 1000,
            n_tokens=waiting.n_tokens,
            submitted_s=waiting.submitted_s,
            passes=tuple(waiting.passes),
        )
        waiting.future.set_result(scored)

    def _isolate(self, jobs: Sequence[_Waiting], error: ModelFailedError) -> None:
        if len(jobs) == 1:
            if not jobs[0].future.done():
                self._drop(jobs[0], error)
            return
        logger.warning(Event("score.split", jobs=len(jobs), error=error))
        for waiting in jobs:
            waiting.is_alone = True

    def _drop(self, waiting: _Waiting, error: ScoringError) -> None:
        self._waiting.remove(waiting)
        abandoned = [pair.texts for pair in waiting.open.values() if pair.jobs == [waiting]]
        for texts in abandoned:
            self._pairs.pop(texts, None)
        waiting.fail(error)


def _model_failed(error: Exception) -> ModelFailedError:
    return ModelFailedError(f"the model raised {type(error).__name__}")
