"""Plans that a client keeps."""

import base64
import json
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_plugin import Rewrite, Rules, read_ticket, write_ticket
from tests.search_plugin.make import make_plan, make_policy, plan_request

POLICY = make_policy(max_window=100, max_deadline_ms=2000)
RULES = Rules([make_policy(name="first"), POLICY], frozenset({"m", "big"}))


def pack(**said):
    ticket = {"policy": "p", "query_text": "red wine", "page_from": 0, "page_size": 10, **said}
    return base64.urlsafe_b64encode(zlib.compress(json.dumps(ticket).encode())).decode().rstrip("=")


@pytest.mark.parametrize(
    "plan",
    [
        make_plan(policy=POLICY),
        make_plan(20, 7, policy=POLICY, query_text="süß \x00 🍷", added_fields=("a", "b.c")),
        make_plan(policy=POLICY, is_asked=True, tells_hits=True, scores_like_elasticsearch=True),
        make_plan(policy=POLICY.model_copy(update={"model": "big", "window": 100, "min_score": 0.5})),
        make_plan(policy=POLICY.model_copy(update={"passage_fields": ("a",)}), highlight_tags=("<b>",)),
    ],
    ids=["plain", "texts", "flags", "choices", "fields"],
)
def test_what_is_written_is_read_again(plan):
    nothing = Rewrite("")
    assert read_ticket(write_ticket(plan, RULES.policies), RULES) == replace(
        plan, enlarged=nothing, stripped=nothing
    )


def test_a_ticket_that_would_be_too_long_is_none():
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    assert write_ticket(make_plan(policy=POLICY, query_text=text), RULES.policies) is None


@pytest.mark.parametrize(
    "ticket",
    [
        pytest.param("", id="empty"),
        pytest.param("AAAA", id="not packed"),
        pytest.param("ä", id="not base64"),
        pytest.param(pack(policy="none"), id="no such policy"),
        pytest.param(pack(page_size=-1), id="a negative page"),
        pytest.param(pack(more=1), id="unknown"),
        pytest.param(pack(chosen={"model": "other"}), id="an undeclared model"),
        pytest.param(pack(chosen={"window": 101}), id="too large a window"),
        pytest.param(pack(chosen={"window": 101, "max_window": 1000}), id="a larger maximum"),
        pytest.param(pack(chosen={"deadline_ms": 2001}), id="too long a deadline"),
        pytest.param(pack(chosen={"windows": 1}), id="an unknown option"),
        pytest.param(pack(query_text="x" * 1_000_000), id="a bomb"),
    ],
)
def test_what_no_gateway_would_write_is_refused(ticket):
    assert read_ticket(ticket, RULES) is None


@given(
    st.text(st.characters(codec="latin-1"))
    | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_any_text_is_read_or_refused(ticket):
    assert read_ticket(ticket, RULES) is None


def test_a_plan_whose_policy_is_gone_has_no_ticket():
    assert write_ticket(make_plan(policy=make_policy(name="gone")), [make_policy()]) is None


def test_tags_that_utf_8_cannot_spell_are_kept_as_the_engines_print_them():
    body = {"query": {"match": {"title": "red"}}, "highlight": {"pre_tags": ["\ud800"]}}
    plan = plan_request(json.dumps(body).encode(), "/w/_search", policies=[POLICY])
    assert plan.highlight_tags == ("<em>", "</em>", "?")
    assert read_ticket(write_ticket(plan, [POLICY]), RULES).highlight_tags == plan.highlight_tags
