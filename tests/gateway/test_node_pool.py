"""Which node is next, on a clock of our own."""

from __future__ import annotations

import pytest

from gateway.node_pool import NodePool


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pool(clock):
    return NodePool(["a", "b", "c"], clock)


def picked(pool, number):
    return "".join(pool.pick() for _ in range(number))


def test_live_nodes_are_used_in_turn(pool):
    assert picked(pool, 7) == "abcabca"


def test_a_dead_node_is_left_out(pool):
    pool.mark_dead("b")
    assert "b" not in picked(pool, 6)
    assert repr(pool) == "<NodePool 2 of 3 live>"


def test_a_dead_node_is_tried_by_one_request_a_back_off(pool, clock):
    """The others go to live nodes: a node that does not answer at all makes only one wait."""
    pool.mark_dead("b")
    clock.now += 1
    assert picked(pool, 6).count("b") == 1
    clock.now += 0.9
    assert picked(pool, 6).count("b") == 0
    clock.now += 0.1
    assert picked(pool, 6).count("b") == 1


def test_the_back_off_doubles_up_to_half_a_minute(pool, clock):
    waited = []
    for _ in range(8):
        pool.mark_dead("b")
        died = clock.now
        while "b" not in picked(pool, 4):
            clock.now += 0.5
        waited.append(clock.now - died)
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]


def test_requests_that_fail_together_count_once(pool, clock):
    for _ in range(10):
        pool.mark_dead("b")
    clock.now += 1
    assert "b" in picked(pool, 4)


def test_a_node_that_answers_is_live_at_once_and_starts_over(pool, clock):
    for _ in range(4):
        pool.mark_dead("b")
        clock.now += 30
    pool.mark_live("b")
    assert sorted(picked(pool, 3)) == ["a", "b", "c"]
    pool.mark_dead("b")
    clock.now += 1
    assert "b" in picked(pool, 4)


def test_with_all_dead_the_one_whose_last_try_is_longest_ago_is_tried(pool, clock):
    for node in "bca":
        pool.mark_dead(node)
        clock.now += 0.01
    assert pool.pick() == "b"
    clock.now += 0.01
    assert pool.pick() == "c"
    clock.now += 0.01
    assert picked(pool, 1) == "a"


def test_a_single_node_is_picked_dead_or_live():
    pool = NodePool(["a"])
    pool.mark_dead("a")
    assert picked(pool, 3) == "aaa"


def test_a_node_may_be_avoided_where_there_is_another():
    pool = NodePool(["a", "b", "c"])
    assert {pool.pick(avoid="b") for _ in range(6)} == {"a", "c"}
    assert NodePool(["a"]).pick(avoid="a") == "a"
    pool.mark_dead("a")
    pool.mark_dead("c")
    assert pool.pick(avoid="b") in ("a", "b", "c")
