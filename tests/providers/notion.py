"""Notion's API, judged by its OpenAPI document where that is right, and by Notion's reference where it is not."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from tests.providers.http import Received, Says, http_server, says_json
from tests.providers.openapi_part import Part

TOKEN = "ntn_12345678901AbCdEfGhIjKlMnOp"
DATABASE = "2f26ee68-df30-4251-8aad-4ddc420cba3d"
SOURCE = "c174b72c-d782-432f-8dc0-b647e1c96df6"
OTHER_SOURCE = "c174b72c-d782-432f-8dc0-b647e1c96df7"
PAGE = "59833787-2cf9-4fdf-8782-e53db20768a5"
UNSHARED = "00000000-0000-4000-8000-000000000000"
SCHEMA = {
    name: {"id": name, "name": name, "type": kind}
    for name, kind in {
        "Name": "title", "Total": "number", "Status": "select", "Tags": "multi_select", "Paid": "checkbox",
        "Due": "date", "Note": "rich_text", "Link": "url", "Mail": "email", "Sum": "formula",
    }.items()
}  # fmt: skip
_PATHS = [
    "/v1/users/me", "/v1/pages", "/v1/blocks/{block_id}/children", "/v1/databases/{database_id}",
    "/v1/data_sources/{data_source_id}", "/v1/data_sources/{data_source_id}/query",
]  # fmt: skip


def _mend(document: dict[str, Any]) -> None:
    """Where the file differs from https://developers.notion.com/reference of the same version, 2025-09-03.

    Rows are made in data sources (/reference/post-page), the children of a new page are blocks and not texts
    (ibid.), and rows may be sorted by a timestamp instead of a column (/reference/sort-data-source-entries).
    """
    schemas = document["components"]["schemas"]
    schemas["dataSourceIdParentRequest"] = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "const": "data_source_id"},
            "data_source_id": {"type": "string", "format": "uuid"},
        },
        "required": ["data_source_id"],
    }
    body = document["paths"]["/v1/pages"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    body["properties"]["children"] = {
        "type": "array", "maxItems": 100, "items": {"$ref": "#/components/schemas/blockObjectRequest"}
    }  # fmt: skip
    by_time = {
        "type": "object",
        "required": ["timestamp", "direction"],
        "properties": {
            "timestamp": {"enum": ["created_time", "last_edited_time"]},
            "direction": {"enum": ["ascending", "descending"]},
        },
    }
    schemas["sortObject"] = {"anyOf": [schemas["sortObject"], by_time]}


@cache
def specification() -> Part:
    return Part("notion/notion-openapi.json", _PATHS, _mend)


def objection(request: Received) -> str | None:
    """What the specification has against a request; null is no value of its fields, and no name may be unknown."""
    if found := specification().objection(request):
        return found
    body = json.loads(request.body) if request.body else {}
    known = _KNOWN.get(request.path.rpartition("/")[2], set())
    unknown = body.keys() - known
    return f"unknown field {min(unknown)}" if unknown else None


_KNOWN = {
    "pages": {"parent", "properties", "children", "icon", "cover"},
    "children": {"children", "after"},
    "query": {"filter", "sorts", "start_cursor", "page_size", "archived", "in_trash"},
}


@dataclass
class NotionServer:
    """Whatever is set here may be changed at any time."""

    url: str = ""
    sources: list[dict[str, str]] = field(default_factory=lambda: [{"id": SOURCE, "name": "Orders"}])
    rows: list[dict[str, Any]] = field(default_factory=list)
    children: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: {PAGE: []})
    now: datetime = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    may_write: bool = True
    # Answers to be given next, before anything else: by the last part of the path, or to any.
    next: dict[str, list[Says]] = field(default_factory=dict)
    objections: list[str] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    def answer(self, request: Received) -> Says:
        self.received.append(request)
        if waiting := self.next.get(request.path.rpartition("/")[2]) or self.next.get("*"):
            return waiting.pop(0)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return refuses(401, "unauthorized", "API token is invalid.")
        if request.headers.get("notion-version") != "2025-09-03":
            return refuses(400, "missing_version", "Notion-Version header failed validation.")
        if found := objection(request):
            self.objections.append(found)
            return refuses(400, "validation_error", f"body failed validation: {found[:80]}")
        return self._act(request)

    def _act(self, request: Received) -> Says:
        match (request.method, *request.path.split("/")[2:]):
            case ("GET", "users", "me"):
                return says_json(
                    {"object": "user", "name": "BitQueue", "bot": {"workspace_name": "Example Shop"}}
                )
            case ("GET", "databases", id) if id == DATABASE:
                return says_json({"object": "database", "id": id, "data_sources": self.sources})
            case ("GET", "data_sources", id) if id in {source["id"] for source in self.sources}:
                return says_json({"object": "data_source", "id": id, "properties": SCHEMA})
            case ("POST", "data_sources", id, "query") if id in {source["id"] for source in self.sources}:
                return self._query(request.json())
            case ("POST", "pages"):
                return self._create(request.json())
            case ("PATCH", "blocks", id, "children") if id in self.children:
                self.children[id] += request.json()["children"]
                return says_json({"object": "list", "results": request.json()["children"]})
        return refuses(
            404, "object_not_found", "Could not find it. Make sure it is shared with your integration."
        )

    def add(self, **columns: Any) -> dict[str, Any]:
        """A row that somebody makes by hand, now."""
        made = {"properties": {name: {SCHEMA[name]["type"]: value} for name, value in columns.items()}}
        return self._stored(made, {"type": "data_source_id", "data_source_id": SOURCE})

    def edit(self, row: dict[str, Any]) -> None:
        row["last_edited_time"] = self._minute()

    def _minute(self) -> str:
        return self.now.replace(second=0, microsecond=0).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def _create(self, body: dict[str, Any]) -> Says:
        if not self.may_write:
            return refuses(403, "restricted_resource", "Insufficient permissions for this endpoint.")
        parent = body["parent"].get("data_source_id") or body["parent"].get("page_id")
        if parent not in {source["id"] for source in self.sources} | self.children.keys():
            return refuses(404, "object_not_found", "Could not find the parent.")
        known = SCHEMA if "data_source_id" in body["parent"] else {"title": {"type": "title"}}
        for name, value in body["properties"].items():
            if name not in known or list(value) != [known[name]["type"]]:
                return refuses(400, "validation_error", f"{name} is not a property that exists.")
        return says_json(self._stored(body, body["parent"]))

    def _stored(self, body: dict[str, Any], parent: dict[str, Any]) -> dict[str, Any]:
        held = {
            name: {"type": next(iter(value)), **_shown(value)} for name, value in body["properties"].items()
        }
        page_id = str(uuid.uuid4())
        made = {
            "object": "page",
            "id": page_id,
            "url": f"https://www.notion.so/{page_id.replace('-', '')}",
            "parent": parent,
            "properties": held,
            "created_time": self._minute(),
            "last_edited_time": self._minute(),
        }
        self.children[page_id] = body.get("children", [])
        self.rows.append(made)
        return made

    def _query(self, body: dict[str, Any]) -> Says:
        found = [row for row in self.rows if _fits(row, body.get("filter"))]
        for sort in reversed(body.get("sorts", [])):
            found.sort(key=lambda row: _sorted_by(row, sort), reverse=sort["direction"] == "descending")
        start, size = int(body.get("start_cursor", 0)), body.get("page_size", 100)
        more = start + size < len(found)
        part = found[start : start + size]
        cursor = str(start + size) if more else None
        return says_json({"object": "list", "results": part, "has_more": more, "next_cursor": cursor})


def _shown(value: dict[str, Any]) -> dict[str, Any]:
    """As Notion gives back what it was given."""
    [(kind, held)] = value.items()
    if kind in {"title", "rich_text"}:
        return {kind: [{**run, "plain_text": run["text"]["content"]} for run in held]}
    return {kind: held}


def _fits(row: dict[str, Any], wanted: dict[str, Any] | None) -> bool:
    if not wanted:
        return True
    if "and" in wanted:
        return all(_fits(row, each) for each in wanted["and"])
    if "timestamp" in wanted:
        return row["last_edited_time"] >= wanted["last_edited_time"]["on_or_after"]
    kind = SCHEMA[wanted["property"]]["type"]
    held = row["properties"].get(wanted["property"], {}).get(kind)
    [(verb, value)] = wanted[kind].items()
    if verb == "contains":
        return value in [each["name"] for each in held or []]
    if kind in {"title", "rich_text"}:
        held = "".join(run["plain_text"] for run in held or [])
    return (held["name"] if isinstance(held, dict) else held) == value


def _sorted_by(row: dict[str, Any], sort: dict[str, str]) -> Any:
    if "timestamp" in sort:
        return row[sort["timestamp"]]
    return row["properties"][sort["property"]][SCHEMA[sort["property"]]["type"]]


def refuses(status: int, code: str, message: str, **headers: str) -> Says:
    return says_json(
        {"object": "error", "status": status, "code": code, "message": message}, status, **headers
    )


def busy(after_s: int) -> Says:
    return refuses(429, "rate_limited", "You have been rate limited.", **{"Retry-After": str(after_s)})


@contextmanager
def notion_server() -> Iterator[NotionServer]:
    notion = NotionServer()
    with http_server(notion.answer) as stand_in:
        notion.url = stand_in.url
        yield notion
