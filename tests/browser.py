"""A real browser for tests, and the npm packages that tests of pages need."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import settings
from tests.clients.programs import NODE, NPM, find_tools
from tests.environments import one_at_a_time

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",  # which root has none of
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PACKAGES = settings.ROOT / "gateway" / "pages"
INSTALLED = settings.ROOT / "var" / "pages"

TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  console.error(`violates ${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""


@contextmanager
def running_browser():
    """A headless Chromium of this machine with a profile of its own; skips the test where there is none."""
    command = next(filter(None, map(shutil.which, COMMANDS)), None)
    if command is None:
        give_up("no browser is on this machine. On Debian: sudo apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def watched_page(browser, *, may_fail=(), **options):
    """A new page in a context of its own; fails at its end if a script failed or broke the page's policy.

    Args:
        may_fail: texts by which problems are told that are none, beside those of loading.
        options: the context's, such as ``color_scheme``.
    """
    context = browser.new_context(**options)
    context.add_init_script(TELL_VIOLATIONS)
    page = context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    expected = ("Failed to load resource", *may_fail)
    assert [problem for problem in problems if not any(text in problem for text in expected)] == []


@one_at_a_time()
def install_packages() -> Path:
    """The folder of the packages in ``gateway/pages/package-lock.json``, installed when it has changed."""
    wanted = (PACKAGES / "package-lock.json").read_text()
    installed = INSTALLED / "installed.json"
    if not installed.exists() or installed.read_text() != wanted:
        INSTALLED.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(PACKAGES / name, INSTALLED / name)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        environment = os.environ | {"PATH": find_tools((NODE, NPM))}
        ended = subprocess.run(command, cwd=INSTALLED, env=environment, capture_output=True, text=True)
        if ended.returncode:
            give_up(f"npm cannot install the packages: {ended.stderr[-500:]}")
        installed.write_text(wanted)
    return INSTALLED / "node_modules"


def give_up(lack):
    """Skip the test; in CI, where everything can be installed, that is a failure."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(lack)
