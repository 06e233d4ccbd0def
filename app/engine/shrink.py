"""Room that was freed: SQLite keeps it in its file unless told to let go, PostgreSQL uses it again once vacuumed."""

import sqlite3
import time
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app.database import read_connection
from app.engine.batches import Stretch
from app.models import Base

log = structlog.get_logger()

# SQLite looks for each page it gives back among all that are free: a little at a time, and soon, costs least.
# Some room is kept for what comes next, or a busy server would shrink and grow its file all the time.
_KEPT_PART = 0.05
_KEPT_PAGES = 4096
_LEAST_PAGES = 64
_TRIES = 20
# PostgreSQL's autovacuum looks once a minute; until then large values that came and went take gigabytes.
_DEAD_BYTES = 64 * 1024**2
_DEAD_PART = 0.1
# How often to look for it, and the least time from one vacuum of a table to the next.
REUSE_EVERY_S: Final = 2.0


def reuse(database: sa.Engine) -> list[str]:
    """On PostgreSQL make what is dead free for what comes next; of which tables. Its files do not become smaller."""
    if database.dialect.name == "sqlite":
        return []
    # Without a transaction, as a vacuum must be.
    with read_connection(database) as connection:
        asked = {"tables": list(Base.metadata.tables), "least": _DEAD_BYTES, "part": _DEAD_PART}
        due = connection.scalars(_MOSTLY_DEAD, asked | {"every_s": REUSE_EVERY_S}).all()
        for table in due:
            # Where another process is at it already, it is left to that.
            connection.exec_driver_sql(f"VACUUM (SKIP_LOCKED) {table}")
    if due:
        log.info("vacuumed", tables=due)
    return list(due)


def give_back(database: sa.Engine, stretch: Stretch) -> int:
    """How many pages of SQLite's file."""
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


# With the large values, which PostgreSQL keeps in a table beside. What somebody has been looking at for long, as a
# backup does, stays for as long: a vacuum since then found what there was to find.
_MOSTLY_DEAD = sa.text(
    """
    SELECT name FROM (
        SELECT CAST(owner.oid AS regclass)::text AS name,
            sum(size.bytes) AS bytes,
            sum(size.bytes * part.n_dead_tup / greatest(part.n_dead_tup + part.n_live_tup, 1)) AS dead,
            max(part.last_vacuum) AS vacuumed_at
        FROM pg_class AS owner
        JOIN pg_stat_all_tables AS part ON part.relid IN (owner.oid, owner.reltoastrelid)
        CROSS JOIN LATERAL pg_relation_size(part.relid) AS size (bytes)
        WHERE owner.relnamespace = CAST(current_schema() AS regnamespace) AND owner.relname IN :tables
        GROUP BY owner.oid
    ) AS tables
    WHERE dead > :least AND dead > :part * bytes
        AND coalesce(vacuumed_at < least(
            now() - make_interval(secs => :every_s),
            (SELECT min(xact_start) FROM pg_stat_activity
                WHERE datname = current_database() AND backend_type = 'client backend'
                    AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid())
        ), true)
    """
).bindparams(sa.bindparam("tables", expanding=True))
