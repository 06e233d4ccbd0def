"""Trying the revisions on a copy of the database before the database itself is touched."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BitQueueError, UnavailableError
from app.services import copies, postgres
from app.services.tallies import REVISION_TABLE

# What a revision raises: the database's refusals, and the mistakes of its own code.
FAILURES = (
    SQLAlchemyError, CommandError, BitQueueError, OSError, ValueError, LookupError, TypeError, ArithmeticError,
    RuntimeError, AttributeError, NameError,
)  # fmt: skip
# Above this a rehearsal on PostgreSQL copies the tables without their rows.
_ROWS_UP_TO_BYTES = 2 * 1024**3


def rehearse(database: sa.Engine, alembic: AlembicConfig) -> str | None:
    """Raises one of FAILURES when a revision fails or leaves damage; None, or what was not tried and why."""
    if database.dialect.name == "sqlite":
        _on_a_file(Path(database.url.database or ""), alembic)
        return None
    return _on_a_database(database, alembic)


def _on_a_file(file: Path, alembic: AlembicConfig) -> None:
    size = sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))
    free = shutil.disk_usage(file.parent).free
    if free < 2 * size:
        raise UnavailableError(
            f"a copy and its log need {2 * size // 1024**2 + 1} MB beside {file}, "
            f"and {free // 1024**2} MB are free; make room"
        )
    with TemporaryDirectory(prefix=".rehearsal.", dir=file.parent) as name:
        copy = Path(name) / file.name
        copies.copy_sqlite(file, copy)
        _upgrade(sa.create_engine(f"sqlite:///{copy}", poolclass=sa.NullPool), alembic)
        copies.check_sqlite(copy)
        copies.check_references(copy)


def _upgrade(copy: sa.Engine, alembic: AlembicConfig) -> None:
    alembic.attributes["database"] = copy
    try:
        command.upgrade(alembic, "head")
    finally:
        del alembic.attributes["database"]
        copy.dispose()


def _on_a_database(database: sa.Engine, alembic: AlembicConfig) -> str | None:
    with database.connect() as connection:
        may = connection.scalar(
            sa.text("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
        )
        size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
        try:
            for name in ("pg_dump", "pg_restore"):
                postgres.tool(name, postgres.major(connection))
        except UnavailableError as error:
            return f"no copy was made: {error}; it runs in one transaction, a failure changes nothing"
    if not may:
        return (
            "no copy was made: this role may not create databases (ALTER ROLE … CREATEDB); "
            "it runs in one transaction, a failure changes nothing"
        )
    schema_only = int(size or 0) > _ROWS_UP_TO_BYTES
    with _scratch(database) as scratch, TemporaryDirectory(prefix="bitqueue-rehearsal.") as name:
        _fill(database, scratch, Path(name) / "dump", schema_only=schema_only)
        _upgrade(scratch, alembic)
    return "the copy was made without rows: the database is larger than 2 GB" if schema_only else None


@contextlib.contextmanager
def _scratch(database: sa.Engine) -> Iterator[sa.Engine]:
    name = f"{(database.url.database or '')[:40]}_rehearsal_{os.getpid()}"
    quoted = database.dialect.identifier_preparer.quote_identifier(name)
    server = sa.create_engine(database.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {quoted} TEMPLATE template0")
    try:
        yield sa.create_engine(database.url.set(database=name), poolclass=sa.NullPool)
    finally:
        with server.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {quoted} WITH (FORCE)")


def _fill(database: sa.Engine, scratch: sa.Engine, dump: Path, *, schema_only: bool) -> None:
    with database.connect() as plain:
        connection = plain.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # The snapshot stays as long as its transaction, which only waits while the dump is made.
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        at = connection.scalar(sa.text(f"SELECT version_num FROM {REVISION_TABLE}"))  # noqa: S608 (a constant)
        snapshot = str(connection.scalar(sa.select(sa.func.pg_export_snapshot())))
        with postgres.dumping(connection, dump, snapshot=snapshot, schema_only=schema_only):
            pass
    postgres.restore(scratch.url, dump)
    with scratch.begin() as connection:
        connection.execute(sa.text(f"INSERT INTO {REVISION_TABLE} VALUES (:at)"), {"at": at})  # noqa: S608 (likewise)
