"""The database: how it is opened, and how a writing transaction begins."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeftError
from sqlalchemy.orm import Session

from app import waiting
from app.config import Config
from app.errors import UnavailableError

db = SQLAlchemy(disable_autonaming=True)

T = TypeVar("T")

# What SQLAlchemy raises when the database is busy, full, restarting or out of connections.
AWAY = (OperationalError, InterfaceError, InternalError, NoConnectionLeftError)

# SQLite waits inside C and stops every greenlet; so it waits little and we wait in Python instead.
_SQLITE_BUSY_MS = 10
# A process that is stopped in the middle of a transaction keeps its rows from all others: PostgreSQL ends it, sooner
# than the lease of a task does. Nobody else waits inside one (see `writing`).
_STOPPED_S = 8
# A connection unused for so long is asked whether it still stands.
_IDLE_S = 5.0
_WRITE_OPTION = "bitqueue_write"
_WRITE = {_WRITE_OPTION: True}


def database_options(config: Config) -> dict[str, Any]:
    # What a statement was given is users' data: errors are logged, and tell the statement alone.
    shared = {"pool_size": 20, "max_overflow": 30, "hide_parameters": True}
    if config.is_sqlite:
        return {**shared, "connect_args": {"check_same_thread": False}}
    options = f"-c timezone=UTC -c lock_timeout=5s -c idle_in_transaction_session_timeout={_STOPPED_S}s"
    return {**shared, "connect_args": {"connect_timeout": 5, "options": options}}


def prepare_database(database: sa.Engine) -> None:
    """Teach SQLite WAL, foreign keys, full durability and explicit transactions; look after idle connections."""
    if database.dialect.name == "sqlite":
        sa.event.listen(database, "connect", _open_sqlite)
        sa.event.listen(database, "begin", _begin_sqlite)
        return
    waiting.install()
    sa.event.listen(database, "checkin", _note_use)
    sa.event.listen(database, "checkout", _ping_when_idle)


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()


def _ping_when_idle(connection: Any, record: Any, _proxy: Any) -> None:
    """As `pool_pre_ping`, which asks at every use and so costs a busy process one round trip in five."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < _IDLE_S:
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg.Error as error:
        raise DisconnectionError from error


def _open_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN comes too late (before the first write); ours comes from `_begin_sqlite`.
    connection.isolation_level = None
    if connection.execute("PRAGMA page_count").fetchone() == (0,):
        # For a new file, once: on another connection's open write transaction these two would wait.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        connection.execute("PRAGMA journal_mode=WAL")
    for pragma in (
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-20000",
        "temp_store=MEMORY",
        f"busy_timeout={_SQLITE_BUSY_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A read that becomes a write fails at once if anyone wrote in between: writers ask for the lock first.
    write = connection.get_execution_options().get(_WRITE_OPTION)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def outage(error: DBAPIError) -> str:
    """What a driver says of a database that is away, in one line."""
    return str(error.orig).partition("\n")[0] or type(error.orig).__name__


def is_busy(error: DBAPIError) -> bool:
    """Another writer holds SQLite's lock, or PostgreSQL asks to try the transaction again."""
    text = str(error.orig).lower()
    locked = "database is locked" in text or "database table is locked" in text
    return locked or is_crossed(error) or getattr(error.orig, "sqlstate", None) == "55P03"


def is_crossed(error: DBAPIError) -> bool:
    """PostgreSQL gave one of two transactions up that waited for each other."""
    return getattr(error.orig, "sqlstate", None) in {"40001", "40P01"}


def when_free(begin: Callable[[], T], *, patience_s: float) -> T:
    """Call `begin` until the database is free.

    Raises UnavailableError after `patience_s` seconds; sleeps between tries so that other greenlets go on.
    """
    give_up_at = time.monotonic() + patience_s
    pause_s = 0.001
    while True:
        try:
            return begin()
        except OperationalError as error:
            if not is_busy(error):
                raise
            if time.monotonic() > give_up_at:
                raise UnavailableError("the database is busy; try again in a moment") from error
        time.sleep(random.uniform(0, pause_s))  # noqa: S311 (spreads writers, guards nothing)
        pause_s = min(pause_s * 1.5, 0.02)


@contextmanager
def writing(*, patience_s: float = 5.0) -> Iterator[Session]:
    """One writing use case: begins, yields the session, commits once at the end, rolls back on an error.

    What was read before is read anew, because its snapshot may be old. Never hold it across a network call.
    """
    session = db.session()
    session.rollback()
    when_free(lambda: _begin_writing(session), patience_s=patience_s)
    try:
        yield session
        session.commit()
    except BaseException:
        session.rollback()
        raise


def _begin_writing(session: Session) -> None:
    try:
        session.connection(execution_options=_WRITE)
    except OperationalError:
        session.rollback()
        raise


@contextmanager
def read_connection(database: sa.Engine) -> Iterator[sa.Connection]:
    """A look at the tables. Raises UnavailableError when the database cannot be read now."""
    try:
        with database.connect() as connection:
            # One look needs no transaction around it; on PostgreSQL that saves two round trips of three.
            yield (
                connection
                if database.dialect.name == "sqlite"
                else connection.execution_options(isolation_level="AUTOCOMMIT")
            )
    except AWAY as error:
        raise UnavailableError("the database cannot be read now; try again in a moment") from error


@contextmanager
def write_connection(database: sa.Engine, *, patience_s: float = 5.0) -> Iterator[sa.Connection]:
    """As `writing`, for code that speaks to tables rather than objects."""
    with database.connect() as plain:
        connection = plain.execution_options(**_WRITE)
        transaction = when_free(connection.begin, patience_s=patience_s)
        with transaction:
            yield connection


def init_database(app: Flask, config: Config) -> None:
    app.config["SQLALCHEMY_DATABASE_URI"] = config.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = database_options(config)
    db.init_app(app)
    with app.app_context():
        prepare_database(db.engine)
