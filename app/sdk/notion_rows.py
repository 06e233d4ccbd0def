"""Rows of a Notion database: read page by page, and which of them are new or changed since the last look."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import SecretStr

from app.clock import rfc3339
from app.sdk import notion_values, values
from app.sdk.context import Context
from app.sdk.declare import Batch, Occurrence
from app.sdk.notion import call, data_source

_PAGE_SIZE: Final = 100
_MOST_IN_A_LOOK: Final = 500
# Notion's index may lag a little behind, and its times are whole minutes.
_OVERLAP: Final = timedelta(minutes=3)
_MINUTE: Final = timedelta(minutes=1)
_KEYS_KEPT: Final = 5_000


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a database, or of one of its data sources; `schema` are its columns."""

    ctx: Context
    token: SecretStr
    id: str
    schema: Mapping[str, Any]

    def rows(self, body: Mapping[str, Any], *, limit: int = _KEYS_KEPT) -> Iterator[Mapping[str, Any]]:
        """At most `limit` rows, page by page."""
        path, cursor = f"data_sources/{self.id}/query", None
        while limit > 0:
            asked = {**body, "page_size": min(limit, _PAGE_SIZE)}
            if cursor:
                asked["start_cursor"] = cursor
            found = call(self.ctx, self.token, "POST", path, json=asked, named="the database", reads=True)
            results = [each for each in found.get("results", []) if isinstance(each, dict)][:limit]
            yield from results
            limit -= len(results)
            cursor = found.get("next_cursor")
            if not (results and cursor and found.get("has_more")):
                return

    def look(self, cursor: Any, recent_keys: Sequence[str], *, first: int) -> Batch:
        """What was changed since the look that gave `cursor`; the first look takes the last `first` rows."""
        # Notion's times are cut to the minute: one that is not over yet may still bring the same time again.
        until = self.ctx.now - _MINUTE
        since = values.instant(cursor)
        if since is None:
            return _first_look(self.rows(_edited(None, "descending")), first, until)
        known = set(recent_keys)
        fresh: list[Mapping[str, Any]] = []
        for row in self.rows(_edited(since - _OVERLAP, "ascending")):
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


def open_table(ctx: Context, token: SecretStr, database: str, source: str) -> Table:
    """`source` is the name of a data source, needed only where the database has several."""
    found = data_source(ctx, token, database, source.strip())
    return Table(ctx, token, str(found["id"]), found.get("properties") or {})


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
