"""What can be done with jobs, and what is answered to what cannot."""

from __future__ import annotations

import gzip
from contextlib import closing

import pytest

from tests.conftest import wait_until
from tests.jobs.conftest import Product, to_lines

pytestmark = pytest.mark.system

SLOW = {"kind": "pairs", "max_pairs_per_s": 20, "concurrency": 1, "name": "slow"}


def slow_lines(count=400):
    return to_lines(*({"query": f"q{n}", "passage": f"list {n}"} for n in range(count)))


@pytest.fixture
def slow_job(product):
    job_id = product.create(SLOW, slow_lines())
    yield job_id
    product.ask("POST", f"/{job_id}/cancel")
    product.wait_for(job_id, "cancelled")


def done(product, job_id):
    return product.ask("GET", f"/{job_id}")[1]["items"]["done"]


def test_a_job_pauses_and_goes_on_where_it_was(product, slow_job):
    wait_until(lambda: done(product, slow_job) > 0)
    assert product.ask("POST", f"/{slow_job}/pause")[0] == 202
    paused = product.wait_for(slow_job, "paused")
    at = paused["items"]["done"]
    assert 0 < at < 400
    assert paused["seconds_left"] is None
    assert product.ask("POST", f"/{slow_job}/resume")[0] == 202
    wait_until(lambda: done(product, slow_job) > at)
    lines = [row["line"] for row in product.rows(slow_job)]
    assert lines == list(range(1, len(lines) + 1))


def test_a_job_that_runs_tells_how_far_it_is(product, slow_job):
    job = wait_until(
        lambda: (job := product.ask("GET", f"/{slow_job}")[1])["seconds_left"] is not None and job
    )
    assert job["state"] == "running"
    assert job["items"]["total"] == 400
    assert job["items"]["left"] == 400 - job["items"]["done"]
    assert 0 < job["pairs_per_s"] < 100
    assert 0 < job["seconds_left"] < 400
    listed = product.ask("GET")[1]["jobs"]
    assert slow_job in [job["id"] for job in listed]


def test_a_cancelled_job_keeps_what_it_has_and_can_be_deleted(product):
    job_id = product.create(SLOW, slow_lines())
    wait_until(lambda: done(product, job_id) > 0)
    assert product.ask("DELETE", f"/{job_id}")[0] == 409
    assert product.ask("POST", f"/{job_id}/cancel")[0] == 202
    job = product.wait_for(job_id, "cancelled")
    assert len(product.rows(job_id)) == job["items"]["done"] > 0
    for action in ("pause", "resume", "retry"):
        status, answer = product.ask("POST", f"/{job_id}/{action}")
        assert (status, answer["error"]["reason"]) == (409, f"{action}: job {job_id} is cancelled")
    assert product.ask("DELETE", f"/{job_id}") == (200, {"id": job_id, "deleted": True})
    assert product.ask("GET", f"/{job_id}")[0] == 404
    assert not (product.folder / "jobs" / job_id).exists()


def test_results_are_read_page_by_page(product):
    job_id = product.create(
        {"kind": "pairs", "pairs": [{"query": f"q{n}", "passage": "list"} for n in range(25)]}
    )
    product.wait_for(job_id)
    cursor, lines = 0, []
    while cursor is not None:
        _, page = product.ask("GET", f"/{job_id}/results?cursor={cursor}&size=10")
        assert len(page["results"]) <= 10
        lines += [row["line"] for row in page["results"]]
        cursor = page["cursor"]
    assert lines == list(range(1, 26))


