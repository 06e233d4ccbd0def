"""Lists as HTTP services give them: where the items are, and how one page leads to the next."""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urljoin

from app.sdk import jsonvalues, paths, values
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import Answer

MAX_PAGES: Final = 20
MAX_ITEMS: Final = 10_000
MAX_BYTES: Final = 20 * 1024 * 1024
_LONGEST_S: Final = 120.0
# RFC 8288: `<https://shop.example/orders?page=2>; rel="next"`
_LINK: Final = re.compile(r"<([^<>]*)>([^<]*)")
_IS_NEXT: Final = re.compile(r""";\s*rel\s*=\s*(?:"(?:[^"]*\s)?next(?:\s[^"]*)?"|next\b)""", re.IGNORECASE)


class Paging(Settings):
    """How the next page is found."""

    next_page: Literal["next link", "link header", "next value", "page number"] = setting(
        "The next page is told by",
        "next link",
        choices={
            "next link": "an address in the answer",
            "link header": "a Link header, as GitHub sends it",
            "next value": "a value in the answer that goes into the query",
            "page number": "a page number, counted up until a page is empty",
        },
    )
    next_at: Text = setting(
        "Where the next link or value is",
        "",
        help="in the answer; empty on the last page",
        example="meta.next",
    )
    next_query: Text = setting(
        "Query parameter",
        "page",
        help="for the next value or the page number",
        example="cursor",
        min_length=1,
    )
    first_page: int = setting("First page number", 1, ge=0, le=1_000_000)
    max_pages: int = setting("At most so many pages", 5, ge=1, le=MAX_PAGES)


@dataclass(frozen=True, slots=True)
class Page:
    """What to ask for: `url` is empty for the address that the user gave."""

    url: str = ""
    query: Mapping[str, Any] = field(default_factory=dict)
    deadline_s: float = 30.0


Get = Callable[[Page], tuple[Answer, Any]]


def joined(paging: Paging, query: Mapping[str, Any], where: str, get: Get) -> dict[str, Any]:
    """The items of all pages; `more` says that there would have been further ones."""
    until = time.monotonic() + _LONGEST_S
    items: list[Any] = []
    page: Page | None = _first(paging, query)
    seen, size, number = set(), 0, 0
    while page is not None and number < paging.max_pages:
        seen.add((page.url, jsonvalues.dumps(dict(page.query))))
        answer, body = get(page)
        found = items_at(body, where)
        number, size = number + 1, size + len(answer.body)
        items += found
        if size > MAX_BYTES or len(items) > MAX_ITEMS:
            raise RejectedError(
                f"this list has more than {MAX_ITEMS} items or {MAX_BYTES} bytes; take fewer pages"
            )
        page = _next(paging, page, answer, body, empty=not found)
        if page and (page.url, jsonvalues.dumps(dict(page.query))) in seen:
            # A service that leads back to where it began would do so for ever.
            page = None
        if time.monotonic() > until:
            raise TemporaryError(f"the pages took more than {_LONGEST_S:.0f} seconds; take fewer of them")
    return {"items": items, "count": len(items), "pages": number, "more": page is not None}


def _first(paging: Paging, query: Mapping[str, Any]) -> Page:
    if paging.next_page == "page number":
        return Page(query={**query, paging.next_query: paging.first_page})
    return Page(query=query)


def _next(paging: Paging, page: Page, answer: Answer, body: Any, *, empty: bool) -> Page | None:
    if paging.next_page == "page number":
        following = {**page.query, paging.next_query: int(page.query[paging.next_query]) + 1}
        return None if empty else Page(query=following)
    if paging.next_page == "link header":
        return _at(answer, _linked(answer.headers.get("link", "")))
    told = _told(body, paging.next_at)
    if paging.next_page == "next value":
        return Page(query={**page.query, paging.next_query: told}) if told else None
    return _at(answer, told)


def _at(answer: Answer, link: str) -> Page | None:
    try:
        # The link has the whole query in it.
        return Page(url=urljoin(answer.url, link)) if link else None
    except ValueError:
        raise RejectedError("the link to the next page cannot be read") from None


def _linked(header: str) -> str:
    return next((url for url, told in _LINK.findall(header) if _IS_NEXT.search(told)), "")


def _told(body: Any, where: str) -> str:
    """Empty on the last page, where many services leave the member out."""
    if not where:
        raise RejectedError("say where in the answer the next link or value is, such as meta.next")
    try:
        found = _lookup(body, where)
    except paths.MissingPath:
        return ""
    return values.text(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def items_at(body: Any, where: str) -> list[Any]:
    """Raises RejectedError that tells what is there instead of a list."""
    try:
        found = _lookup(body, where) if where.strip() else body
    except paths.MissingPath as error:
        raise RejectedError(f"there is no list in the answer: {error}") from None
    if not isinstance(found, list):
        raise RejectedError(
            f"{where.strip() or 'the answer'} is {values.kind(found)}, not a list; say where the list is"
        )
    return found


def key_of(item: Any, where: str) -> str:
    """What an item says at `where`; all it says where that is missing."""
    try:
        found = _lookup(item, where) if where.strip() else None
    except paths.MissingPath:
        found = None
    if isinstance(found, str | int | float) and found != "":
        return values.text(found)[:200]
    return hashlib.sha256(jsonvalues.dumps(item).encode()).hexdigest()[:32]


def _lookup(body: Any, where: str) -> Any:
    path = where.strip()
    try:
        return paths.lookup({"answer": body}, f"answer{path}" if path.startswith("[") else f"answer.{path}")
    except paths.PathError as error:
        raise RejectedError(str(error)) from None
