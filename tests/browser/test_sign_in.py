"""Connecting a Google account in a real browser: its policy lets the form lead to Google and back, and nowhere else."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import live
from tests.browser.conftest import WIDE, opened
from tests.providers import google as provider
from tests.providers.gmail import GmailApi
from tests.providers.google import GoogleServer


@dataclass(frozen=True)
class World:
    server: live.Server
    google: GoogleServer


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with provider.google_server(GmailApi()) as google, _server(google) as server:
        google.redirect_urls = [f"{server.url}/connections/oauth/callback"]
        server.cli("user", "add", "ada@example.com", "--password-stdin", given=live.PASSWORD + "\n")
        yield World(server, google)


def _server(google: GoogleServer) -> AbstractContextManager[live.Server]:
    return live.running(PROVIDER_BASE_URLS=json.dumps({"gmail": google.url}))


def log_in(page: Page, world: World) -> None:
    page.goto(f"{world.server.url}/login")
    page.get_by_label("E-mail address").fill("ada@example.com")
    page.get_by_label("Password").fill(live.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{world.server.url}/")


@pytest.mark.parametrize("scripts", [True, False])
def test_somebody_connects_a_google_account(browser: Browser, world: World, scripts: bool) -> None:
    context = browser.new_context(viewport=WIDE, java_script_enabled=scripts)
    page, complaints = opened(context)
    log_in(page, world)

    page.goto(f"{world.server.url}/connections/new?integration=gmail")
    shown = page.locator("#redirect-url").inner_text()
    page.get_by_label("Client ID").fill(provider.CLIENT_ID)
    page.get_by_label("Client secret").fill(provider.CLIENT_SECRET)
    page.get_by_role("button", name="Connect with Google").click()

    expect(page.get_by_text("Connected to ada@example.com")).to_be_visible(timeout=15_000)
    assert shown == world.google.redirect_urls[0]
    assert complaints == []
    context.close()
