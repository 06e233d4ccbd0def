"""axe finds nothing on any page, in light and in dark."""

from typing import Any, Final, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.conftest import WIDE
from tests.browser.pages import member_pages, public_pages
from tests.browser.seed import Shop

_ALL: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# The page is the same in the dark; only its colours are others.
_RULES: Final[dict[Literal["light", "dark"], list[str]]] = {
    "light": _ALL,
    "dark": ["color-contrast", "link-in-text-block"],
}
_RUN: Final = "tags => axe.run({runOnly: tags, resultTypes: ['violations'], preload: false})"


def found_on(page: Page, axe: Axe, name: str, path: str) -> list[str]:
    page.goto(path, wait_until="load")
    page.evaluate(axe.axe_script)
    found = []
    for scheme, tags in _RULES.items():
        page.emulate_media(color_scheme=scheme)
        violations = page.evaluate(_RUN, tags)["violations"]
        found += [f"{name}, {scheme}: {text}" for each in violations for text in sentences(each)]
    return found


def sentences(violation: dict[str, Any]) -> list[str]:
    said = f"{violation['id']} ({violation['help']})"
    return [f"{said}: {node['html'][:160]} | {node['failureSummary'][:300]}" for node in violation["nodes"]]


def test_axe_finds_nothing(browser: Browser, filled: Shop, routes: Any, owner: Any) -> None:
    found, axe = [], Axe()
    for cookies, pages in ((owner, member_pages(routes, filled)), (None, public_pages(filled))):
        # The pages' own policy forbids scripts from elsewhere, axe's too.
        context = browser.new_context(
            base_url=filled.server.url,
            viewport=WIDE,
            storage_state=cookies,
            bypass_csp=True,
            reduced_motion="reduce",
        )
        page = context.new_page()
        found += [text for each in pages for text in found_on(page, axe, each.name, each.path)]
        context.close()

    assert found == []


@pytest.mark.parametrize("scheme", _RULES)
def test_axe_would_find_something(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    """A check that accepts anything proves nothing: a page that is unreadable in one scheme is found in that one."""
    page = browser.new_page(color_scheme=scheme)
    style = f"@media (prefers-color-scheme: {scheme}) {{ h1 {{ color: #999; background: #aaa }} }}"
    page.set_content(
        f"<html lang=en><title>x</title><style>{style}</style><main><h1>Hello</h1></main></html>"
    )
    page.evaluate(Axe().axe_script)

    violations = page.evaluate(_RUN, _RULES[scheme])["violations"]

    page.close()
    assert [each["id"] for each in violations] == ["color-contrast"]
