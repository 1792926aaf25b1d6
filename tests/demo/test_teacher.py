import numpy as np
import pytest

from demo.teacher import Teacher, fit_teacher

N_PASSAGES, N_DIMENSIONS = 40, 16
SEED = 3


@pytest.fixture(scope="module")
def passages() -> np.ndarray:
    drawn = np.random.default_rng(SEED).normal(size=(N_PASSAGES, N_DIMENSIONS)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def queries(passages) -> np.ndarray:
    """Each passage's own vector with its dimensions in another order: the untrained cosine is blind to it."""
    return np.roll(passages, 1, axis=1)


@pytest.fixture(scope="module")
def teacher(queries, passages) -> Teacher:
    """Taught by the first half of the queries."""
    half = N_PASSAGES // 2
    return fit_teacher(queries[:half], passages, [{number: 3} for number in range(half)], SEED)


def mean_rank(cosines, wanted):
    """1 is best."""
    return np.mean([(row >= row[number]).sum() for row, number in zip(cosines, wanted, strict=True)])


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(range(N_PASSAGES // 2), id="queries it learnt from"),
        pytest.param(range(N_PASSAGES // 2, N_PASSAGES), id="queries it has not seen"),
    ],
)
def test_judged_passages_come_nearer_to_their_queries(teacher, queries, passages, numbers):
    asked = queries[list(numbers)]
    untrained = mean_rank(asked @ passages.T, numbers)
    taught = mean_rank(teacher.turn_queries(asked) @ teacher.turn_passages(passages).T, numbers)
    assert taught < 0.8 * untrained


def test_turned_vectors_have_length_one(teacher, queries, passages):
    turned = np.concatenate([teacher.turn_queries(queries), teacher.turn_passages(passages)])
    assert np.linalg.norm(turned, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_the_same_seed_gives_the_same_teacher(teacher, queries, passages):
    half = N_PASSAGES // 2
    again = fit_teacher(queries[:half], passages, [{number: 3} for number in range(half)], SEED)
    assert np.array_equal(again.turn_queries(queries), teacher.turn_queries(queries))


def test_the_better_grade_draws_more(queries, passages):
    taught = fit_teacher(queries[:1], passages, [{5: 3, 6: 1}], SEED)
    cosines = taught.turn_queries(queries[:1]) @ taught.turn_passages(passages).T
    assert cosines[0, 5] > cosines[0, 6] > np.median(cosines)
