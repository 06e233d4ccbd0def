"""Reading feeds: RSS 2.0, RSS 1.0 (RDF), Atom and JSON Feed, as strangers write them.

An own reader on the XML parser of the standard library: `feedparser` needs minutes for a hostile feed of a few
megabytes (quadratic), in which a worker does nothing else.
"""

import hashlib
import html.entities
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urljoin
from xml.etree import ElementTree as ET
from xml.parsers import expat

from app.clock import rfc3339
from app.sdk import jsonvalues, values
from app.sdk.errors import RejectedError

MAX_TAGS: Final = 200_000
MAX_ENTRIES: Final = 1_000
_LONGEST_TEXT: Final = 20_000

_NAMED: Final = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,31});")
_XML_OWN: Final = frozenset({b"amp", b"lt", b"gt", b"quot", b"apos"})
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_XML_BASE: Final = "{http://www.w3.org/XML/1998/namespace}base"


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed and its entries, the newest first as feeds have them; each is JSON data with the same members."""

    title: str
    link: str
    entries: list[dict[str, Any]]


def read(body: bytes, *, content_type: str, url: str) -> Feed:
    """Raises RejectedError naming `url` for what is no feed, or one that would hold the reader up."""
    if "json" in content_type or body.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{":
        return _json_feed(body, url)
    root = _parsed(body, url)
    if _name(root) == "feed":
        return _atom(root, url)
    if _name(root) in {"rss", "RDF"}:
        return _rss(root, url)
    raise RejectedError(
        f"{url} is no feed but <{_name(root)[:40]}>; look for the feed's own address on that page"
    )


def key_of(entry: Mapping[str, Any]) -> str:
    """What tells an entry from others: its id, else its link, else what it says."""
    told = entry["id"] or entry["link"] or f"{entry['title']}\n{entry['text']}"
    return hashlib.sha256(told.encode("utf-8", "replace")).hexdigest()[:32]


def _parsed(body: bytes, url: str) -> ET.Element:
    if body.count(b"<") > MAX_TAGS:
        raise RejectedError(f"{url} is too large for a feed: more than {MAX_TAGS} tags")
    text = body.lstrip()
    if text[:2] not in {b"\xff\xfe", b"\xfe\xff"} and b"\x00" not in text[:4]:
        text = _CONTROL.sub(b"", _NAMED.sub(_numbered, text))
    try:
        _require_no_entities(text)
        return ET.fromstring(text)  # noqa: S314 (declared entities are refused before)
    except (ET.ParseError, expat.ExpatError, ValueError, LookupError) as error:
        where = getattr(error, "lineno", None) or getattr(error, "position", (0,))[0]
        raise RejectedError(
            f"{url} is no feed that can be read: it is not well-formed XML at line {where}"
        ) from None


def _numbered(match: re.Match[bytes]) -> bytes:
    """`&nbsp;` as `&#160;`: HTML's names are common in feeds, and no XML."""
    code = html.entities.name2codepoint.get(match[1].decode())
    return match[0] if match[1] in _XML_OWN or code is None else b"&#%d;" % code


def _require_no_entities(text: bytes) -> None:
    """A document may declare entities that stand for gigabytes, or for files; no feed needs any."""

    def refuse(*_declaration: object) -> None:
        raise ValueError("entities")

    parser = expat.ParserCreate()
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse  # type: ignore[assignment]
    parser.Parse(text, True)


def _name(element: ET.Element) -> str:
    """Without its namespace."""
    return element.tag.rpartition("}")[2]


def _children(element: ET.Element, *names: str) -> Iterator[ET.Element]:
    """Those of the first name there is, then of the next."""
    for name in names:
        yield from (child for child in element if isinstance(child.tag, str) and _name(child) == name)


def _text(element: ET.Element, *names: str) -> str:
    for child in _children(element, *names):
        if said := "".join(child.itertext()).strip():
            return said[:_LONGEST_TEXT]
    return ""


def _rss(root: ET.Element, url: str) -> Feed:
    channel = next(_children(root, "channel"), root)
    # RSS 1.0 has its items beside the channel.
    items = [*_children(channel, "item"), *(_children(root, "item") if channel is not root else ())]
    base = absolute(url, _text(channel, "link"))
    return Feed(
        _text(channel, "title"), base, [_rss_entry(item, base or url) for item in items[:MAX_ENTRIES]]
    )


def _rss_entry(item: ET.Element, base: str) -> dict[str, Any]:
    guid = next(_children(item, "guid"), None)
    identity = _text(item, "guid") or item.get(_RDF_ABOUT, "")
    is_link = guid is not None and guid.get("isPermaLink", "true") != "false"
    link = _text(item, "link") or (identity if is_link and identity.startswith("http") else "")
    enclosures = [
        {"url": one.get("url", ""), "type": one.get("type", "")} for one in _children(item, "enclosure")
    ]
    return _entry(
        id=identity,
        link=absolute(base, link),
        title=_text(item, "title"),
        text=_text(item, "encoded", "description"),
        author=_text(item, "creator", "author"),
        published_at=_instant(_text(item, "pubDate", "date", "published")),
        tags=[said for one in _children(item, "category") if (said := "".join(one.itertext()).strip())],
        enclosures=enclosures,
    )


