"""Clicks become judgments, and where a document stood does not count."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relevance.clicks import ClickModel, Rating, fit_clicks, judge_by_clicks
from relevance.errors import BadChoice, BadFile
from relevance.ubi import View, read_log

LOOKS = (1.0, 0.6, 0.35, 0.2, 0.1)
"""How often people look at each position."""


def simulate(seed, attraction, n_sessions, *, sticky):
    """Views of people who look as `LOOKS` says.

    Args:
        attraction: of each document.
        sticky: how often they stand in just that order; else it is random.
    """
    draw = random.Random(seed)
    for _ in range(n_sessions):
        order = list(range(len(attraction)))
        if draw.random() > sticky:
            draw.shuffle(order)
        for position, document in enumerate(order, start=1):
            is_clicked = draw.random() < LOOKS[position - 1] * attraction[document]
            yield View("q", f"d{document}", position, is_clicked)


def order_by(ratings, value):
    return [one.document for one in sorted(ratings, key=value)]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_debiased_order_is_right_where_the_rate_of_clicks_is_wrong(seed):
    views = [*simulate(seed, (0.15, 0.25, 0.4, 0.6, 0.9), 8000, sticky=0.9)]
    ratings = fit_clicks(views).ratings
    right = [f"d{place}" for place in range(5)]
    assert order_by(ratings, lambda one: one.n_clicks / one.n_views) != right
    assert order_by(ratings, lambda one: one.lift) == right


def test_how_often_people_look_is_found():
    views = [*simulate(1, (0.15, 0.25, 0.4, 0.6, 0.9), 20_000, sticky=0.5)]
    found = fit_clicks(views).propensities
    assert [found[position] for position in range(1, 6)] == pytest.approx(LOOKS, abs=0.04)


def test_a_good_document_is_not_punished_for_standing_where_good_ones_stand():
    """Clicks over expected clicks, once, would find the best one twice as good as the worst, not six."""
    attraction = (0.9, 0.6, 0.4, 0.25, 0.15)
    model = fit_clicks([*simulate(2, attraction, 30_000, sticky=0.9)], smoothing=1)
    lifts = {one.document: one.lift for one in model.ratings}
    found = [lifts[f"d{place}"] / lifts["d4"] for place in range(5)]
    assert found == pytest.approx([one / 0.15 for one in attraction], rel=0.3)


def test_where_nothing_moved_it_is_clicks_over_expected_clicks():
    """Two queries, two documents, each always in its place: nothing tells position and document apart."""
    shown = {("q1", "a", 1): 50, ("q1", "b", 2): 30, ("q2", "c", 1): 30, ("q2", "d", 2): 10}
    views = [View(q, d, at, n < clicks) for (q, d, at), clicks in shown.items() for n in range(100)]
    lifts = {one.document: one.lift for one in fit_clicks(views, smoothing=0.01).ratings}
    assert lifts == pytest.approx({"a": 50 / 40, "b": 30 / 20, "c": 30 / 40, "d": 10 / 20}, rel=0.05)


def test_few_views_say_little():
    views = [View("q", "a", 1, True)] * 2 + [View("q", "b", 1, n < 300) for n in range(1000)]
    lifts = {one.document: one.lift for one in fit_clicks(views, smoothing=20).ratings}
    assert 1 < lifts["a"] < 1.5


def test_grades_are_cuts_of_lifts_of_what_was_seen_often_enough():
    def rate(document, n_views, lift, query="q"):
        return Rating(query, document, n_views, 1, lift)

    model = ClickModel(
        {1: 1.0}, [rate("a", 50, 0.4), rate("b", 50, 2.5), rate("c", 9, 9.0), rate("x", 99, 0, "r")]
    )
    (judged,) = judge_by_clicks(model, {"q": "The Q", "r": "R"}, cuts=(1, 2, 4), least_views=10)
    assert (judged.id, judged.text, judged.grades) == ("The Q", "The Q", {"a": 0, "b": 2})


@pytest.mark.parametrize(
    ("views", "options", "told"),
    [
        pytest.param([View("q", "a", 30, True)], {}, "no click at position 20", id="all too deep"),
        pytest.param(
            [View("q", "a", 1, True)], {"smoothing": 0}, "smoothing: expected a positive", id="smoothing"
        ),
    ],
)
def test_what_cannot_be_learned_from_is_refused(views, options, told):
    with pytest.raises(BadChoice, match=told):
        fit_clicks(views, **options)


def event(action, query_id="1", document="b", ordinal=None, **more):
    attributes = {"object": {"object_id": document}} if document else {}
    if ordinal is not None:
        attributes["position"] = {"ordinal": ordinal}
    return {"action_name": action, "query_id": query_id, "event_attributes": attributes, **more}


def ask(query_id="1", text="Red Dress", hits=("a", "b", "c"), client="anna"):
    return {"query_id": query_id, "user_query": text, "client_id": client, "query_response_hit_ids": [*hits]}


def read(folder, events, queries=None, **options):
    def write(name, documents):
        file = folder / name
        file.write_text("".join(json.dumps(one) + "\n" for one in documents))
        return file

    log = read_log(write("events", events), None if queries is None else write("queries", queries), **options)
    return log, [(one.query, one.document, one.position, one.is_clicked) for one in log.views]


@pytest.mark.parametrize(
    ("events", "queries", "wanted"),
    [
        pytest.param(
            [event("click")],
            [ask()],
            [("red dress", "b", 2, True), ("red dress", "a", 1, False), ("red dress", "c", 3, False)],
            id="without impressions the answer's first page was shown",
        ),
        pytest.param(
            [event("impression", document="a"), event("impression"), event("CLICK")],
            [ask()],
            [("red dress", "a", 1, False), ("red dress", "b", 2, True)],
            id="with impressions only what they say",
        ),
        pytest.param(
            [event("click"), event("click"), event("click", "2")],
            [ask(hits="b"), ask("2", "red  dress?", hits="ab")],
            [("red dress", "b", 1, True), ("red dress", "a", 1, False)],
            id="one person's clicks count once, and where they saw it first",
        ),
        pytest.param(
            [event("click"), event("click", "2")],
            [ask(hits="b"), ask("2", hits="b", client="ben")],
            [("red dress", "b", 1, True)] * 2,
            id="two persons count twice",
        ),
        pytest.param(
            [event("click", ordinal=4, user_query="red dress", client_id="anna")],
            None,
            [("red dress", "b", 4, True)],
            id="events alone, by their ordinal",
        ),
        pytest.param(
            [{"_id": "x", "_source": event("click")}, {"index": {"_index": "ubi_events"}}],
            [{"_source": ask(hits="b")}],
            [("red dress", "b", 1, True)],
            id="as hits of a search, and with lines of a bulk request",
        ),
    ],
)
def test_a_log_tells_who_saw_and_clicked_what(tmp_path, events, queries, wanted):
    _, views = read(tmp_path, events, queries)
    assert views == wanted


def test_only_the_first_page_was_shown(tmp_path):
    _, views = read(tmp_path, [event("click")], [ask()], page_size=1)
    assert {document for _, document, _, _ in views} == {"a", "b"}


def test_other_actions_may_be_what_says_yes(tmp_path):
    _, views = read(tmp_path, [event("purchase"), event("click")], [ask()], clicks=("purchase",))
    assert ("red dress", "b", 2, True) in views


def test_events_that_tell_nothing_are_counted(tmp_path):
    events = [
        event("click"),
        event("login"),
        event("click", "unknown"),
        event("click", document=None),
        event("click", document="elsewhere"),
        event("click", document="elsewhere", ordinal="first"),
    ]
    log, _ = read(tmp_path, events, [ask()])
    assert log.left_out == {
        "other actions": 1,
        "without a known query": 1,
        "without an object_id": 1,
        "without a position": 2,
    }
    assert log.texts == {"red dress": "Red Dress"}


def test_a_log_without_clicks_says_why(tmp_path):
    with pytest.raises(BadFile, match=r"no click that can be told from it \(1 other actions\)"):
        read(tmp_path, [event("login")], [ask()])
    with pytest.raises(BadFile, match="no click"):
        read(tmp_path, [])
    (tmp_path / "events").write_text('{"a": 1}\nno json\n')
    with pytest.raises(BadFile, match="events:2: not JSON"):
        read_log(tmp_path / "events")
