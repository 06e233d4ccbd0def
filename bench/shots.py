"""`./run shots`: a picture of every page, wide and narrow, light and dark, and the one in the README."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext
from playwright.sync_api import Page as Tab

from tests import live
from tests.browser.conftest import NARROW, WIDE, chromium, log_in
from tests.browser.pages import Page, make_routes, member_pages, public_pages
from tests.browser.seed import Shop, shop

_ROOT = Path(__file__).resolve().parents[1]
_SHOTS, _README = _ROOT / "shots", _ROOT / "docs" / "screenshot.png"
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "only", nargs="?", default="", help="pages whose name begins so; readme: only its picture"
    )
    only = parser.parse_args().only
    with chromium() as browser, shop() as made, tempfile.TemporaryDirectory() as home:
        cookies = log_in(browser, made.server.url)
        pages = [(cookies, page) for page in member_pages(make_routes(Path(home)), made)]
        pages += [(None, page) for page in public_pages(made)]
        wanted = [(kept, page) for kept, page in pages if page.name.startswith(only)]
        if wanted:
            _shoot(browser, made, wanted)
        if only in ("", "readme"):
            _shoot_readme(browser, made, cookies)
    if not only:
        _shoot_empty()


def _shoot(browser: Browser, made: Shop, pages: list[tuple[Any, Page]]) -> None:
    for scheme, size, folder in _looks():
        contexts = {
            bool(kept): browser.new_context(
                base_url=made.server.url, viewport=size, color_scheme=scheme, storage_state=kept
            )
            for kept, _ in pages
        }
        for kept, page in pages:
            _take(contexts[bool(kept)], page.path, folder / f"{page.name}.png")
        for context in contexts.values():
            context.close()
    print(f"{len(pages)} pages, {len(list(_looks()))} looks each, are in {_SHOTS.relative_to(_ROOT)}/")


def _looks() -> Iterator[tuple[Literal["light", "dark"], Any, Path]]:
    for scheme in _SCHEMES:
        for size in (WIDE, NARROW):
            folder = _SHOTS / f"{size['width']}-{scheme}"
            folder.mkdir(parents=True, exist_ok=True)
            yield scheme, size, folder


def _take(context: BrowserContext, path: str, file: Path) -> None:
    page: Tab = context.new_page()
    page.goto(path, wait_until="load")
    page.screenshot(path=file, full_page=True)
    page.close()


def _shoot_readme(browser: Browser, made: Shop, cookies: Any) -> None:
    size = {"width": 1280, "height": 860}
    context = browser.new_context(
        base_url=made.server.url, viewport=size, storage_state=cookies, color_scheme="light"
    )
    page = context.new_page()
    page.goto(f"/runs/{made.ids['run_id']}", wait_until="load")
    page.locator("summary", has_text="What went in and came out").first.click()
    page.screenshot(path=_README)
    context.close()
    print(f"{_README.relative_to(_ROOT)} has {_README.stat().st_size // 1024} KB")


def _shoot_empty() -> None:
    """The pages of somebody who has just begun: each says what to do first."""
    with chromium() as browser, live.running() as server:
        context = browser.new_context(base_url=server.url, viewport=WIDE, color_scheme="light")
        page = context.new_page()
        folder = _SHOTS / "1280-light"
        page.goto("/", wait_until="load")
        page.screenshot(path=folder / "empty-welcome.png", full_page=True)
        page.get_by_label("E-mail address").fill("ada@example.com")
        page.get_by_label("Password").fill(live.PASSWORD)
        page.get_by_role("button", name="Make the account and start").click()
        page.wait_for_url(f"{server.url}/")
        for name in ("", "rules", "connections", "activity", "queues", "api-keys", "team"):
            _take(context, f"/{name}", folder / f"empty-{name or 'home'}.png")
        context.close()


if __name__ == "__main__":
    main()
