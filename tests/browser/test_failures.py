"""The failure desk in a real browser: a shop that was closed, thirty-seven orders that failed, one click."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests import live
from tests.browser.conftest import NARROW, WIDE, opened
from tests.providers.http import Received, Says, StandIn, http_server, says_json

MANY = 37
OWNER = "ada@example.com"


@dataclass
class Closed:
    """A shop that refuses orders until it opens, and swallows letters without a word."""

    open: bool = False
    calls: list[str] = field(default_factory=list)

    def __call__(self, request: Received) -> Says:
        self.calls.append(request.path)
        if request.path == "/letters":
            return Says(hang_up=True)
        if self.open:
            return says_json({"ok": True})
        return says_json({"error": f"order {len(self.calls)} is refused"}, 422)


@dataclass(frozen=True)
class World:
    server: live.Server
    shop: Closed
    target: StandIn
    key: str

    def api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        with self.server.api(self.key) as api:
            answer = api.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code < 300, answer.text
        given: dict[str, Any] = answer.json()
        return given

    def rule(self, name: str, path: str, method: str) -> dict[str, Any]:
        call = {"key": "call", "kind": "action", "action": "http.request", "connection": None,
                "params": {"method": method, "url": self.target.url + path}}  # fmt: skip
        trigger = {"type": "webhook.received", "params": {}}
        document = {"name": name, "enabled": True, "trigger": trigger, "steps": [call]}
        return self.api("POST", "/rules", document)

    def call(self, rule: dict[str, Any], count: int) -> None:
        for number in range(count):
            assert httpx2.post(rule["hook_url"], json={"order": number}).status_code == 202

    def wait_for(self, rule: dict[str, Any], state: str, count: int) -> None:
        path = f"/runs?state={state}&rule={rule['id']}&limit=200"
        live.wait_until(
            lambda: len(self.api("GET", path)["items"]) >= count,
            seconds=30,
            what=f"{count} runs are {state}",
        )


@pytest.fixture(scope="module")
def _world() -> Iterator[World]:
    shop = Closed()
    with http_server(shop) as target, live.running(WORKERS="1") as server:
        yield World(server, shop, target, server.owner_key(OWNER))


@pytest.fixture
def world(_world: World) -> World:
    """With a shop that is closed and has heard nothing."""
    _world.shop.open = False
    _world.shop.calls.clear()
    return _world


def log_in(page: Page, world: World) -> None:
    page.goto(f"{world.server.url}/login")
    page.get_by_label("E-mail address").fill(OWNER)
    page.get_by_label("Password").fill(live.PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{world.server.url}/")


@pytest.mark.parametrize(("scripts", "size"), [(True, WIDE), (False, NARROW)])
def test_all_that_failed_alike_is_retried_with_one_click(
    browser: Browser, world: World, scripts: bool, size: Any
) -> None:
    rule = world.rule("Orders to the shop", "/orders", "PUT")
    world.call(rule, MANY)
    world.wait_for(rule, "failed", MANY)
    context = browser.new_context(viewport=size, java_script_enabled=scripts)
    page, complaints = opened(context)
    log_in(page, world)

    page.get_by_role("link", name="failures by cause").click()
    card = page.locator("section.card", has_text="Orders to the shop")
    expect(card.get_by_text(f"{MANY} failed")).to_be_visible()
    world.shop.open = True
    card.get_by_role("button", name=f"Retry all {MANY} from here").click()

    expect(page.get_by_text(f"{MANY} of {MANY} begun again").first).to_be_visible(timeout=15_000)
    expect(page.get_by_text("Nothing has failed")).to_be_visible(timeout=15_000)
    world.wait_for(rule, "succeeded", MANY)
    assert len(world.shop.calls) == 2 * MANY
    assert complaints == []
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_question_says_what_was_sent_and_takes_an_answer(
    browser: Browser, world: World, scripts: bool
) -> None:
    rule = world.rule("Letters", "/letters", "POST")
    world.call(rule, 1)
    world.wait_for(rule, "uncertain", 1)
    context = browser.new_context(viewport=NARROW, java_script_enabled=scripts)
    page, complaints = opened(context)
    log_in(page, world)

    page.goto(f"{world.server.url}/failures")
    page.get_by_text("Look at it").click()
    page.get_by_role("link", name="Open").click()
    question = page.locator(".note.ask")
    expect(question.get_by_text(f"{world.target.url}/letters")).to_be_visible()
    question.get_by_role("button", name="It was done").click()

    expect(page.get_by_text("Noted: it was done.")).to_be_visible()
    world.wait_for(rule, "succeeded", 1)
    assert world.shop.calls == ["/letters"]
    assert complaints == []
    context.close()
