"""How waiting jobs are merged into forward passes, and that one job's trouble stays its own."""

import math
import threading
import time

import pytest

from worker.batching import Batcher, CancelledJobError, ClosedError, LateError, ModelFailedError
from worker.contract import ScoreJob

WAIT_S = 10  # for what happens at once
FAR = 4e9


class Scorer:
    """Gives a passage the number in its text; each pass waits until the test lets it go."""

    def __init__(self, is_gated=True):
        self.calls = []
        self._entered = threading.Semaphore(0)
        self._let_go = threading.Semaphore(0)
        self._is_gated = is_gated

    def compute_score(self, pairs):
        self.calls.append([passage for _, passage in pairs])
        self._entered.release()
        if self._is_gated:
            assert self._let_go.acquire(timeout=WAIT_S)
        if any(passage == "poison" for _, passage in pairs):
            raise RuntimeError("the text is poison")
        if any(passage == "short" for _, passage in pairs):
            return [0.0]
        return [float(passage) for _, passage in pairs]

    def wait_for_pass(self):
        assert self._entered.acquire(timeout=WAIT_S)

    def let_go(self, passes=1):
        self._let_go.release(passes)


@pytest.fixture
def scorer():
    return Scorer()


@pytest.fixture
def batcher(scorer):
    """A batcher whose first pass, with one job, is under way."""
    batcher = Batcher(scorer, max_pairs=4)
    batcher.submit(make_job("0"))
    scorer.wait_for_pass()
    yield batcher
    scorer.let_go(100)
    batcher.close()


def make_job(*passages, deadline=FAR, job_id="j"):
    return ScoreJob(id=job_id, model="m", query_text="q", passages=passages, deadline=deadline)


def scores_of(future):
    return future.result(timeout=WAIT_S).scores


def test_jobs_that_wait_make_one_pass_and_get_their_own_scores(batcher, scorer):
    futures = [batcher.submit(make_job(*passages)) for passages in (("1", "2"), ("3",), ("4",))]
    scorer.let_go(2)
    assert [scores_of(future) for future in futures] == [(1, 2), (3,), (4,)]
    assert scorer.calls == [["0"], ["1", "2", "3", "4"]]


@pytest.mark.parametrize(
    ("earlier_by", "order"),
    [
        pytest.param([0, 1, 0, 2], ["4", "2", "1", "3"], id="the earliest deadline first"),
        pytest.param([0, 0, 0, 0], ["1", "2", "3", "4"], id="equal deadlines in their order"),
    ],
)
def test_jobs_are_scored_in_the_order_of_their_deadlines(batcher, scorer, earlier_by, order):
    jobs = [make_job(str(n), deadline=FAR - seconds) for n, seconds in enumerate(earlier_by, start=1)]
    futures = [batcher.submit(job) for job in jobs]
    scorer.let_go(2)
    assert [scores_of(future) for future in futures] == [(1,), (2,), (3,), (4,)]
    assert scorer.calls[1] == order


@pytest.mark.parametrize(
    ("sizes", "passes"),
    [
        pytest.param([2, 2], [4], id="as many as fit"),
        pytest.param([2, 3], [2, 3], id="one that does not fit is left for the next"),
        pytest.param([3, 2, 1], [3, 3], id="none overtakes the one that is left"),
        pytest.param([5, 1], [5, 1], id="a job over the limit goes alone"),
    ],
)
def test_a_pass_has_no_more_pairs_than_allowed(batcher, scorer, sizes, passes):
    futures = [batcher.submit(make_job(*["1"] * size)) for size in sizes]
    scorer.let_go(10)
    assert [len(scores_of(future)) for future in futures] == sizes
    assert [len(call) for call in scorer.calls[1:]] == passes


def test_a_late_job_is_never_scored_and_takes_no_room(batcher, scorer):
    late = batcher.submit(make_job("9", "9", "9", deadline=time.time()))
    others = [batcher.submit(make_job("1", "2")), batcher.submit(make_job("3", "4"))]
    scorer.let_go(2)
    assert [scores_of(future) for future in others] == [(1, 2), (3, 4)]
    with pytest.raises(LateError):
        late.result(timeout=WAIT_S)
    assert scorer.calls == [["0"], ["1", "2", "3", "4"]]


def test_a_batcher_goes_on_after_late_jobs_alone(batcher, scorer):
    late = batcher.submit(make_job("9", deadline=time.time()))
    scorer.let_go()
    with pytest.raises(LateError):
        late.result(timeout=WAIT_S)
    scorer.let_go()
    assert scores_of(batcher.submit(make_job("1"))) == (1,)


