"""The database's shape: whether it fits this version, and bringing it there."""

import os
import sqlite3
from pathlib import Path

import sqlalchemy as sa
import structlog
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate
from sqlalchemy.exc import DBAPIError

from app.config import CHECKOUT
from app.database import db
from app.errors import UnavailableError
from app.models import Base
from app.services import rehearsal

log = structlog.get_logger()

_MARK = "database.made"
_KEYS = "keys.env"
_KEYS_LINE = "# They belong to the database "
_OURS = frozenset(Base.metadata.tables)


class SchemaError(UnavailableError):
    """A database that this version cannot use as it is; the sentence says what to do."""


def init_migrations(app: Flask) -> None:
    Migrate(app, db, directory=str(CHECKOUT / "migrations"), render_as_batch=True)


def alembic_of(app: Flask) -> AlembicConfig:
    """Where its revisions are and how they are run; within the application's context."""
    found: AlembicConfig = app.extensions["migrate"].migrate.get_config()
    return found


def upgrade(database: sa.Engine, alembic: AlembicConfig, *, home: Path) -> str:
    """Run the revisions that are missing, all or none, tried on a copy first; return the newest.

    Raises SchemaError, and then the database is as it was: the version before can go on with it.
    """
    newest = ScriptDirectory.from_config(alembic).get_current_head() or "nothing"
    try:
        _refuse_lost(database, home)
        _refuse_read_only(database)
        _refuse_damaged(database)
        at = _refuse_unknown(database, alembic)
        if at and at != {newest}:
            _rehearse(database, alembic)
        _run(alembic)
        _refuse_incomplete(database)
    except DBAPIError as error:
        raise SchemaError(_sentence(error)) from error
    remember(_name(database), home)
    return newest


def _rehearse(database: sa.Engine, alembic: AlembicConfig) -> None:
    try:
        left_out = rehearsal.rehearse(database, alembic)
    except rehearsal.FAILURES as error:
        raise SchemaError(
            f"the upgrade was tried on a copy and failed ({said(error)}); "
            "the database was not touched, the version before can go on with it"
        ) from error
    if left_out:
        log.warning("upgrade_not_rehearsed", why=left_out)


def _run(alembic: AlembicConfig) -> None:
    try:
        command.upgrade(alembic, "head")
    except DBAPIError:
        raise
    except rehearsal.FAILURES as error:
        raise SchemaError(f"the upgrade failed ({said(error)}); nothing was changed") from error


def said(error: Exception) -> str:
    """Its first line, of a driver's error without SQLAlchemy's additions."""
    text = str(getattr(error, "orig", None) or error).strip()
    return text.partition("\n")[0] or type(error).__name__


def _refuse_lost(database: sa.Engine, home: Path) -> None:
    """A database that was here and is gone is not silently replaced by an empty one."""
    if _is_there(database):
        return
    name = _name(database)
    for witness in (home / _MARK, home / _KEYS):
        if _names(witness, name):
            gone = "is gone" if isinstance(name, Path) else "is empty and was not"
            raise SchemaError(
                f"the database {name} {gone}; put it back from a backup (./run restore), "
                f"or move {witness} away to begin with an empty one"
            )


def _is_there(database: sa.Engine) -> bool:
    file = _file(database)
    return file.exists() if file else bool(_OURS & set(sa.inspect(database).get_table_names()))


def _name(database: sa.Engine) -> Path | str:
    """SQLite's file; of a server no more than where it is, and no password."""
    url = database.url
    return _file(database) or f"{url.host or 'localhost'}:{url.port or 5432}/{url.database}"


def _names(witness: Path, name: Path | str) -> bool:
    """Whether it says that this database was made; also a file that moved along with its home."""
    lines = witness.read_text().splitlines() if witness.is_file() else []
    made = [line.removeprefix(_KEYS_LINE).strip() for line in lines]
    if isinstance(name, str):
        return name in made
    moved = name.parent == witness.parent
    return any(path == name or (path.name == name.name and moved) for path in map(Path, made))


def remember(name: Path | str, home: Path) -> None:
    """That this database was made: beside it, and in the kept keys, which would outlive both."""
    (home / _MARK).write_text(f"{name}\n")
    keys = home / _KEYS
    if keys.is_file() and not _names(keys, name):
        apart = "" if keys.read_text().endswith("\n") else "\n"
        with keys.open("a") as opened:
            opened.write(f"{apart}{_KEYS_LINE}{name}\n")


def _file(database: sa.Engine) -> Path | None:
    return Path(database.url.database or "") if database.dialect.name == "sqlite" else None


def _refuse_read_only(database: sa.Engine) -> None:
    file = _file(database)
    if file:
        # SQLite makes its log beside the file.
        for path in (file, file.parent):
            if path.exists() and not os.access(path, os.W_OK, effective_ids=True):
                raise SchemaError(f"the database is read-only; make {path} writable")
        return
    with database.connect() as connection:
        if connection.exec_driver_sql("SHOW transaction_read_only").scalar_one() == "on":
            raise SchemaError(
                "the database is read-only: a standby, or set so; set DATABASE_URL to one that can be written"
            )


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


def _refuse_unknown(database: sa.Engine, alembic: AlembicConfig) -> set[str]:
    """The revision it stands at; none is an empty database."""
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
    return at


def _refuse_incomplete(database: sa.Engine) -> None:
    missing = _OURS - set(sa.inspect(database).get_table_names())
    if missing:
        raise SchemaError(f"the database has no table {min(missing)}: it is half migrated; put a backup back")


def _sentence(error: DBAPIError) -> str:
    text = said(error)
    if "readonly" in text or "read-only" in text:
        return f"the database is read-only; make its file and directory writable ({text})"
    return f"the database cannot be used ({text}); nothing was changed"