_RDF_ABOUT: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}about"


def _atom(root: ET.Element, url: str) -> Feed:
    base = absolute(url, root.get(_XML_BASE, "")) or url
    entries = list(_children(root, "entry"))[:MAX_ENTRIES]
    return Feed(_text(root, "title"), _atom_link(root, base), [_atom_entry(entry, base) for entry in entries])


def _atom_entry(entry: ET.Element, base: str) -> dict[str, Any]:
    base = absolute(base, entry.get(_XML_BASE, "")) or base
    author = next(_children(entry, "author"), None)
    links = [one for one in _children(entry, "link") if one.get("rel") == "enclosure"]
    return _entry(
        id=_text(entry, "id"),
        link=_atom_link(entry, base),
        title=_text(entry, "title"),
        text=_text(entry, "content", "summary"),
        author="" if author is None else _text(author, "name", "email"),
        published_at=_instant(_text(entry, "published", "issued", "updated", "modified")),
        tags=[one.get("term", "") for one in _children(entry, "category") if one.get("term")],
        enclosures=[
            {"url": absolute(base, one.get("href", "")), "type": one.get("type", "")} for one in links
        ],
    )


def _atom_link(element: ET.Element, base: str) -> str:
    links = {
        one.get("rel", "alternate"): one.get("href", "") for one in reversed(list(_children(element, "link")))
    }
    return absolute(base, links.get("alternate", ""))


def _json_feed(body: bytes, url: str) -> Feed:
    """https://www.jsonfeed.org/version/1.1/"""
    try:
        feed = jsonvalues.loads(body)
    except jsonvalues.BadJsonError as error:
        raise RejectedError(f"{url} is no feed that can be read: {error}") from None
    items = feed.get("items") if isinstance(feed, dict) else None
    if not isinstance(items, list):
        raise RejectedError(
            f"{url} is JSON, but no JSON Feed: it has no items; poll it as a JSON list instead"
        )
    known = [item for item in items[:MAX_ENTRIES] if isinstance(item, dict)]
    return Feed(
        _said(feed, "title"), _said(feed, "home_page_url"), [_json_entry(item, url) for item in known]
    )


def _json_entry(item: Mapping[str, Any], url: str) -> dict[str, Any]:
    authors = item.get("authors") or [item.get("author")]
    author = authors[0] if isinstance(authors, list) and isinstance(authors[0], dict) else {}
    tags, attached = item.get("tags"), item.get("attachments")
    files = [one for one in attached if isinstance(one, dict)] if isinstance(attached, list) else []
    return _entry(
        id=_said(item, "id"),
        link=absolute(url, _said(item, "url") or _said(item, "external_url")),
        title=_said(item, "title"),
        text=_said(item, "content_html") or _said(item, "content_text") or _said(item, "summary"),
        author=_said(author, "name"),
        published_at=_instant(_said(item, "date_published") or _said(item, "date_modified")),
        tags=[str(tag) for tag in tags] if isinstance(tags, list) else [],
        enclosures=[{"url": _said(one, "url"), "type": _said(one, "mime_type")} for one in files],
    )


def _said(part: Mapping[str, Any], name: str) -> str:
    value = part.get(name)
    return values.text(value).strip()[:_LONGEST_TEXT] if isinstance(value, str | int | float) else ""


def _entry(**members: Any) -> dict[str, Any]:
    """`published_at` is an instant as text, or None: many feeds have no dates."""
    return members


def _instant(said: str) -> str | None:
    """RFC 822 as RSS has it, or RFC 3339 as Atom has it."""
    if not said or len(said) > 80:
        return None
    found = values.instant(said)
    if found is None:
        try:
            found = parsedate_to_datetime(said)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    try:
        return rfc3339((found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC))
    except (OverflowError, ValueError):
        return None


def absolute(base: str, link: str) -> str:
    """Absolute; empty for none and for what is no web address (`javascript:`): people will click on it."""
    if not link.strip():
        return ""
    try:
        joined = urljoin(base, link.strip())
    except ValueError:
        return ""
    return joined if joined.startswith(("http://", "https://")) else ""


def newest_first(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By date where there is one; the feed's own order otherwise."""
    dated = any(entry["published_at"] for entry in entries)
    oldest = rfc3339(datetime(1, 1, 1, tzinfo=UTC))
    return (
        sorted(entries, key=lambda entry: entry["published_at"] or oldest, reverse=True) if dated else entries
    )
