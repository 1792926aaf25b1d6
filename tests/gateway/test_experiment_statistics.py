"""Figures of experiments against numbers computed by hand, by scipy, and by many made-up experiments."""

import math
import random

import pytest

from gateway.experiments.statistics import (
    count_units,
    estimate,
    find_sign_chance,
    find_split_chance,
)

stats = pytest.importorskip("scipy.stats")


def test_a_ratio_and_its_interval_by_hand():
    """Without each part: 5/6, 4/5, 3/5 with mean 67/90; the variance is 2/3 of the squared distances."""
    found = estimate([1, 2, 3], [2, 3, 3])
    assert found.value == 6 / 8
    left = [5 / 6, 4 / 5, 3 / 5]
    mean = sum(left) / 3
    error = math.sqrt(2 / 3 * sum((one - mean) ** 2 for one in left))
    assert (found.low, found.high) == pytest.approx((0.75 - 1.959964 * error, 0.75 + 1.959964 * error))
    assert found.p == pytest.approx(2 * stats.norm.sf(0.75 / error))


@pytest.mark.parametrize(
    ("tops", "bottoms", "less"),
    [
        pytest.param([0, 0], [0, 0], 0.0, id="over nothing"),
        pytest.param([1, 0], [4, 0], 0.0, id="all of one part"),
        pytest.param([1, 1], [2, 2], ([0, 0], [0, 0]), id="the other over nothing"),
    ],
)
def test_what_can_not_be_estimated(tops, bottoms, less):
    assert estimate(tops, bottoms, less) is None


def test_without_spread_there_is_no_chance_told():
    found = estimate([1, 1, 1], [2, 2, 2])
    assert (found.value, found.low, found.high, found.p) == (0.5, 0.5, 0.5, None)


def make_arm(rng, rate, n_parts=128, n_units=300):
    """Searches and clicks by part; a unit has up to 9 searches that are alike, so searches are no units."""
    tops, bottoms = [0] * n_parts, [0] * n_parts
    for _ in range(n_units):
        part, searches = rng.randrange(n_parts), rng.randint(1, 9)
        own = rate if rng.random() < 0.5 else 0.0
        tops[part] += sum(rng.random() < own for _ in range(searches))
        bottoms[part] += searches
    return tops, bottoms


def test_intervals_hold_what_is_true_95_times_of_100():
    """Of 400 experiments without a difference; 4 sigmas around 95 %."""
    rng = random.Random(7)
    held = 0
    for _ in range(400):
        found = estimate(*make_arm(rng, 0.6), less=make_arm(rng, 0.6))
        held += found.low <= 0 <= found.high
    assert 0.905 < held / 400 < 0.99


def test_a_true_difference_is_found():
    rng = random.Random(8)
    found = estimate(*make_arm(rng, 0.8, n_units=2_000), less=make_arm(rng, 0.4, n_units=2_000))
    assert found.low <= 0.2 <= found.high
    assert found.p < 0.001


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (7, 3), (3, 7), (50, 50), (1_000, 900), (900, 1_100)])
def test_the_sign_test_is_the_binomial_one(wins, losses):
    exact = stats.binomtest(wins, wins + losses).pvalue
    assert find_sign_chance(wins, losses) == pytest.approx(exact, rel=0.05)


def test_no_signs_tell_nothing():
    assert find_sign_chance(0, 0) is None


@pytest.mark.parametrize("n", [10, 5_000, 60_000, 200_000])
def test_units_are_counted_by_the_bits_they_set(n):
    rng, size = random.Random(n), 1 << 16
    bits = len({rng.randrange(size) for _ in range(n)})
    load = n / size
    error = math.sqrt(size * (math.expm1(load) - load)) + 1
    assert abs(count_units(bits, size) - n) < 4 * error


def test_unequal_shares_are_suspected_and_equal_ones_are_not():
    size = 1 << 20
    rng = random.Random(3)

    def bits(n):
        return len({rng.randrange(size) for _ in range(n)})

    fair = [find_split_chance([bits(n), bits(100_000 - n)], size) for n in (50_000, 49_800, 50_200)]
    assert min(fair) > 0.05
    assert find_split_chance([bits(48_500), bits(51_500)], size) < 1e-10
    three = [bits(20_000), bits(20_000), bits(18_500)]
    assert find_split_chance(three, size) < 1e-6
    assert find_split_chance([0, 0], size) is None
    assert find_split_chance([5], size) is None
