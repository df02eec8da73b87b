"""The page of a real server in a real browser: the Chromium of this machine, without a window."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.service.harness import RunningServer
from tests.service.page.visitor import WAIT_S, Visitor, kept_on

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
NO_CHROMIUM = (
    "No Chromium is installed here, so the page was not opened. Install one (Debian: apt-get install chromium), or "
    "name it: CHROMIUM=/path/to/chromium."
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a module.

    Playwright holds its thread's event loop for as long as it is open, and other tests want theirs.
    """
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if path is None:
        pytest.skip(NO_CHROMIUM)
    # Root, as in a container, has no sandbox.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    # A microphone that beeps, and leave to use it.
    arguments += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def quick(page: Page, small_server: RunningServer, two_speakers: Path) -> Iterator[Visitor]:
    """`visitor`, on a server whose network knows nothing and is fast: for what is not about sound."""
    visitor = Visitor(page, small_server, kept_on(small_server, two_speakers))
    yield visitor
    visitor.saw_no_faults()


@contextmanager
def new_context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * WAIT_S)
    expect.set_options(timeout=1000 * WAIT_S)
    yield context
    context.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visitor's browser, as new."""
    with new_context(browser) as context:
        yield context


@pytest.fixture(scope="module")
def patient(browser: Browser, small_server: RunningServer, two_speakers: Path) -> Iterator[Visitor]:
    """Somebody who stays on the page for several tests that only look, on the fast server."""
    with new_context(browser) as context:
        visitor = Visitor(context.new_page(), small_server, kept_on(small_server, two_speakers))
        yield visitor
        visitor.saw_no_faults()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab."""
    return context.new_page()


@pytest.fixture
def visitor(page: Page, server: RunningServer, two_speakers: Path) -> Iterator[Visitor]:
    """Somebody who has two speakers open, and at the end has seen neither errors nor anything from elsewhere."""
    visitor = Visitor(page, server, kept_on(server, two_speakers))
    yield visitor
    visitor.saw_no_faults()
