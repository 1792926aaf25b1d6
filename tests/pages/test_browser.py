"""The pages in a real browser: what they do there, and who can use them."""

import re

import pytest

from tests.browser import install_packages, watched_page
from tests.conftest import wait_until
from tests.pages.conftest import ATTACK, N_HITS

pytestmark = pytest.mark.system

OVERVIEW, COMPARE, REASONS = "/_rerank/ui/", "/_rerank/ui/compare", "/_rerank/ui/reasons"
BOOKS = f"{COMPARE}?query=some+books&index=books"
WITHOUT_WORKER = f"{COMPARE}?query=some+books&index=lonely"
ALL = (OVERVIEW, COMPARE, BOOKS, WITHOUT_WORKER, f"{COMPARE}?body=%7B", REASONS)
AFTER = ["book 5", "book 4", "book 3", "book 2", "book 1", "book 6"]


@pytest.fixture
def open_page(browser, product):
    """Opens pages in contexts of their own, which are closed, and found without problems, at the end."""
    opened = []

    def start(path, *, clock=False, **options):
        watched = watched_page(browser, base_url=product.url, **options)
        page = watched.__enter__()
        opened.append(watched)
        if clock:
            page.clock.install()
        page.goto(path)
        return page

    yield start
    for watched in opened:
        watched.__exit__(None, None, None)


def read_titles(page, side):
    return page.locator(f".order.{side} tbody th a").all_inner_texts()


def test_a_query_shows_how_hits_move(open_page):
    page = open_page(COMPARE)
    page.get_by_label("Query").fill("some books")
    page.get_by_label("Index").fill("books")
    page.evaluate("window.isSamePage = true")
    page.locator("[role=status]").evaluate("told => told.isSame = true")
    page.get_by_role("button", name="Compare").click()
    page.locator(".order.after").wait_for()
    assert page.evaluate("window.isSamePage"), "the page was loaded anew"
    told = page.get_by_role("status")
    assert "5 of 6 hits were scored" in told.inner_text()
    assert told.evaluate("told => told.isSame"), "an exchanged one is not read out"
    assert read_titles(page, "before") == [f"book {number}" for number in range(1, N_HITS + 1)]
    assert read_titles(page, "after") == AFTER
    first = page.locator(".order.after tbody tr").first.inner_text()
    assert " ".join(first.split()) == "1 book 5 books-1 / id-5" + ATTACK + " 0.8176 ▲ 4 up, from 5"
    kinds = [path.get_attribute("class") for path in page.locator(".moves path").all()]
    assert sorted(kinds) == ["down", "down", "same", "same", "up", "up"]
    page.locator(".order.after tbody tr").first.hover()
    assert page.locator(".moves .traced").get_attribute("data-hit") == "5"


def test_the_lines_end_at_the_rows_of_their_hit(open_page):
    page = open_page(BOOKS)
    rows = {
        (side, row.get_attribute("data-hit")): row.bounding_box()
        for side in ("before", "after")
        for row in page.locator(f".{side} tbody tr").all()
    }
    ends = page.locator(".moves path").evaluate_all(
        """paths => paths.map(path => {
            const matrix = path.getScreenCTM();
            const at = length => path.getPointAtLength(length).matrixTransform(matrix).y + scrollY;
            return [path.dataset.hit, at(0), at(path.getTotalLength())];
        })"""
    )
    assert len(ends) == N_HITS
    for hit, start, end in ends:
        for side, y in (("before", start), ("after", end)):
            box = rows[side, hit]
            assert y == pytest.approx(box["y"] + box["height"] / 2, abs=2)


def test_a_link_shows_the_same_again(open_page):
    page = open_page(COMPARE)
    page.get_by_label("Index").fill("other")
    page.get_by_label("Policy").select_option("picky")
    page.get_by_label("Hits").select_option("20")
    page.get_by_label("Query").fill("50% of <b> & ünïcode")
    page.keyboard.press("Enter")
    page.locator(".order.after").wait_for()
    link = page.get_by_role("link", name="Link to this comparison").get_attribute("href")
    assert page.url.endswith(link)
    again = open_page(link)
    assert again.get_by_label("Query").input_value() == "50% of <b> & ünïcode"
    for label, value in (("Index", "other"), ("Policy", "picky"), ("Hits", "20")):
        assert again.get_by_label(label, exact=True).input_value() == value
    assert read_titles(again, "after") == read_titles(page, "after") == ["book 6", "book 5", "book 4"]


def test_the_browsers_own_buttons_go_through_comparisons(open_page):
    page = open_page(BOOKS)
    page.get_by_label("Query").fill("others")
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?query=others&index=books")
    page.go_back()
    wait_until(lambda: page.get_by_label("Query").input_value() == "some books")
    assert read_titles(page, "after") == AFTER


