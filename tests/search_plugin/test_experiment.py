"""Who gets which ranking: the same each time, in the right shares, and drafted fairly."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search_plugin import Experiment, compare_orders, read_unit
from search_plugin.trial import draft_teams

UNITS = [f"session-{number}" for number in range(20_000)]


def make(**options):
    given = {"name": "e", "policy": "p", "arms": ("policy", "docs@v2"), "unit": "header:X-Session"}
    return Experiment(**given | options)


def is_near(count, n, share, sigmas=4.5):
    return abs(count - n * share) < sigmas * math.sqrt(n * share * (1 - share))


@pytest.mark.parametrize("n_arms", [2, 3, 5])
def test_arms_are_equally_likely(n_arms):
    experiment = make(arms=tuple(f"m{number}" for number in range(n_arms)))
    counts = Counter(map(experiment.choose_arm, UNITS))
    assert sorted(counts) == list(range(n_arms))
    assert all(is_near(count, len(UNITS), 1 / n_arms) for count in counts.values())


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_so_many_take_part_and_go_on_when_the_share_grows(share):
    takes_part = [unit for unit in UNITS if make(share=share).includes(unit)]
    assert is_near(len(takes_part), len(UNITS), share) or len(takes_part) == share * len(UNITS)
    assert all(make(share=min(1.0, share + 0.1)).includes(unit) for unit in takes_part)


def test_arm_share_part_and_other_experiments_are_independent():
    draws = {
        "arm": make().choose_arm,
        "share": lambda unit: int(make(share=0.5).includes(unit)),
        "part": lambda unit: make().choose_part(unit, 2),
        "other": make(name="other").choose_arm,
    }
    drawn = {name: [draw(unit) for unit in UNITS] for name, draw in draws.items()}
    for name, one in drawn.items():
        for other in (two for two_name, two in drawn.items() if two_name > name):
            both = Counter(zip(one, other, strict=True))
            assert all(is_near(count, len(UNITS), 0.25) for count in both.values())
            assert len(both) == 4


@given(st.text())
def test_any_text_is_a_unit_and_gets_the_same_each_time(unit):
    assert make().choose_arm(unit) == make().choose_arm(unit) in (0, 1)
    assert 0 <= make().choose_part(unit, 7) < 7


@pytest.mark.parametrize(
    ("options", "told"),
    [
        pytest.param({"arms": ("policy",), "kind": "interleave"}, "interleave has 2", id="one to mix"),
        pytest.param({"arms": ("a", "b", "c"), "kind": "shadow"}, "shadow has 2", id="three to shadow"),
        pytest.param({"arms": ()}, "ab has 1 to 8", id="no arms"),
        pytest.param({"arms": ("a", "a")}, "one stands twice", id="the same twice"),
        pytest.param({"share": 1.5}, "share", id="more than all"),
        pytest.param({"unit": "X-Session"}, "unit", id="a unit of no place"),
        pytest.param({"unit": "header:"}, "unit", id="a unit without name"),
        pytest.param({"name": "a b"}, "name", id="a name with a blank"),
        pytest.param({"bogus": 1}, "bogus", id="unknown option"),
    ],
)
def test_what_is_no_experiment_is_named(options, told):
    with pytest.raises(ValidationError, match=told):
        make(**options)


@pytest.mark.parametrize(
    ("options", "is_same"),
    [
        ({"share": 0.1}, True),
        ({"object_id_field": "sku"}, True),
        ({"arms": ("docs@v2", "policy")}, False),
        ({"kind": "interleave"}, False),
        ({"unit": "cookie:sid"}, False),
    ],
)
def test_counts_begin_anew_where_they_could_not_be_compared(options, is_same):
    assert (make(**options).fingerprint == make().fingerprint) is is_same


@pytest.mark.parametrize(
    ("unit", "target", "headers", "found"),
    [
        pytest.param("header:X-Session", "/i/_search", {"x-session": " s1 "}, "s1", id="header"),
        pytest.param("header:X-Session", "/i/_search", {}, "", id="no header"),
        pytest.param("cookie:sid", "/i/_search", {"cookie": "a=b; sid=s1"}, "s1", id="cookie"),
        pytest.param("cookie:sid", "/i/_search", {"cookie": "a=b; csid=s1"}, "", id="another cookie"),
        pytest.param("cookie:sid", "/i/_search", {"cookie": "a=b; [x]=;; sid=s1"}, "s1", id="odd cookies"),
        pytest.param("cookie:sid", "/i/_search", {}, "", id="no cookies"),
        pytest.param("parameter:preference", "/i/_search?q=x&preference=s%2F1", {}, "s/1", id="parameter"),
        pytest.param("parameter:preference", "/i/_search?q=x", {}, "", id="no parameter"),
        pytest.param("header:X-Session", "/i/_search", {"x-session": "s" * 999}, "s" * 200, id="long"),
    ],
)
def test_where_a_unit_is_read(unit, target, headers, found):
    assert read_unit(make(unit=unit), target, headers) == found


rankings = st.integers(0, 30).flatmap(
    lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n)))
)


@given(rankings, st.text())
def test_a_draft_has_each_hit_once_and_teams_alike(both, seed):
    first, second = both
    teams = draft_teams(first, second, seed)
    assert sorted(teams) == sorted(first)
    for depth in range(len(teams) + 1):
        picked = list(teams.values())[:depth]
        assert abs(picked.count(0) - picked.count(1)) <= 1
    assert draft_teams(first, second, seed) == teams
    assert list(teams) == list(draft_teams(first, first, seed)) or first != second


@given(rankings, st.text())
def test_each_pick_is_the_best_that_is_left_to_its_team(both, seed):
    taken = set()
    for hit, team in draft_teams(*both, seed).items():
        assert hit == next(one for one in both[team] if one not in taken)
        taken.add(hit)


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.text())
def test_rankings_of_different_hits_give_all_of_both(first, second, seed):
    assert draft_teams(list(first), list(second), seed).keys() == first | second


def test_who_begins_is_left_to_a_fair_coin_in_each_round():
    n = 4_000
    drafts = [list(draft_teams("abcd", "dcba", f"seed {number}").values()) for number in range(n)]
    begins = Counter((picks[0], picks[2]) for picks in drafts)
    assert len(begins) == 4
    assert all(is_near(count, n, 0.25) for count in begins.values())


@pytest.mark.parametrize(
    ("shown", "other", "page", "expected"),
    [
        pytest.param("abc", "abc", range(3), (0, 3, 1.0, False), id="the same"),
        pytest.param("abc", "bac", range(3), (2, 3, 1.0, True), id="two changed"),
        pytest.param("abcdefghijkl", "klabcdefghij", range(2), (2, 2, 0.8, True), id="two of ten others"),
        pytest.param("abc", "ab", range(10), (1, 3, 2 / 3, False), id="one left out"),
        pytest.param("abc", "acb", range(1, 3), (2, 2, 1.0, False), id="a later page"),
        pytest.param("", "", range(3), (0, 0, 1.0, False), id="nothing"),
    ],
)
def test_how_far_orders_are_apart(shown, other, page, expected):
    found = compare_orders(shown, other, page)
    assert (found.moved, found.n_places, found.overlap, found.is_other_first) == pytest.approx(expected)
