"""The page of jobs in a real browser, on real processes."""

from __future__ import annotations

import json

import pytest

from tests.browser import install_packages, watched_page
from tests.conftest import wait_until
from tests.jobs.conftest import to_lines

pytestmark = pytest.mark.system

ATTACK = "<script>window.attacked = 1</script>"
JOBS = "/_rerank/ui/jobs"


@pytest.fixture
def slow_job(product):
    """One that runs, with failures whose texts are attacks."""
    bad = {"query": "q", "passages": [], ATTACK: 1}
    good = ({"query": f"q{n}", "passage": f"list {n}"} for n in range(400))
    spec = {"kind": "pairs", "max_pairs_per_s": 20, "concurrency": 1, "name": f"nightly {ATTACK}"}
    job_id = product.create(spec, ATTACK.encode() + b"\n" + to_lines(bad, *good))
    wait_until(lambda: product.ask("GET", f"/{job_id}")[1]["items"]["done"] > 0)
    yield job_id
    product.ask("POST", f"/{job_id}/cancel")
    product.wait_for(job_id, "cancelled")


def test_a_job_is_followed_stopped_and_read(product, browser, slow_job):
    with watched_page(browser, base_url=product.url) as page:
        page.goto(JOBS)
        row = page.get_by_role("row").filter(has_text="nightly")
        assert "running" in row.inner_text()
        before = row.locator("progress").get_attribute("value")
        page.evaluate("window.isSamePage = true")
        wait_until(lambda: row.locator("progress").get_attribute("value") != before)
        assert page.evaluate("window.isSamePage"), "the page was loaded anew"
        row.get_by_role("link").click()
        page.get_by_role("button", name="pause").click()
        page.get_by_text("paused", exact=True).wait_for()
        assert page.get_by_role("button", name="resume").is_visible()
        failures = page.get_by_role("region", name="Failures").inner_text()
        assert "not JSON" in failures
        assert "expected one of passage" in failures
        page.get_by_role("button", name="resume").click()
        page.get_by_text("running", exact=True).wait_for()
        with page.expect_download() as download:
            page.get_by_role("link", name="results").click()
        assert json.loads(download.value.path().read_text().splitlines()[0])["line"] == 3
        assert page.evaluate("window.attacked") is None


def test_a_job_that_has_ended_is_deleted(product, browser):
    job_id = product.create({"kind": "pairs", "name": "short", "pairs": [{"query": "q", "passage": "p"}]})
    product.wait_for(job_id)
    with watched_page(browser, base_url=product.url) as page:
        page.goto(f"{JOBS}/{job_id}")
        page.get_by_role("button", name="delete").click()
        page.wait_for_url(f"**{JOBS}")
        assert page.goto(f"{JOBS}/{job_id}").status == 404
        assert "there is no job" in page.get_by_role("alert").last.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_everybody_can_use_the_pages(product, browser, slow_job, scheme, width):
    """As far as axe can tell; and nothing stands out of a narrow page."""
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}
    with watched_page(browser, base_url=product.url, **options) as page:
        for path in (JOBS, f"{JOBS}/{slow_job}"):
            page.goto(path)
            page.add_script_tag(path=install_packages() / "axe-core" / "axe.min.js")
            found = page.evaluate("axe.run()")["violations"]
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
