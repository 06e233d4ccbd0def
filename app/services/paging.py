"""Lists in pages: newest first by id, which sorts by time, with an opaque cursor."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from app.errors import InvalidError
from app.sdk import jsonvalues

Row = TypeVar("Row")
Shown = TypeVar("Shown")

LIMIT = 50
MOST = 200
_SUFFIX = re.compile(r"[0-9a-z]{26}")


class CursorError(InvalidError):
    """A cursor that no answer of ours gave."""

    status = 400


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`next_cursor` is null on the last page."""

    items: list[Row]
    next_cursor: str | None

    def map(self, show: Callable[[Row], Shown]) -> "Page[Shown]":
        return Page([show(item) for item in self.items], self.next_cursor)


def older_than(column: Any, prefix: str, cursor: str | None) -> sa.ColumnElement[bool]:
    """Rows after the cursor; raises CursorError. One cursor fits lists of different nouns: it is a moment."""
    return sa.true() if cursor is None else column < f"{prefix}_{_decode(cursor)}"


def page_of(rows: Sequence[Row], limit: int, *, row_id: Callable[[Row], str]) -> Page[Row]:
    """`rows` holds one more than `limit` when there is a next page."""
    items = list(rows[:limit])
    more = len(rows) > limit
    return Page(items, _encode(row_id(items[-1])) if more and items else None)


def slice_of(
    rows: Sequence[Row], cursor: str | None, limit: int, *, row_id: Callable[[Row], str]
) -> Page[Row]:
    """A page of a list that is short enough to be whole in memory."""
    suffix = "~" if cursor is None else _decode(cursor)
    newest = sorted(rows, key=row_id, reverse=True)
    rest = [row for row in newest if row_id(row).partition("_")[2] < suffix]
    return page_of(rest[: limit + 1], limit, row_id=row_id)


def containing(column: Any, text: str) -> sa.ColumnElement[bool]:
    """A plain search for `text`, upper or lower case: `%` and `_` mean themselves."""
    return sa.type_coerce(column, sa.Text).icontains(text, autoescape=True)


def containing_json(column: Any, text: str) -> sa.ColumnElement[bool]:
    """The same in a JSON column, which keeps everything but ASCII as escapes."""
    return containing(column, jsonvalues.dumps(text)[1:-1])


def _encode(row_id: str) -> str:
    return base64.urlsafe_b64encode(row_id.partition("_")[2].encode()).decode().rstrip("=")


def _decode(cursor: str) -> str:
    try:
        suffix = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        suffix = ""
    if not _SUFFIX.fullmatch(suffix):
        raise CursorError("the cursor is not one of ours; begin without it", {"cursor": "is not one of ours"})
    return suffix
