"""How waiting jobs are merged into forward passes, and that one job's trouble stays its own."""

import math
import threading
import time
from random import Random
from statistics import median
from typing import NamedTuple

import pytest

from worker.batching import Batcher, CancelledJobError, ClosedError, LateError, ModelFailedError, Speed
from worker.contract import ScoreJob

WAIT_S = 10  # for what happens at once
FAR = 4e9


class Loaded(NamedTuple):
    scorer: object


def count_tokens(passage):
    """As many as there are digits."""
    return len(passage) if passage.isdigit() else 1


class Scorer:
    """Gives a passage the number in its text; each pass waits until the test lets it go.

    An endless one can't be encoded.
    """

    def __init__(self, is_gated=True, tokens_at_once=4):
        self.calls = []
        self.tokens_at_once = tokens_at_once
        self._entered = threading.Semaphore(0)
        self._let_go = threading.Semaphore(0)
        self._is_gated = is_gated

    def encode(self, pairs):
        if any(passage == "endless" for _, passage in pairs):
            raise RuntimeError("the text is endless")
        return [{"input_ids": [0] * count_tokens(passage), "passage": passage} for _, passage in pairs]

    def score_encoded(self, rows):
        passages = [row["passage"] for row in rows]
        self.calls.append(passages)
        self._entered.release()
        if self._is_gated:
            assert self._let_go.acquire(timeout=WAIT_S)
        if "poison" in passages:
            raise RuntimeError("the text is poison")
        if "short" in passages:
            return [0.0] * (len(passages) - 1)
        return [float(passage) for passage in passages]

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
    batcher = Batcher(lambda: Loaded(scorer), pass_s=1e9)
    batcher.submit(make_job("0"))
    scorer.wait_for_pass()
    yield batcher
    scorer.let_go(100)
    batcher.close()


def make_job(*passages, deadline=FAR, job_id="j", query_text="q", **more):
    return ScoreJob(id=job_id, model="m", query_text=query_text, passages=passages, deadline=deadline, **more)


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
    ("jobs", "passes"),
    [
        pytest.param(["12", "34"], ["1234"], id="as many as fit"),
        pytest.param(["12", "345"], ["1234", "5"], id="a job is split where it does not fit"),
        pytest.param(["123456789"], ["1234", "5678", "9"], id="a long one makes several passes"),
        pytest.param(["12", "23", "12"], ["123"], id="equal pairs are scored once"),
        pytest.param(["1212"], ["12"], id="also those of one job"),
    ],
)
def test_a_pass_has_no_more_tokens_than_the_device_takes(batcher, scorer, jobs, passes):
    futures = [batcher.submit(make_job(*passages)) for passages in jobs]
    scorer.let_go(10)
    assert [scores_of(future) for future in futures] == [tuple(map(float, passages)) for passages in jobs]
    assert scorer.calls[1:] == list(map(list, passes))


def test_a_jobs_longest_passages_come_first_and_one_too_long_goes_alone(batcher, scorer):
    future = batcher.submit(make_job("1", "22", "333333", "444"))
    scorer.let_go(10)
    assert scores_of(future) == (1, 22, 333333, 444)
    assert scorer.calls[1:] == [["333333"], ["444"], ["22", "1"]]


def test_a_pass_takes_as_long_as_it_should_by_the_speed_measured():
    scorer = Scorer(is_gated=False, tokens_at_once=1000)
    batcher = Batcher(lambda: Loaded(scorer), pass_s=0.1)
    batcher.speed.add(seconds=1.0, tokens=50, characters=150)
    assert batcher.speed.characters_per_s == 150
    scorer.score_encoded = lambda rows: scorer.calls.append(len(rows)) or [0.0] * len(rows)
    batcher.speed.add = lambda *_, **__: None
    batcher.submit(make_job(*map(str, range(10)))).result(timeout=WAIT_S)
    batcher.close()
    assert scorer.calls == [5, 5]


def test_equal_pairs_of_other_queries_are_scored_apart(batcher, scorer):
    futures = [batcher.submit(make_job("1", query_text=query)) for query in ("q", "other")]
    scorer.let_go(2)
    assert [scores_of(future) for future in futures] == [(1,), (1,)]
    assert scorer.calls[1:] == [["1", "1"]]


