"""Giving room that was freed back to the disk: SQLite keeps it in its file unless it is told to let go."""

import sqlite3
import time
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog

from app.engine.batches import Stretch

log = structlog.get_logger()

# SQLite looks for each page it gives back among all that are free: a little at a time, and soon, costs least.
# Some room is kept for what comes next, or a busy server would shrink and grow its file all the time.
_KEPT_PART = 0.05
_KEPT_PAGES = 4096
_LEAST_PAGES = 64
_TRIES = 20


def give_back(database: sa.Engine, stretch: Stretch) -> int:
    """How many pages; PostgreSQL's autovacuum does it by itself."""
    if database.dialect.name != "sqlite":
        return 0
    raw = database.raw_connection()
    try:
        freed = stretch.repeat_alone(partial(_vacuum, raw.cursor()))
        if freed:
            checkpoint(raw.cursor())
            log.info("file_shrunk", pages=freed)
    finally:
        raw.close()
    return freed


def spare_pages(cursor: Any) -> int:
    """Pages that are free and not kept for what comes next."""
    free, whole = (_pragma(cursor, name) for name in ("freelist_count", "page_count"))
    spare = free - min(_KEPT_PAGES, int(whole * _KEPT_PART))
    return spare if spare >= _LEAST_PAGES else 0


def _vacuum(cursor: Any, size: int) -> int:
    """Some pages, in a transaction of its own. 0 also where others write all the time: then the next round does it."""
    wanted = min(spare_pages(cursor), size)
    if not wanted:
        return 0
    before = _pragma(cursor, "freelist_count")
    for _ in range(_TRIES):
        try:
            # A script: the driver takes one step of any other statement without columns, which is one page.
            cursor.executescript(f"PRAGMA incremental_vacuum({wanted})")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
            time.sleep(0.01)
    return max(0, before - _pragma(cursor, "freelist_count"))


def checkpoint(cursor: Any) -> None:
    """Bring what was written into the file itself, which only then becomes smaller. Others may be in the way.

    In two steps: the first does nearly all and stops nobody, the second has little left to do.
    """
    for mode in ("PASSIVE", "TRUNCATE"):
        cursor.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()


def _pragma(cursor: Any, name: str) -> int:
    return int(cursor.execute(f"PRAGMA {name}").fetchone()[0])
