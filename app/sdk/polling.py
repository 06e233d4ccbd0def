"""What is new in a list that is looked at again and again, told by keys: times repeat, and lists overlap."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

from app.sdk.declare import Batch, Occurrence
from app.sdk.fields import Settings, setting
from app.sdk.http import Answer

T = TypeVar("T")

# A list may have as many items before old ones come again as new.
MAX_KEYS: Final = 2_000


EVERY_MINUTES: Final = setting("Look every … minutes", 5, ge=1, le=1440)


def first_setting(what: str = "of what is there already; 0: only what comes from now on") -> Any:
    return setting("At first, take the last", 0, help=what, ge=0, le=100)


class Looking(Settings):
    """How often a poll trigger looks, and what its first look takes."""

    every_minutes: int = EVERY_MINUTES
    first: int = first_setting()


def fresh(
    items: Iterable[T],
    *,
    key: Callable[[T], str],
    data: Callable[[T], Any],
    cursor: Any,
    next_cursor: Any,
    recent_keys: Sequence[str],
    first: int,
) -> Batch:
    """The items, the newest first, whose keys were not seen; the oldest of them happens first.

    On the first look (`cursor` is None) only the `first` newest happened; all are remembered.
    """
    known = set(recent_keys)
    found: dict[str, T] = {}
    for item in items:
        found.setdefault(key(item), item)
    new = [name for name in found if name not in known]
    taken = new[:first] if cursor is None else new
    keys = list(dict.fromkeys([*found, *recent_keys]))[: max(MAX_KEYS, len(found))]
    return Batch([Occurrence(name, data(found[name])) for name in reversed(taken)], next_cursor, keys)


def marks(answer: Answer) -> dict[str, str]:
    """What an HTTP server says about this version of its list: a cursor for `conditions`."""
    return {"etag": answer.headers.get("etag", ""), "modified": answer.headers.get("last-modified", "")}


def conditions(cursor: Mapping[str, str] | None) -> dict[str, str]:
    """The headers that let a server answer 304 when nothing has changed since."""
    known = {"If-None-Match": "etag", "If-Modified-Since": "modified"}
    return {name: cursor[mark] for name, mark in known.items() if cursor and cursor.get(mark)}