def test_a_search_goes_before_bulk_that_came_first_and_is_not_mixed_with_it(batcher, scorer):
    bulk = batcher.submit(make_job("1", "2", "3", "4", "5", "6", bulk=True, deadline=1e9 * 4))
    scorer.let_go()
    scorer.wait_for_pass()  # of bulk
    search = batcher.submit(make_job("7"))
    scorer.let_go(10)
    assert scores_of(search) == (7,)
    assert len(scores_of(bulk)) == 6
    assert scorer.calls[1:] == [["1", "2", "3", "4"], ["7"], ["5", "6"]]


def test_a_policy_with_much_to_score_does_not_hold_up_another(batcher, scorer):
    """Each gets its turn, whatever the deadlines say."""
    busy = [batcher.submit(make_job(*str(n) * 1, *"123", policy="busy")) for n in (4, 5, 6)]
    rare = batcher.submit(make_job("7", "8", policy="rare", deadline=FAR + 1))
    scorer.let_go(20)
    assert scores_of(rare) == (7, 8)
    for future in busy:
        scores_of(future)
    assert scorer.calls.index(next(call for call in scorer.calls if "7" in call)) <= 2


def test_a_policy_that_comes_back_has_saved_nothing_up(batcher, scorer):
    first = batcher.submit(make_job("1", "2", "3", "4", policy="often"))
    scorer.let_go(2)
    scores_of(first)
    scorer.wait_for_pass()
    blocked = batcher.submit(make_job("0", policy="often"))
    scorer.wait_for_pass()
    futures = [
        batcher.submit(make_job(*"1111", "2", policy="rare", deadline=FAR)),
        batcher.submit(make_job("3", policy="often", deadline=FAR - 1)),
    ]
    scorer.let_go(20)
    for future in (blocked, *futures):
        scores_of(future)
    assert "3" in scorer.calls[3]


def test_a_late_job_is_never_scored_and_takes_no_room(batcher, scorer):
    late = batcher.submit(make_job("9", "8", "7", deadline=time.time()))
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


def test_jobs_that_nobody_waits_for_are_dropped_at_once(batcher, scorer):
    gone = [batcher.submit(make_job("9", "8", job_id="gone")) for _ in range(2)]
    kept = batcher.submit(make_job("1", "9"))
    assert batcher.job_ids() == ["j", "gone", "gone", "j"]
    batcher.cancel({"gone", "never there"})
    for future in gone:
        with pytest.raises(CancelledJobError):
            future.result(timeout=WAIT_S)
    scorer.let_go(2)
    assert scores_of(kept) == (1, 9)
    assert scorer.calls[1:] == [["1", "9"]]


def test_jobs_of_bulk_may_be_left_out_of_those_that_wait(batcher, scorer):
    futures = [
        batcher.submit(make_job(str(number), job_id=f"j{number}", bulk=number > 1)) for number in range(4)
    ]
    assert (batcher.job_ids(), batcher.job_ids(bulk=False)) == (
        ["j", "j0", "j1", "j2", "j3"],
        ["j", "j0", "j1"],
    )
    scorer.let_go(3)
    assert [scores_of(future) for future in futures] == [(0,), (1,), (2,), (3,)]


def test_a_job_dropped_between_its_passes_costs_no_more_of_them(batcher, scorer):
    long = batcher.submit(make_job(*"123456789", job_id="long"))
    scorer.let_go()
    scorer.wait_for_pass()
    batcher.cancel({"long"})
    scorer.let_go(10)
    with pytest.raises(CancelledJobError):
        long.result(timeout=WAIT_S)
    assert scores_of(batcher.submit(make_job("1"))) == (1,)
    assert scorer.calls == [["0"], ["1", "2", "3", "4"], ["1"]]


def test_texts_that_can_not_be_encoded_fail_their_own_job(batcher, scorer):
    failed, kept = batcher.submit(make_job("endless")), batcher.submit(make_job("1"))
    with pytest.raises(ModelFailedError):
        failed.result(timeout=WAIT_S)
    scorer.let_go(2)
    assert scores_of(kept) == (1,)


