"""The database's shape: whether it fits this version, and bringing it there."""

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import DBAPIError

from app.errors import UnavailableError
from app.models import Base

_MARK = "database.made"
_OURS = frozenset(Base.metadata.tables)


class SchemaError(UnavailableError):
    """A database that this version cannot use as it is; the sentence says what to do."""


def upgrade(database: sa.Engine, alembic: AlembicConfig, *, home: Path) -> str:
    """Run the revisions that are missing, all or none, and return the newest. Raises SchemaError."""
    try:
        _refuse_lost(database, home)
        _refuse_damaged(database)
        _refuse_unknown(database, alembic)
        command.upgrade(alembic, "head")
        _refuse_incomplete(database)
    except DBAPIError as error:
        raise SchemaError(_sentence(error)) from error
    _remember(database, home)
    return ScriptDirectory.from_config(alembic).get_current_head() or "nothing"


def _refuse_lost(database: sa.Engine, home: Path) -> None:
    """A database file that was here and is gone is not silently replaced by an empty one."""
    file = _file(database)
    mark = home / _MARK
    if file and not file.exists() and mark.exists() and mark.read_text().strip() == str(file):
        raise SchemaError(
            f"the database {file} is gone; put it back from a backup, or remove {mark} to begin with an empty one"
        )


def _remember(database: sa.Engine, home: Path) -> None:
    file = _file(database)
    if file:
        (home / _MARK).write_text(f"{file}\n")


def _file(database: sa.Engine) -> Path | None:
    return Path(database.url.database or "") if database.dialect.name == "sqlite" else None


def _refuse_damaged(database: sa.Engine) -> None:
    file = _file(database)
    if not file or not file.exists():
        return
    connection = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise SchemaError(_damaged(file, str(error))) from error
    finally:
        connection.close()
    if found != "ok":
        raise SchemaError(_damaged(file, found))


def _damaged(file: Path, what: str) -> str:
    return f"the database {file} cannot be read ({what}); put it back from a backup, nothing was changed"


def _refuse_unknown(database: sa.Engine, alembic: AlembicConfig) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(alembic).walk_revisions()}
    with database.connect() as connection:
        at = set(MigrationContext.configure(connection).get_current_heads())
        tables = set(sa.inspect(connection).get_table_names())
    if at - known:
        raise SchemaError(
            f"the database was made by a newer bitqueue (revision {min(at - known)}); "
            "start that version, or put a backup of this one back"
        )
    if not at and tables & _OURS:
        raise SchemaError(
            "the database has tables but no revision: it is half migrated or another program's; "
            "put a backup back, or set DATABASE_URL to an empty one"
        )


def _refuse_incomplete(database: sa.Engine) -> None:
    missing = _OURS - set(sa.inspect(database).get_table_names())
    if missing:
        raise SchemaError(f"the database has no table {min(missing)}: it is half migrated; put a backup back")


def _sentence(error: DBAPIError) -> str:
    text = str(error.orig).strip().partition("\n")[0]
    if "readonly" in text or "read-only" in text:
        return f"the database is read-only; make its file and directory writable ({text})"
    return f"the database cannot be used ({text}); nothing was changed"
