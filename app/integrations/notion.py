"""Notion: create pages, add text, read databases, and start rules from pages that change."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import SecretStr, field_validator

from app.clock import rfc3339
from app.sdk import notion_values, values
from app.sdk.declare import Batch, Context, Integration, Occurrence, Sample
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.notion import Link, call, data_source
from app.sdk.said import shown

notion = Integration(
    module=__name__, title="Notion", about="create pages, add text, read databases, and notice what changes"
)

_PAGE_SIZE: Final = 100
_MOST_IN_A_LOOK: Final = 500
# Notion's index may lag a little behind, and its times are whole minutes.
_OVERLAP: Final = timedelta(minutes=3)
_MINUTE: Final = timedelta(minutes=1)
_KEYS_KEPT: Final = 5_000

_DATABASE: Final = "its link, or its id; share it with the integration under ⋯ → connections"
_LINK: Final = "https://www.notion.so/Orders-2f26ee68df3042518aad4ddc420cba3d"


@notion.connection
class Account(Settings):
    """An internal integration. Make it at notion.so/profile/integrations, and share your pages with it."""

    token: SecretStr = setting(
        "Integration secret",
        help="share each page or database with the integration: ⋯ → connections",
        example="ntn_12345678901AbCdEfGhIjKlMnOp",
        where="notion.so/profile/integrations → your integration → internal integration secret",
    )

    @field_validator("token")
    @classmethod
    def _is_token(cls, token: SecretStr) -> SecretStr:
        if not re.fullmatch(r"(ntn_|secret_)[A-Za-z0-9]{10,200}", token.get_secret_value().strip()):
            raise ValueError("must begin with ntn_; copy it whole from your integration")
        return SecretStr(token.get_secret_value().strip())


@notion.check
def check(ctx: Context, connection: Account) -> str:
    """Asks for the integration's own name."""
    known = call(ctx, connection.token, "GET", "users/me", reads=True)
    bot = known.get("bot")
    workspace = bot.get("workspace_name") if isinstance(bot, dict) else None
    return f"connected to {shown(workspace or 'notion')} as {shown(known.get('name'))}"


class NewPage(Settings):
    """A page, or a row of a database."""

    inside: Literal["database", "page"] = setting("Put it into a", "database")
    parent: Link = setting("Database or page", help=_DATABASE, example=_LINK)
    title: Text = setting("Title", example="order {{ event.order }}", max_length=2_000)
    columns: dict[str, Any] = setting(
        "Columns",
        {},
        help="names as in the database, and values",
        example={"Total": "{{ event.total }}"},
        widget="pairs",
    )
    text: Text = setting(
        "Text",
        "",
        help="an empty line ends a paragraph; lines with - become a list",
        widget="textarea",
        max_length=150_000,
    )
    source: Text = setting("Data source", "", help="its name, if the database has several")


_CREATED: Final = {
    "id": "59833787-2cf9-4fdf-8782-e53db20768a5",
    "url": "https://www.notion.so/order-A-1001-598337872cf94fdf8782e53db20768a5",
    "title": "order A-1001",
    "columns": {"Name": "order A-1001", "Total": 150},
    "created_at": "2026-11-21T09:00:00.000Z",
    "changed_at": "2026-11-21T09:00:00.000Z",
}


@notion.action(
    "Create a page",
    idempotent=False,
    samples=[Sample({"parent": _LINK, "title": "order A-1001", "columns": {"Total": 150}}, _CREATED)],
)
def create_page(ctx: Context, connection: Account, params: NewPage) -> Mapping[str, Any]:
    """Creates a row of a database with its columns, or a page below another one. Values are text, never markup."""
    if params.inside == "page":
        if params.columns:
            raise RejectedError("only a row of a database has columns; leave them empty")
        parent = {"type": "page_id", "page_id": params.parent}
        properties = {"title": {"title": notion_values.rich_text(params.title)}}
    else:
        table = data_source(ctx, connection.token, params.parent, params.source.strip())
        parent = {"type": "data_source_id", "data_source_id": str(table["id"])}
        properties = _row(table, params)
    body: dict[str, Any] = {"parent": parent, "properties": properties}
    if params.text.strip():
        body["children"] = notion_values.blocks(params.text)
    named = f"the {params.inside} {params.parent}"
    return notion_values.page(call(ctx, connection.token, "POST", "pages", json=body, named=named))


def _row(table: Mapping[str, Any], params: NewPage) -> dict[str, Any]:
    schema = table.get("properties") or {}
    titles = [name for name, about in schema.items() if about.get("type") == "title"]
    return notion_values.properties(schema, {**dict.fromkeys(titles, params.title), **params.columns})


class MoreText(Settings):
    """Text for the end of a page."""

    page: Link = setting("Page", help="its link, or its id", example="{{ steps.create_page.id }}")
    text: Text = setting(
        "Text",
        help="an empty line ends a paragraph; lines with - become a list",
        example="paid on {{ event.at }}",
        widget="textarea",
        min_length=1,
        max_length=150_000,
    )


@notion.action(
    "Add text to a page",
    idempotent=False,
    samples=[Sample({"page": _CREATED["id"], "text": "paid"}, {"blocks": 1})],
)
def append(ctx: Context, connection: Account, params: MoreText) -> Mapping[str, Any]:
    """Adds paragraphs and list items below what is there."""
    blocks = notion_values.blocks(params.text)
    path, named = f"blocks/{params.page}/children", f"the page {params.page}"
    call(ctx, connection.token, "PATCH", path, json={"children": blocks}, named=named)
    return {"blocks": len(blocks)}


