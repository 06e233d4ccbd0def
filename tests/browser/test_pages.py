"""Every page, opened: it answers, its console is silent, and nothing has to be scrolled sideways on a phone."""

import re
from typing import Any

from playwright.sync_api import Browser, Page, Route

from tests.browser.conftest import NARROW, opened
from tests.browser.pages import member_pages, public_pages
from tests.browser.seed import Shop

_WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def look(page: Page, complaints: list[str], name: str, path: str) -> list[str]:
    """What is wrong with it, in sentences."""
    complaints.clear()
    answer = page.goto(path, wait_until="load")
    wider = page.evaluate(_WIDER)
    expected = 404 if name.endswith("-gone") else 200
    wrong = [f"{name}: {text}" for text in complaints if not (expected == 404 and "404" in text)]
    if answer is None or answer.status != expected:
        wrong.append(f"{name}: {path} answered {answer and answer.status}")
    if wider > 0:
        wrong.append(f"{name}: is {wider} px wider than the screen")
    return wrong


def test_every_page_answers_quietly_and_fits_a_phone(
    browser: Browser, filled: Shop, routes: Any, owner: Any
) -> None:
    context = browser.new_context(base_url=filled.server.url, viewport=NARROW, storage_state=owner)
    page, complaints = opened(context)

    wrong = [
        text for each in member_pages(routes, filled) for text in look(page, complaints, each.name, each.path)
    ]

    context.close()
    assert wrong == []


def test_every_page_of_a_visitor_answers_quietly_and_fits_a_phone(browser: Browser, filled: Shop) -> None:
    context = browser.new_context(base_url=filled.server.url, viewport=NARROW)
    page, complaints = opened(context)

    wrong = [text for each in public_pages(filled) for text in look(page, complaints, each.name, each.path)]

    context.close()
    assert wrong == []


def test_the_dashboard_of_rq_opens_for_an_operator(browser: Browser, filled: Shop, owner: Any) -> None:
    context = browser.new_context(base_url=filled.server.url, storage_state=owner)
    page, complaints = opened(context)

    answer = page.goto("/operator/rq/")
    page.get_by_text("Queues").first.wait_for()

    context.close()
    assert answer
    assert answer.status == 200
    assert complaints == []


def test_a_value_goes_where_somebody_wrote_before_the_script_arrived(
    browser: Browser, filled: Shop, owner: Any
) -> None:
    context = browser.new_context(base_url=filled.server.url, storage_state=owner)
    page = context.new_page()
    held: list[Route] = []
    page.route("**/app.js*", lambda route: held.append(route))  # noqa: PLW0108 - it asks for its signature
    page.goto(f"/rules/{filled.ids['rule_id']}/steps/call", wait_until="commit")

    field = page.locator("[data-templated]").last
    field.fill("before ")
    field.focus()
    page.wait_for_timeout(200)
    for route in held:
        route.continue_()
    page.get_by_role("button", name="Insert event.").first.click()
    written = field.input_value()

    context.close()
    assert re.fullmatch(r"before \{\{ event\.\S+ \}\}", written)