def test_jobs_that_nobody_waits_for_are_left_out_of_a_pass(scorer):
    asked = []

    def find_cancelled(job_ids):
        asked.append(list(job_ids))
        return {"gone"}

    batcher = Batcher(scorer, max_pairs=4, find_cancelled=find_cancelled)
    batcher.submit(make_job("0"))
    scorer.wait_for_pass()
    gone = [batcher.submit(make_job("9", job_id="gone")) for _ in range(2)]
    kept = batcher.submit(make_job("1"))
    scorer.let_go(2)
    assert scores_of(kept) == (1,)
    for future in gone:
        with pytest.raises(CancelledJobError):
            future.result(timeout=WAIT_S)
    assert scorer.calls == [["0"], ["1"]]
    assert asked == [["j"], ["gone", "gone", "j"]]  # once a pass
    batcher.submit(make_job("9", job_id="gone"))
    batcher.close()  # a pass with nobody left is none
    assert len(scorer.calls) == 2


@pytest.mark.parametrize("poison", ["poison", "short"], ids=["it raises", "it gives too few scores"])
def test_only_the_job_that_makes_the_model_fail_fails(batcher, scorer, poison):
    futures = [batcher.submit(make_job(*passages)) for passages in (("1",), (poison, "5"), ("2",))]
    scorer.let_go(10)
    assert [scores_of(futures[0]), scores_of(futures[2])] == [(1,), (2,)]
    with pytest.raises(ModelFailedError):
        futures[1].result(timeout=WAIT_S)
    assert scorer.calls[1:] == [["1", poison, "5", "2"], ["1"], [poison, "5"], ["2"]]


def test_a_job_that_became_late_in_a_failed_pass_is_not_scored_again(batcher, scorer):
    deadline = time.time() + 0.2
    futures = [batcher.submit(make_job("poison", deadline=deadline)), batcher.submit(make_job("1"))]
    scorer.let_go()
    scorer.wait_for_pass()  # both are in it
    threading.Event().wait(deadline - time.time())
    scorer.let_go(10)
    assert scores_of(futures[1]) == (1,)
    with pytest.raises(LateError):
        futures[0].result(timeout=WAIT_S)
    assert scorer.calls[1:] == [["poison", "1"], ["1"]]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_score_that_is_not_finite_fails_its_own_job_only(batcher, scorer, number):
    futures = [
        batcher.submit(make_job("1")),
        batcher.submit(make_job("2", number)),
        batcher.submit(make_job("3")),
    ]
    scorer.let_go(2)
    assert [scores_of(futures[0]), scores_of(futures[2])] == [(1,), (3,)]
    with pytest.raises(ModelFailedError):
        futures[1].result(timeout=WAIT_S)


def test_an_error_names_what_the_model_raised_but_not_the_text(batcher, scorer):
    future = batcher.submit(make_job("poison"))
    scorer.let_go(10)
    with pytest.raises(ModelFailedError, match=r"^the model raised RuntimeError$"):
        future.result(timeout=WAIT_S)


def test_times_are_measured_from_submit_and_from_the_pass(batcher, scorer):
    future = batcher.submit(make_job("1"))
    scorer.let_go(2)
    scored = future.result(timeout=WAIT_S)
    assert scored.queue_ms > 0
    assert scored.model_ms > 0
    assert math.isfinite(scored.queue_ms + scored.model_ms)


def test_closing_finishes_what_waits_and_takes_no_more(scorer):
    batcher = Batcher(scorer, max_pairs=1)
    futures = [batcher.submit(make_job(number)) for number in "123"]
    scorer.let_go(3)
    batcher.close()
    assert [scores_of(future) for future in futures] == [(1,), (2,), (3,)]
    with pytest.raises(ClosedError):
        batcher.submit(make_job("4"))


def test_closing_an_idle_batcher_ends_its_thread(scorer):
    batcher = Batcher(scorer, max_pairs=1, name="idle")
    batcher.close()
    assert "idle" not in {thread.name for thread in threading.enumerate()}


def test_a_future_can_not_be_cancelled_under_the_scoring_thread(batcher, scorer):
    future = batcher.submit(make_job("1"))
    assert not future.cancel()
    scorer.let_go(2)
    assert scores_of(future) == (1,)


def test_many_threads_get_their_own_scores():
    """Whatever is merged with what, no job gets another's numbers."""
    scorer = Scorer(is_gated=False)
    batcher = Batcher(scorer, max_pairs=64)
    wrong = []

    def send(thread):
        for n in range(50):
            passages = [str(thread * 1000 + n * 10 + i) for i in range(1 + n % 5)]
            if scores_of(batcher.submit(make_job(*passages))) != tuple(map(float, passages)):
                wrong.append(passages)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert wrong == []
    assert len(scorer.calls) <= 8 * 50
