"""A publisher of feeds: remembers its entries, answers in four forms, and 304 to whoever has the newest version."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from tests.providers.http import Received, Says, StandIn, http_server

_KINDS = {
    "/rss": "application/rss+xml",
    "/atom": "application/atom+xml",
    "/rdf": "application/rdf+xml",
    "/json": "application/feed+json",
}


@dataclass
class Publisher:
    """The newest entry is the first, as in feeds; each has `id`, `title`, `link`, `text` and perhaps `date`."""

    entries: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Says] = field(default_factory=list)

    def publish(self, number: int, **members: Any) -> None:
        own = {
            "id": f"e{number}",
            "title": f"Entry {number}",
            "link": f"/{number}",
            "text": f"<p>{number} & so</p>",
        }
        self.entries.insert(0, own | members)

    def answer(self, request: Received) -> Says:
        if self.faults:
            return self.faults.pop(0)
        if request.method != "GET":
            return Says(405)
        if request.path not in _KINDS:
            return Says(404, b"<html>no such page</html>", {"Content-Type": "text/html"})
        if "application/rss+xml" not in request.headers.get("accept", ""):
            return Says(406)
        body = _WRITERS[request.path](self.entries).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {
            "ETag": etag,
            "Last-Modified": "Sat, 21 Nov 2026 09:00:00 GMT",
            "Content-Type": _KINDS[request.path],
        }
        if request.headers.get("if-none-match") == etag:
            return Says(304, b"", headers)
        return Says(200, body, headers)


def busy(after_s: int) -> Says:
    return Says(429, b"slow down", {"Content-Type": "text/plain", "Retry-After": str(after_s)})


def _tags(entry: dict[str, Any], **names: str) -> str:
    return "".join(f"<{tag}>{escape(entry[name])}</{tag}>" for name, tag in names.items() if entry.get(name))


def rss(entries: list[dict[str, Any]]) -> str:
    items = "".join(
        f"<item>{_tags(one, id='guid', title='title', link='link', text='description', date='pubDate')}</item>"
        for one in entries
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>Blog</title>{items}</channel></rss>'


def rdf(entries: list[dict[str, Any]]) -> str:
    items = "".join(
        f'<item rdf:about="{one["id"]}">{_tags(one, title="title", link="link", text="description", date="dc:date")}'
        "</item>"
        for one in entries
    )
    return (
        '<?xml version="1.0"?><rdf:RDF xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><channel><title>Blog</title></channel>{items}</rdf:RDF>'
    )


def atom(entries: list[dict[str, Any]]) -> str:
    items = "".join(
        f"<entry>{_tags(one, id='id', title='title', text='content', date='updated')}"
        f'<link href="{one["link"]}"/></entry>'
        for one in entries
    )
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>Blog</title>{items}</feed>'


def json_feed(entries: list[dict[str, Any]]) -> str:
    items = [
        {"id": one["id"], "title": one["title"], "url": one["link"], "content_html": one["text"]}
        | ({"date_published": one["date"]} if one.get("date") else {})
        for one in entries
    ]
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "title": "Blog", "items": items})


_WRITERS = {"/rss": rss, "/atom": atom, "/rdf": rdf, "/json": json_feed}


@contextmanager
def feed_server() -> Iterator[tuple[StandIn, Publisher]]:
    publisher = Publisher()
    with http_server(publisher.answer) as stand_in:
        yield stand_in, publisher