class Query(Settings):
    """Which rows."""

    database: Link = setting("Database", help=_DATABASE, example=_LINK)
    where: dict[str, Any] = setting(
        "Only rows with",
        {},
        help="names of columns, and values they equal",
        example={"Status": "open"},
        widget="pairs",
    )
    filter: dict[str, Any] | None = setting(
        "Or a filter", None, help="as JSON, as notion's API has it", widget="code"
    )
    sort_by: Text = setting("In the order of", "", help="a column")
    descending: bool = setting("Largest first", False)
    limit: int = setting("At most", 100, help="rows", ge=1, le=1_000)
    source: Text = setting("Data source", "", help="its name, if the database has several")

    @field_validator("filter", mode="before")
    @classmethod
    def _is_something(cls, given: Any) -> Any:
        return None if given in ("", {}) else given


@notion.action(
    "Query a database",
    idempotent=True,
    samples=[
        Sample(
            {"database": _LINK, "where": {"Status": "open"}},
            {"count": 1, "first": _CREATED, "pages": [_CREATED]},
        )
    ],
)
def query(ctx: Context, connection: Account, params: Query) -> Mapping[str, Any]:
    """Reads the rows of a database, all or those that fit."""
    table = data_source(ctx, connection.token, params.database, params.source.strip())
    schema = table.get("properties") or {}
    chosen = params.filter or notion_values.equals(schema, params.where)
    body: dict[str, Any] = {"filter": chosen} if chosen else {}
    if params.sort_by.strip():
        column, _ = notion_values.column(schema, params.sort_by)
        body["sorts"] = [
            {"property": column, "direction": "descending" if params.descending else "ascending"}
        ]
    pages = [
        notion_values.page(each)
        for each in _rows(ctx, connection, str(table["id"]), body, limit=params.limit)
    ]
    return {"count": len(pages), "first": pages[0] if pages else None, "pages": pages}


def _rows(
    ctx: Context, connection: Account, source: str, body: Mapping[str, Any], *, limit: int = _KEYS_KEPT
) -> Iterator[Mapping[str, Any]]:
    """At most `limit` rows, page by page."""
    path, cursor = f"data_sources/{source}/query", None
    while limit > 0:
        asked = {**body, "page_size": min(limit, _PAGE_SIZE)} | ({"start_cursor": cursor} if cursor else {})
        found = call(ctx, connection.token, "POST", path, json=asked, named="the database", reads=True)
        results = [each for each in found.get("results", []) if isinstance(each, dict)][:limit]
        yield from results
        limit -= len(results)
        cursor = found.get("next_cursor")
        if not (results and cursor and found.get("has_more")):
            return


class Changes(Settings):
    """Where to look."""

    database: Link = setting("Database", help=_DATABASE, example=_LINK)
    source: Text = setting("Data source", "", help="its name, if the database has several")
    every_minutes: int = setting("Look every … minutes", 5, ge=1, le=1440)
    first: int = setting("At first, take the last", 0, help="pages", ge=0, le=100)


@notion.poll("Page created or changed", every=_MINUTE, samples=[_CREATED])
def changed(ctx: Context, connection: Account, params: Changes, cursor: Any, recent_keys: list[str]) -> Batch:
    """Starts when a row of a database is new or was changed. What changes within one minute counts once."""
    source = str(data_source(ctx, connection.token, params.database, params.source.strip())["id"])
    # Notion's times are cut to the minute: one that is not over yet may still bring the same time again.
    until = ctx.now - _MINUTE
    since = values.instant(cursor)
    if since is None:
        rows = _rows(ctx, connection, source, _edited(None, "descending"))
        return _first_look(rows, params.first, until)
    known, fresh = set(recent_keys), []
    for row in _rows(ctx, connection, source, _edited(since - _OVERLAP, "ascending")):
        if _at(row) > until:
            break
        if len(fresh) == _MOST_IN_A_LOOK:
            # The next look goes on here: what it finds again it knows by its key.
            until = _at(row)
            break
        if _key(row) not in known:
            fresh.append(row)
    keys = [*recent_keys, *map(_key, fresh)][-_KEYS_KEPT:]
    return Batch([_occurrence(row) for row in fresh], rfc3339(max(until, since)), keys)


def _first_look(rows: Iterable[Mapping[str, Any]], first: int, until: datetime) -> Batch:
    """The last N, and the keys of what the overlap of the next look would find again."""
    taken: list[Mapping[str, Any]] = []
    known: list[str] = []
    for row in rows:
        if _at(row) > until:
            continue
        if len(taken) < first:
            taken.append(row)
        elif _at(row) < until - 2 * _OVERLAP:
            break
        known.append(_key(row))
    return Batch([_occurrence(row) for row in reversed(taken)], rfc3339(until), known[:_KEYS_KEPT])


def _edited(since: datetime | None, direction: str) -> dict[str, Any]:
    body: dict[str, Any] = {"sorts": [{"timestamp": "last_edited_time", "direction": direction}]}
    if since:
        condition = {"on_or_after": rfc3339(since)}
        body["filter"] = {"timestamp": "last_edited_time", "last_edited_time": condition}
    return body


def _at(page: Mapping[str, Any]) -> datetime:
    return values.instant(page.get("last_edited_time")) or datetime.fromtimestamp(0, UTC)


def _key(page: Mapping[str, Any]) -> str:
    return f"{page.get('id')} {page.get('last_edited_time')}"


def _occurrence(page: Mapping[str, Any]) -> Occurrence:
    return Occurrence(_key(page), notion_values.page(page))
