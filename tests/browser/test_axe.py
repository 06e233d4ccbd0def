"""axe finds nothing on any page, in light and in dark."""

from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import WIDE
from tests.browser.pages import member_pages, public_pages
from tests.browser.seed import Shop

_OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


def found_on(page: Page, axe: Axe, name: str, path: str) -> list[str]:
    page.goto(path, wait_until="load")
    violations = axe.run(page, options=_OPTIONS).response["violations"]
    return [
        f"{name}: {violation['id']} ({violation['help']}): {node['html'][:160]} | {node['failureSummary'][:300]}"
        for violation in violations
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    browser: Browser, filled: Shop, routes: Any, owner: Any, scheme: Literal["light", "dark"]
) -> None:
    found, axe = [], Axe()
    for cookies, pages in ((owner, member_pages(routes, filled)), (None, public_pages(filled))):
        # The pages' own policy forbids scripts from elsewhere, axe's too.
        context = browser.new_context(
            base_url=filled.server.url, viewport=WIDE, storage_state=cookies, color_scheme=scheme, bypass_csp=True
        )
        page = context.new_page()
        found += [text for each in pages for text in found_on(page, axe, each.name, each.path)]
        context.close()

    assert found == []
