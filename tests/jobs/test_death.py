"""Jobs through the death of processes: each ends complete, no item twice, none missing."""

from __future__ import annotations

import time

import pytest

from tests.conftest import wait_until
from tests.jobs.conftest import Product, to_lines

pytestmark = pytest.mark.system

N_LINES, PER_S = 600, 50


@pytest.fixture
def mortal(reranker_folder, tmp_path):
    """A product of this test's own."""
    product = Product(tmp_path, reranker_folder).start()
    yield product
    product.close()


def pairs(count):
    return to_lines(
        *({"id": n, "query": f"sort {n}", "passages": ["list", f"key {n}"]} for n in range(count))
    )


def test_every_process_may_die_in_the_middle_of_a_job(mortal):
    job_id = mortal.create({"kind": "pairs", "max_pairs_per_s": 2 * PER_S, "concurrency": 2}, pairs(N_LINES))

    def count_done():
        return mortal.ask("GET", f"/{job_id}")[1]["items"]["done"]

    for victims in (["gateway"], ["worker"], ["redis"], ["redis", "gateway", "worker"]):
        done = count_done()
        wait_until(lambda done=done: count_done() > done, timeout_s=120)  # a worker starts in many seconds
        for name in victims:
            mortal.kill(name)
        time.sleep(0.5)
        mortal.start(*victims)
        assert count_done() < N_LINES, "too late to kill anything"
    job = mortal.wait_for(job_id, timeout_s=120)
    assert (job["state"], job["items"]["done"], job["items"]["failed"]) == ("done", N_LINES, 0)
    assert [row["id"] for row in mortal.rows(job_id)] == list(range(N_LINES))
    assert job["pairs"] == 2 * N_LINES
