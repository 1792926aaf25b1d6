"""Jobs of pairs, on real processes."""

import json

import pytest

from rerankers import FlagAutoReranker
from tests.jobs.conftest import to_lines

pytestmark = pytest.mark.system

PAIRS = {"kind": "pairs"}


@pytest.fixture(scope="module")
def score(reranker_folder):
    """What the model says in this process."""
    reranker = FlagAutoReranker.from_finetuned(str(reranker_folder), max_length=64, devices="cpu")
    return lambda query, *passages: reranker.compute_score([(query, passage) for passage in passages])


def test_each_line_gets_its_scores(product, score):
    lines = to_lines(
        {"id": "q1", "query": "sort list", "passages": ["key", "parse text", "delete folder"]},
        {"id": 2, "query": "parse", "passage": "text"},
        {"query": "delete", "pos": ["folder"], "neg": ["list", "sort"], "prompt": "kept"},
    )
    job_id = product.create({**PAIRS, "scores": "logit"}, lines)
    job = product.wait_for(job_id)
    assert (job["state"], job["items"]) == ("done", {"done": 3, "failed": 0, "total": 3, "left": 0})
    assert job["pairs"] == 7
    first, second, third = product.rows(job_id)
    assert (first["line"], first["id"]) == (1, "q1")
    assert first["scores"] == pytest.approx(
        score("sort list", "key", "parse text", "delete folder"), abs=1e-5
    )
    assert second["score"] == pytest.approx(score("parse", "text")[0], abs=1e-5)
    assert third["pos_scores"] == pytest.approx(score("delete", "folder"), abs=1e-5)
    assert third["neg_scores"] == pytest.approx(score("delete", "list", "sort"), abs=1e-5)
    assert third["prompt"] == "kept"


def test_pairs_may_come_with_the_job(product):
    job_id = product.create({**PAIRS, "pairs": [{"query": "sort", "passage": "list"}]})
    assert product.wait_for(job_id)["items"]["done"] == 1
    assert 0 < product.rows(job_id)[0]["score"] < 1


BAD_LINES = {
    "not JSON": (b"{'query'}", "not JSON"),
    "not an object": (b"[1]", "valid dictionary"),
    "no query": (b'{"passages": ["a"]}', "query: Field required"),
    "empty query": (b'{"query": "", "passages": ["a"]}', "query: "),
    "query too long": (json.dumps({"query": "q" * 10_001, "passage": "a"}).encode(), "query: "),
    "no passages": (b'{"query": "q"}', "expected one of passage, passages, pos and neg"),
    "empty list": (b'{"query": "q", "passages": []}', "expected one of"),
    "two kinds": (b'{"query": "q", "passage": "a", "passages": ["a"]}', "expected one of"),
    "a number for a passage": (b'{"query": "q", "passages": ["a", 7]}', "passages.1: "),
    "NaN": (b'{"query": "q", "passage": NaN}', "NaN is no number"),
    "not UTF-8": (b'{"query": "q", "passage": "\xff"}', "not UTF-8"),
    "nested deeply": (b"[" * 100_000, "not JSON"),
}


def test_a_bad_line_is_reported_with_its_number_and_loses_nothing_else(product):
    good = to_lines({"query": "sort", "passage": "list"})
    bad = b"".join(line + b"\n" for line, _ in BAD_LINES.values())
    job_id = product.create(PAIRS, good + b"\n  \n" + bad + good)
    job = product.wait_for(job_id)
    assert job["state"] == "done"
    assert job["items"] == {"done": 2, "failed": len(BAD_LINES), "total": 2 + len(BAD_LINES), "left": 0}
    failures = product.rows(job_id, "failures")
    assert [failure["line"] for failure in failures] == list(range(4, 4 + len(BAD_LINES)))
    reasons = [failure["error"] for failure in failures]
    wanted = {name: part for name, (_, part) in BAD_LINES.items()}
    told = dict(zip(BAD_LINES, reasons, strict=True))
    assert {name: part for name, part in wanted.items() if part not in told[name]} == {}, told
    assert [row["line"] for row in product.rows(job_id)] == [1, 4 + len(BAD_LINES)]


@pytest.mark.parametrize(
    "text",
    ["", "\x00\x1f\x7f", "\ud800 alone", "x" * 300_000, "日本語 🙂", '"\\\n'],
    ids=["empty", "control characters", "lone surrogate", "long", "other scripts", "quotes"],
)
def test_whatever_a_passage_says_it_is_scored(product, text):
    job_id = product.create({**PAIRS, "pairs": [{"query": text[:9] or "q", "passages": [text, "list"]}]})
    assert product.wait_for(job_id)["items"]["done"] == 1, product.rows(job_id, "failures")


def test_a_job_of_which_nothing_can_be_done_ends_early(product):
    lines = b"nothing\n" * 1000
    job = product.wait_for(product.create(PAIRS, lines))
    assert job["state"] == "failed"
    assert "items all failed, the last with: not JSON" in job["error"]
    assert job["items"]["failed"] < 1000


def test_what_failed_is_done_again(product):
    """The same lines fail again, under the same numbers; what was done is not done twice."""
    job_id = product.create(PAIRS, b"bad\n" + to_lines({"query": "sort", "passage": "list"}) + b"worse\n")
    assert product.wait_for(job_id)["items"]["failed"] == 2
    before = product.rows(job_id, "failures")
    status, job = product.ask("POST", f"/{job_id}/retry")
    assert (status, job["wanted"]) == (202, "retry")
    product.wait_until_round(job_id, 1)
    job = product.wait_for(job_id)
    assert (job["round"], job["items"]) == (1, {"done": 1, "failed": 2, "total": 2, "left": 0})
    assert product.rows(job_id, "failures") == before
    assert [row["line"] for row in product.rows(job_id)] == [2]