BAD_SPECS = {
    "no kind": ({}, "kind: expected one of queries, pairs, scan"),
    "another kind": ({"kind": "x"}, "kind: expected one of queries, pairs, scan"),
    "an unknown member": ({"kind": "pairs", "speed": 1}, "speed: Extra inputs are not permitted"),
    "an unknown model": ({"kind": "pairs", "model": "x"}, "model: 'x' is not declared; declared: tiny"),
    "no index": ({"kind": "queries"}, "expected index or policy"),
    "an index without policy": ({"kind": "queries", "index": "x"}, "index: no policy covers 'x'"),
    "an unknown policy": ({"kind": "scan", "policy": "x", "query_text": "q"}, "policy: 'x' is not declared"),
    "another policy's index": (
        {"kind": "queries", "policy": "pages", "index": "x"},
        "index: policy 'pages' is not",
    ),
    "too many hits": ({"kind": "queries", "policy": "pages", "top_k": 5000}, "top_k: Input should be less"),
    "no hits": ({"kind": "queries", "policy": "pages", "top_k": 0}, "top_k: Input should be greater"),
    "NaN a second": ({"kind": "pairs", "max_pairs_per_s": "NaN"}, "max_pairs_per_s: "),
    "no text": ({"kind": "scan", "policy": "pages"}, "query_text: Field required"),
    "two destinations": (
        {"kind": "scan", "policy": "pages", "query_text": "q", "destination": {"index": "a", "field": "b"}},
        "destination: expected either index or field",
    ),
    "a field for pairs": ({"kind": "pairs", "destination": {"field": "f"}}, "destination.field: only a scan"),
    "an impossible destination": (
        {"kind": "pairs", "destination": {"index": "../_cluster"}},
        "destination.index: not a name",
    ),
    "no pairs": ({"kind": "pairs", "pairs": []}, "pairs: expected a list with something in it"),
    "pairs that are no list": ({"kind": "pairs", "pairs": "a"}, "pairs: expected a list"),
    "not JSON": (b"{", "the body is not JSON"),
    "a list": (b"[]", "the body is not a JSON object"),
    "nested deeply": (b"[" * 100_000, "the body is not JSON"),
}


@pytest.mark.parametrize(("spec", "problem"), BAD_SPECS.values(), ids=BAD_SPECS)
def test_a_job_that_cannot_be_done_is_refused(product, spec, problem):
    status, answer = product.ask("POST", body=spec)
    assert status == 400
    assert problem in answer["error"]["reason"]


def test_a_job_waits_for_its_input_and_takes_it_once(product):
    job_id = product.create({"kind": "pairs"})
    assert product.ask("GET", f"/{job_id}")[1]["state"] == "awaiting_input"
    assert product.ask("PUT", f"/{job_id}/input", b"\n \n")[0] == 400
    assert product.ask("PUT", f"/{job_id}/input", to_lines({"query": "q", "passage": "p"}))[0] == 200
    product.wait_for(job_id)
    assert product.ask("PUT", f"/{job_id}/input", b"{}")[0] == 409


def test_an_input_may_come_compressed(product):
    lines = gzip.compress(slow_lines(3))
    for sent, coding, status in (
        (lines, "br", 400),
        (b"not gzip", "gzip", 400),
        (lines[:-1], "gzip", 400),
        (lines, "gzip", 200),
    ):
        job_id = product.create({"kind": "pairs"})
        assert product.ask("PUT", f"/{job_id}/input", sent, **{"Content-Encoding": coding})[0] == status
    assert product.wait_for(job_id)["items"]["done"] == 3


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing/pause", 404),
        ("DELETE", "/nothing", 404),
        ("GET", "?size=-1", 400),
        ("GET", "?from=x", 400),
        ("PATCH", "", 405),
    ],
)
def test_what_is_not_there_is_said_so(product, method, path, status):
    answered, body = product.ask(method, path)
    assert (answered, body["status"]) == (status, status)


def test_a_job_that_nobody_runs_says_so(reranker_folder, tmp_path):
    with closing(Product(tmp_path, reranker_folder, runs_jobs=False)) as product:
        product.start("redis", "gateway")
        job_id = product.create({"kind": "pairs", "pairs": [{"query": "q", "passage": "list"}]})
        job = product.ask("GET", f"/{job_id}")[1]
        assert (job["state"], job["trouble"].partition(":")[0]) == ("queued", "nobody runs jobs here now")


def test_bulk_waits_while_nobody_serves_its_model_and_says_so(product):
    """Then it goes on by itself."""
    product.kill("worker")
    job_id = product.create({"kind": "pairs", "pairs": [{"query": "trouble", "passage": "list"}]})
    job = wait_until(lambda: (job := product.ask("GET", f"/{job_id}")[1])["trouble"] and job)
    assert job["trouble"] == "no worker serves model 'tiny'"
    product.start("worker")
    assert product.wait_for(job_id)["items"]["done"] == 1
