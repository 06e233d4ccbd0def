"""Notion: create pages, add text, read databases, and start rules from pages that change."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import SecretStr

from app.sdk import notion_values
from app.sdk.declare import Batch, Context, Integration
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings, Text, setting
from app.sdk.notion import Link, call
from app.sdk.notion_rows import open_table
from app.sdk.polling import EVERY_MINUTES, first_setting
from app.sdk.said import shown
from app.sdk.shapes import Object, shaped

notion = Integration(
    module=__name__, title="Notion", about="create pages, add text, read databases, and notice what changes"
)

_DATABASE: Final = "its link, or its id; share it with the integration under ⋯ → connections"
_LINK: Final = "https://www.notion.so/Orders-2f26ee68df3042518aad4ddc420cba3d"

Token: TypeAlias = Annotated[
    SecretStr,
    shaped(r"(ntn_|secret_)[A-Za-z0-9]{10,200}", "must begin with ntn_; copy it whole from your integration"),
]


@notion.connection
class Account(Settings):
    """An internal integration. Make it at notion.so/profile/integrations, and share your pages with it."""

    token: Token = setting(
        "Integration secret",
        help="share each page or database with the integration: ⋯ → connections",
        example="ntn_12345678901AbCdEfGhIjKlMnOp",
        where="notion.so/profile/integrations → your integration → internal integration secret",
    )


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


@notion.action("Create a page", idempotent=False)
def create_page(ctx: Context, connection: Account, params: NewPage) -> Mapping[str, Any]:
    """Creates a row of a database with its columns, or a page below another one. Values are text, never markup."""
    if params.inside == "page":
        if params.columns:
            raise RejectedError("only a row of a database has columns; leave them empty")
        parent = {"type": "page_id", "page_id": params.parent}
        properties = {"title": {"title": notion_values.rich_text(params.title)}}
    else:
        table = open_table(ctx, connection.token, params.parent, params.source)
        parent = {"type": "data_source_id", "data_source_id": table.id}
        properties = _row(table.schema, params)
    body: dict[str, Any] = {"parent": parent, "properties": properties}
    if params.text.strip():
        body["children"] = notion_values.blocks(params.text)
    named = f"the {params.inside} {params.parent}"
    return notion_values.page(call(ctx, connection.token, "POST", "pages", json=body, named=named))


def _row(schema: Mapping[str, Any], params: NewPage) -> dict[str, Any]:
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


@notion.action("Add text to a page", idempotent=False)
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
    filter: Object = setting("Or a filter", None, help="as JSON, as notion's API has it", widget="code")
    sort_by: Text = setting("In the order of", "", help="a column")
    descending: bool = setting("Largest first", False)
    limit: int = setting("At most", 100, help="rows", ge=1, le=1_000)
    source: Text = setting("Data source", "", help="its name, if the database has several")


@notion.action("Query a database", idempotent=True)
def query(ctx: Context, connection: Account, params: Query) -> Mapping[str, Any]:
    """Reads the rows of a database, all or those that fit."""
    table = open_table(ctx, connection.token, params.database, params.source)
    chosen = params.filter or notion_values.equals(table.schema, params.where)
    body: dict[str, Any] = {"filter": chosen} if chosen else {}
    if params.sort_by.strip():
        column, _ = notion_values.column(table.schema, params.sort_by)
        body["sorts"] = [
            {"property": column, "direction": "descending" if params.descending else "ascending"}
        ]
    pages = [notion_values.page(row) for row in table.rows(body, limit=params.limit)]
    return {"count": len(pages), "first": pages[0] if pages else None, "pages": pages}


class Changes(Settings):
    """Where to look."""

    database: Link = setting("Database", help=_DATABASE, example=_LINK, place=True)
    source: Text = setting("Data source", "", help="its name, if the database has several", place=True)
    every_minutes: int = EVERY_MINUTES
    first: int = first_setting("pages")


@notion.poll("Page created or changed", every=timedelta(minutes=1))
def changed(ctx: Context, connection: Account, params: Changes, cursor: Any, recent_keys: list[str]) -> Batch:
    """Starts when a row of a database is new or was changed. What changes within one minute counts once."""
    table = open_table(ctx, connection.token, params.database, params.source)
    return table.look(cursor, recent_keys, first=params.first)
