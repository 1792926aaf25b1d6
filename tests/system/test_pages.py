"""The pages in a browser, in front of a real node, Redis and worker."""

import pytest

from tests.browser import watched_page
from tests.conftest import wait_until
from tests.system.conftest import WINDOW, ids, match, new_query

pytestmark = pytest.mark.system


@pytest.fixture
def page(browser, stack):
    with watched_page(browser, base_url=stack.url) as page:
        yield page


def test_compare_shows_what_clients_get(page, stack):
    """The cluster's own order on one side, and on the other what a client gets for the same text."""
    query = new_query()
    wait_until(lambda: stack.search(match(query)).headers["X-Rerank-Status"] == "applied", timeout_s=90)
    page.goto("/_rerank/ui/compare")
    assert page.get_by_label("Index").input_value() == "pages", "the first index that a policy covers"
    page.get_by_label("Query").fill(query)
    page.keyboard.press("Enter")
    verdict = page.get_by_role("status")
    verdict.wait_for()
    assert f"{WINDOW} of {WINDOW} hits were scored" in verdict.inner_text()

    def read_ids(side):
        return [
            told.partition(" / ")[2] for told in page.locator(f".{side} tbody th small").all_inner_texts()
        ]

    assert read_ids("before") == ids(stack.search(match(query), direct=True))
    assert read_ids("after") == ids(stack.search(match(query)))
    assert "directory" in page.locator("mark").all_inner_texts()


def test_what_the_engine_refuses_is_told(page):
    page.goto('/_rerank/ui/compare?index=pages&body={"query":{"nonsense":{}}}')
    told = page.get_by_role("alert").inner_text()
    assert told.startswith(
        "No comparison: the cluster answered 400: parsing_exception: unknown query [nonsense]"
    )


def test_the_overview_tells_of_the_real_parts(page, stack):
    page.goto("/_rerank/ui/")
    told = " ".join(page.locator("main").inner_text().split())
    assert stack.engine.name.partition("-")[0] in told
    assert "a worker for each policy's model" in told
    row = page.get_by_role("region", name="Policies").locator("tbody tr").inner_text()
    assert row.split() == ["pages", "on", "pages*", "pages", "demo", str(WINDOW), "15,000", "ms", "replace"]
    worker = page.get_by_role("region", name="Models").locator("tbody tr").inner_text().split()
    assert worker[0] == "demo"
    assert int(worker[3].replace(",", "")) > 0, "its speed"