def test_without_a_worker_the_reason_is_told(open_page):
    page = open_page(WITHOUT_WORKER)
    verdict = page.get_by_role("status").inner_text()
    assert "Not reranked: no worker serves the policy's model (no_worker)." in verdict
    assert page.locator(".order.after").count() == 0
    page.get_by_role("link", name="no_worker").click()
    assert page.locator("#no_worker").is_visible()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param(BOOKS, 5 * N_HITS, id="in hits and highlights"),
        pytest.param(f"{COMPARE}?index=books&query={ATTACK}", 2, id="in the query"),
        pytest.param(f"{COMPARE}?query=a&index={ATTACK}", 1, id="in the index"),
        pytest.param(f"{COMPARE}?query=a&policy={ATTACK}", 1, id="in the policy"),
        pytest.param(f"{COMPARE}?query=a&body={ATTACK}", 1, id="in the body"),
    ],
)
def test_what_others_wrote_stays_text(open_page, path, shown):
    """That nothing was blocked either is what `watched_page` checks."""
    page = open_page(path.replace("<", "%3C").replace(">", "%3E"))
    assert page.evaluate("window.attacked") is None
    assert page.locator("img, main script").count() == 0
    assert page.content().count("window.attacked = 1") >= shown


def test_highlighted_words_are_marked(open_page):
    page = open_page(BOOKS)
    assert page.locator("mark").all_inner_texts() == ["book"] * N_HITS


def test_bad_json_is_told_where_it_is(open_page):
    page = open_page(COMPARE)
    page.locator("summary", has_text="A whole search body").click()
    page.get_by_label("Search body").fill('{"query": {]}')
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("alert").wait_for()
    told = page.get_by_role("alert").inner_text()
    assert told.startswith("No comparison: search body: not JSON: Expecting property name")
    assert "line 1 column 12" in told


def test_everything_can_be_done_by_keyboard(open_page):
    page = open_page(REASONS)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.goto(BOOKS)
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("a/b")  # the second slash is only a letter
    assert page.get_by_label("Query").input_value() == "a/b"
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?query=a%2Fb&index=books")
    order = []
    for _ in range(6):
        page.keyboard.press("Tab")
        order.append(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert order == [
        "index",
        "policy",
        "size",
        "Compare",
        "A whole search body instead of the query",
        "book 1",
    ]
    page.keyboard.press("Enter")
    assert page.url.endswith("#hit-1")
    assert page.locator("#hit-1").is_visible()


@pytest.mark.parametrize("path", ALL)
def test_no_page_is_wider_than_its_window(open_page, path):
    page = open_page(path)
    for width in (360, 500, 768, 1280, 2200):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_dark_is_as_the_system_says_or_as_chosen(open_page):
    def ground():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    page = open_page(OVERVIEW, color_scheme="light")
    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != light
    page.get_by_label("Theme").select_option("light")
    assert ground() == light
    page.goto(REASONS)
    assert ground() == light
    assert page.get_by_label("Theme").input_value() == "light"
    page.get_by_label("Theme").select_option("system")
    assert ground() == dark


def test_without_javascript_the_same_is_told(open_page):
    page = open_page(COMPARE, java_script_enabled=False)
    assert not page.get_by_label("Theme").is_visible()
    page.get_by_label("Query").fill("some books")
    page.get_by_label("Index").fill("books")
    page.get_by_role("button", name="Compare").click()
    assert read_titles(page, "after") == AFTER
    page.goto(OVERVIEW)
    assert "books-1" in page.locator("main").inner_text()


def test_the_overview_refreshes_itself_and_stays_where_it_is(open_page):
    page = open_page(OVERVIEW, clock=True)
    page.evaluate("document.querySelector('table').isSame = true")
    page.get_by_role("link", name="books-1").focus()
    page.locator("time").evaluate("time => time.innerText = 'long ago'")
    page.clock.fast_forward(5_000)
    page.get_by_text(re.compile(r"As of \d\d:\d\d:\d\d")).wait_for()
    assert page.evaluate("document.querySelector('table').isSame"), "the table was exchanged, not changed"
    assert page.evaluate("document.activeElement.innerText") == "books-1"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda route: route.abort(), id="nothing"),
        pytest.param(lambda route: route.fulfill(status=502, body="Bad gateway"), id="something else"),
    ],
)
def test_the_overview_says_that_the_gateway_is_gone(open_page, answer):
    page = open_page(OVERVIEW, clock=True, may_fail=["Failed to fetch"])
    notice = page.get_by_text("does not answer any more")
    assert not notice.is_visible()
    page.route("**/*", answer)
    page.clock.fast_forward(5_000)
    notice.wait_for()
    assert page.locator("table").count(), "what was known is still there"
    page.unroute("**/*")
    page.clock.fast_forward(5_000)
    notice.wait_for(state="hidden")


def test_an_answer_that_is_no_page_is_shown_by_itself(open_page):
    page = open_page(COMPARE)
    page.get_by_label("Query").fill("long " * 2_000)  # more than an address may have
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("refused_request_exception").wait_for()


@pytest.mark.parametrize("path", ALL)
def test_axe_finds_nothing(open_page, path):
    """All of its rules, best practices included, light and wide, dark and narrow."""
    page = open_page(path)
    for summary in page.locator("main summary").all():
        summary.click()
    page.evaluate((install_packages() / "axe-core" / "axe.min.js").read_text())
    for scheme, width in (("light", 1280), ("dark", 360)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size({"width": width, "height": 900})
        found = page.evaluate("axe.run()")
        assert found["passes"]
        told = [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found["violations"]]
        assert told == [], (scheme, width)
