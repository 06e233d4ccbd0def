"""RSS: read feeds, and start rules when something new is in them."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from app.sdk import feeds, polling
from app.sdk.declare import Batch, Context, Integration
from app.sdk.errors import AuthError, RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.http import Answer, raise_for_status
from app.sdk.urls import parse_url

rss = Integration(module=__name__, title="RSS", about="follow feeds: RSS, Atom and JSON Feed")

_ACCEPT: Final = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, */*;q=0.5"
)
_DEADLINE_S: Final = 30.0


class Address(Settings):
    """A feed."""

    url: Text = setting("Feed URL", example="https://blog.example/feed.xml", min_length=1)
    limit: int = setting("At most so many entries", 20, ge=1, le=200)


class Following(polling.Looking):
    """A feed to follow."""

    url: Text = setting("Feed URL", example="https://blog.example/feed.xml", min_length=1, place=True)


def _get(ctx: Context, url: str, cursor: Mapping[str, str] | None = None) -> Answer:
    answer = ctx.http.request(
        "GET", url, headers={"Accept": _ACCEPT} | polling.conditions(cursor), deadline_s=_DEADLINE_S
    )
    host = parse_url(url).typed_host
    if answer.status in {404, 410}:
        raise RejectedError(f"{host} has no feed there ({answer.status}); look for its new address")
    try:
        raise_for_status(answer, service=host)
    except AuthError as error:
        raise RejectedError(
            f"{host} keeps this feed to itself ({answer.status}); use a public address"
        ) from error
    return answer


def _feed(answer: Answer) -> feeds.Feed:
    return feeds.read(answer.body, content_type=answer.headers.get("content-type", ""), url=answer.url)


@rss.action("Read a feed", idempotent=True)
def read(ctx: Context, connection: None, params: Address) -> Mapping[str, Any]:
    """Reads the newest entries of a feed: title, link, text, author and date of each."""
    feed = _feed(_get(ctx, params.url))
    entries = feeds.newest_first(feed.entries)[: params.limit]
    return {"title": feed.title, "link": feed.link, "entries": entries, "count": len(entries)}


@rss.poll("New entry", every=timedelta(minutes=5))
def new_entry(
    ctx: Context,
    connection: None,
    params: Following,
    cursor: Mapping[str, str] | None,
    recent_keys: list[str],
) -> Batch:
    """Starts the rule once for each new entry of a feed, also when it has no dates or is edited later."""
    answer = _get(ctx, params.url, cursor)
    if answer.status == 304:
        return Batch([], cursor, recent_keys)
    feed = _feed(answer)
    return polling.fresh(
        feeds.newest_first(feed.entries),
        key=feeds.key_of,
        data=lambda entry: entry | {"feed": feed.title},
        cursor=cursor,
        next_cursor=polling.marks(answer),
        recent_keys=recent_keys,
        first=params.first,
    )