@pytest.mark.parametrize("poison", ["poison", "short"], ids=["it raises", "it gives too few scores"])
def test_only_the_job_that_makes_the_model_fail_fails(batcher, scorer, poison):
    futures = [batcher.submit(make_job(*passages)) for passages in (("1",), (poison, "5"), ("2",))]
    scorer.let_go(10)
    assert [scores_of(futures[0]), scores_of(futures[2])] == [(1,), (2,)]
    with pytest.raises(ModelFailedError):
        futures[1].result(timeout=WAIT_S)
    assert scorer.calls[1:] == [["1", poison, "5", "2"], ["1"], [poison, "5"], ["2"]]


def test_jobs_that_share_the_text_at_fault_all_fail_and_no_other(batcher, scorer):
    failing = [batcher.submit(make_job("poison", str(number))) for number in (1, 2)]
    kept = batcher.submit(make_job("1"))
    scorer.let_go(10)
    assert scores_of(kept) == (1,)
    for future in failing:
        with pytest.raises(ModelFailedError):
            future.result(timeout=WAIT_S)


def test_a_job_that_comes_during_a_pass_with_a_pair_of_it_is_answered_by_it(batcher, scorer):
    late_comer = batcher.submit(make_job("0"))
    scorer.let_go()
    scored = late_comer.result(timeout=WAIT_S)
    assert (scored.scores, scored.queue_ms) == ((0,), 0)
    assert math.isfinite(scored.model_ms)
    assert scorer.calls == [["0"]]


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


def test_the_model_is_loaded_by_the_thread_that_scores():
    scorer, threads = Scorer(is_gated=False), []

    def load():
        threads.append(threading.current_thread().name)
        return Loaded(scorer)

    Batcher(load, name="own").close()
    assert threads == ["own"]


def test_a_model_that_can_not_be_loaded_makes_no_batcher():
    def load():
        raise OSError("no such file")

    with pytest.raises(OSError, match="no such file"):
        Batcher(load)


def test_closing_finishes_what_waits_and_takes_no_more(scorer):
    batcher = Batcher(lambda: Loaded(scorer))
    futures = [batcher.submit(make_job(number)) for number in "123"]
    scorer.let_go(3)
    batcher.close()
    assert [scores_of(future) for future in futures] == [(1,), (2,), (3,)]
    with pytest.raises(ClosedError):
        batcher.submit(make_job("4"))


def test_closing_an_idle_batcher_ends_its_thread(scorer):
    batcher = Batcher(lambda: Loaded(scorer), name="idle")
    batcher.close()
    assert "idle" not in {thread.name for thread in threading.enumerate()}


def test_a_future_can_not_be_cancelled_under_the_scoring_thread(batcher, scorer):
    future = batcher.submit(make_job("1"))
    assert not future.cancel()
    scorer.let_go(2)
    assert scores_of(future) == (1,)


def test_many_threads_get_their_own_scores():
    """Whatever is merged with what, no job gets another's numbers."""
    scorer = Scorer(is_gated=False, tokens_at_once=64)
    batcher = Batcher(lambda: Loaded(scorer))
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


@pytest.mark.parametrize(
    ("own_s", "per_token_s", "pass_s"),
    [
        pytest.param(0.001, 0.0002, (0.08, 0.12), id="a pass takes as long as it should"),
        pytest.param(0.05, 0.0002, (0.08, 0.12), id="its own time is counted"),
        pytest.param(1.0, 0.0002, (1.0, 3.0), id="its own time is long: more is put into it"),
        pytest.param(0.0, 0.01, (0.0, 0.1), id="not even one pair fits"),
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.2], ids=["steady", "noisy"])
@pytest.mark.parametrize("pairs", [1, 30], ids=["from single pairs", "from many pairs"])
def test_the_size_of_passes_follows_what_they_take(own_s, per_token_s, pass_s, noise, pairs):
    """Before, the machine was quiet."""
    random = Random(0)
    speed, pair = Speed(), 30
    for _ in range(20):
        speed.add(0.001 + pairs * pair * 0.0002, pairs * pair, 1)
    took = []
    for _ in range(100):
        tokens = max(speed.tokens_within(0.1) // pair, 1) * pair
        took.append((own_s + per_token_s * tokens) * random.uniform(1 - noise, 1 + noise))
        speed.add(took[-1], tokens, 1)
    longest_pair = own_s + per_token_s * pair
    assert pass_s[0] * 0.7 <= median(took[50:]) <= max(pass_s[1] * 1.3, longest_pair * (1 + noise))
