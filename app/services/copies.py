"""Consistent copies of a database while others write to it, and whether an SQLite file is whole."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from app.errors import UnavailableError
from app.services import postgres, tallies
from app.services.tallies import Tally

_PAGES_AT_ONCE = 1000
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy holds, counted in the copy itself or in the very snapshot that was dumped."""

    revision: str
    tables: dict[str, Tally]


def copy_sqlite(source: Path, target: Path) -> None:
    """As SQLite's online backup does it. Raises UnavailableError for a file that cannot be read."""
    try:
        with closing(_open(source)) as origin, closing(sqlite3.connect(target)) as copy:
            # Inside one reading transaction: without it every write of another process would begin the copy anew.
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
            origin.backup(copy, pages=_PAGES_AT_ONCE)
    except sqlite3.Error as error:
        raise UnavailableError(f"the database {source} cannot be copied ({error})") from error


def _open(file: Path) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S, isolation_level=None)


def take_sqlite(source: Path, target: Path) -> Copied:
    copy_sqlite(source, target)
    check_sqlite(target)
    with reading(target) as connection:
        return Copied(_revision(connection), tallies.take(connection))


def take_postgres(url: str, target: Path) -> Copied:
    """Raises UnavailableError without a pg_dump that fits the server."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        snapshot = connection.scalar(sa.select(sa.func.pg_export_snapshot()))
        # While the dump runs, the same snapshot is counted.
        with postgres.dumping(connection, target, snapshot=str(snapshot)):
            return Copied(_revision(connection), tallies.take(connection))


def reading(file: Path) -> sa.Connection:
    """To be closed by the caller, as by `with`."""
    return sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool).connect()


def check_sqlite(file: Path) -> None:
    """Raises UnavailableError unless the file is whole: its pages, its rows, its indexes."""
    found = _asked(file, "PRAGMA integrity_check(1)")
    if found != "ok":
        raise UnavailableError(f"the database is damaged ({found}); put a backup back")


def check_references(file: Path) -> None:
    """Raises UnavailableError where a row refers to none."""
    found = _asked(file, "PRAGMA foreign_key_check")
    if found:
        raise UnavailableError(f"rows of {found} refer to rows that are not there")


def _asked(file: Path, question: str) -> str | None:
    try:
        with closing(_open(file)) as connection:
            answer = connection.execute(question).fetchone()
    except sqlite3.Error as error:
        return str(error)
    return str(answer[0]) if answer else None


def _revision(connection: sa.Connection) -> str:
    if not sa.inspect(connection).has_table(tallies.REVISION_TABLE):
        raise UnavailableError("the database is empty or not bitqueue's: there is nothing to back up")
    found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if not found:
        raise UnavailableError("the database has no revision: it is half migrated; put a backup back")
    return str(found)
