"""Whether the disk under the database has room: some is kept free, so that running work can end and be removed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
import structlog

from app.errors import UnavailableError

log = structlog.get_logger()

# Of a small disk a twentieth.
RESERVE_BYTES = 64 * 1024**2
_RESERVE_PART = 20
_LOOKED_S = 1.0
# A write that found no room says so for this long; the next one may find some.
_REMEMBERED_S = 60.0
_PG_DISK_FULL = "53100"

Look = Callable[[Path], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Room:
    """`free_bytes` is None where the database is on another machine."""

    free_bytes: int | None
    reserve_bytes: int
    refused: bool = False

    @property
    def is_short(self) -> bool:
        """Nothing new is taken then."""
        return self.free_bytes is not None and self.free_bytes < self.reserve_bytes

    @property
    def trouble(self) -> str | None:
        """What is the matter and the way out, or None."""
        if self.is_short:
            return (
                f"the disk of the database has {(self.free_bytes or 0) / 1024**2:.0f} MB left, and "
                f"{self.reserve_bytes / 1024**2:.0f} MB are kept free; make room on it and work goes on"
            )
        if self.refused:
            return (
                "the database found no room for what it had to store; make room on its disk and work goes on"
            )
        return None


class DiskWatch:
    """One process's look at one database's disk."""

    def __init__(self, database: sa.Engine, look: Look | None = None) -> None:
        self._folder = _folder(database)
        self._look = look or _statvfs
        self._room: Room | None = None
        self._looked_at = self._refused_at = float("-inf")
        sa.event.listen(database, "handle_error", self._note)

    def room(self) -> Room:
        now = time.monotonic()
        if self._room is None or now - self._looked_at >= _LOOKED_S:
            self._room, self._looked_at = self._measure(now - self._refused_at < _REMEMBERED_S), now
        return self._room

    def _measure(self, refused: bool) -> Room:  # noqa: FBT001
        if self._folder is None:
            return Room(None, 0, refused)
        free, whole = self._look(self._folder)
        return Room(free, min(RESERVE_BYTES, whole // _RESERVE_PART), refused)

    def _note(self, context: Any) -> None:
        error = context.original_exception
        if "disk is full" in str(error) or getattr(error, "sqlstate", None) == _PG_DISK_FULL:
            if time.monotonic() - self._refused_at >= _REMEMBERED_S:
                log.error("disk_full")
            self._refused_at, self._room = time.monotonic(), None


_watches: WeakKeyDictionary[sa.Engine, DiskWatch] = WeakKeyDictionary()


def watch(database: sa.Engine) -> DiskWatch:
    """The process's one watch of this database."""
    found = _watches.get(database)
    if found is None:
        found = _watches[database] = DiskWatch(database)
    return found


def require_room(database: sa.Engine) -> None:
    """To be called before anything new is taken. Raises UnavailableError."""
    room = watch(database).room()
    if room.is_short:
        raise UnavailableError(f"nothing was stored: {room.trouble}")


def _folder(database: sa.Engine) -> Path | None:
    name = database.url.database
    return Path(name).parent if database.dialect.name == "sqlite" and name else None


def _statvfs(folder: Path) -> tuple[int, int]:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
