"""One Chromium, one filled server, and a person who is logged in there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.pages import make_routes
from tests.browser.seed import OWNER, PASSWORD, Shop, shop

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 360, "height": 740}
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def chromium_path() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("BITQUEUE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert found, "no Chromium found; on Debian: apt-get install chromium"
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=_ARGUMENTS)
        yield browser
        browser.close()


def log_in(browser: Browser, url: str) -> Any:
    """The cookies of the owner."""
    context = browser.new_context(base_url=url)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{url}/")
    cookies = context.storage_state()
    context.close()
    return cookies


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def filled() -> Iterator[Shop]:
    with shop() as made:
        yield made


@pytest.fixture(scope="session")
def routes(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return make_routes(tmp_path_factory.mktemp("routes"))


@pytest.fixture(scope="session")
def owner(browser: Browser, filled: Shop) -> Any:
    return log_in(browser, filled.server.url)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A browser in which nobody is logged in anywhere."""
    context = browser.new_context(viewport=WIDE)
    yield context.new_page()
    context.close()


def opened(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what its console complains about: faults of scripts and what the policy forbade."""
    page, complaints = context.new_page(), []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints
