"""How Alembic reaches the database: one transaction for all revisions, one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.autogenerate.api import AutogenContext
from flask import current_app

from app.database import db, write_connection
from app.models import Base
from app.models.base import Instant, JsonText

_ADVISORY_LOCK = 0x62697471  # "bitq"
_PATIENCE_S = 60.0


def render_item(kind: str, item: Any, _context: AutogenContext) -> str | Literal[False]:
    """Columns as the databases see them, so that an old revision does not change with our types."""
    if kind != "type":
        return False
    if isinstance(item, Instant):
        return "sa.BigInteger()"
    if isinstance(item, JsonText):
        return "sa.Text()"
    if isinstance(item, sa.Enum):
        return f"sa.String(length={item.length})"
    return False


def compare_type(
    _context: Any, _inspected: Any, _metadata: Any, _found: sa.types.TypeEngine[Any], declared: Any
) -> bool | None:
    """An enum is plain text in the table; everything else is compared by Alembic."""
    return False if isinstance(declared, sa.Enum) else None


@contextmanager
def alone(database: sa.Engine) -> Iterator[sa.Connection]:
    """A writing connection that no second migration gets at the same time."""
    if database.dialect.name == "sqlite":
        with without_foreign_keys(database) as connection:
            yield connection
        return
    with write_connection(database, patience_s=_PATIENCE_S) as connection:
        connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
        connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        yield connection


@contextmanager
def without_foreign_keys(database: sa.Engine) -> Iterator[sa.Connection]:
    """SQLite changes a table by copying it; dropping the old one would delete all rows that point at it."""
    engine = sa.create_engine(database.url, poolclass=sa.NullPool)
    sa.event.listen(engine, "connect", _open_for_migration)
    sa.event.listen(engine, "begin", _begin_immediate)
    with engine.begin() as connection:
        yield connection
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken:
            raise sa.exc.IntegrityError(
                "PRAGMA foreign_key_check", None, ValueError(f"orphans in {broken[0]}")
            )


def _open_for_migration(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout={_PATIENCE_S * 1000:.0f}",
        "auto_vacuum=INCREMENTAL",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def migrate() -> None:
    """Attributes of Alembic's configuration may name another `database`, and what to call with the connection
    `before` and `after` the revisions, in their transaction.
    """
    options = current_app.extensions["migrate"].configure_args
    wishes = context.config.attributes
    with alone(wishes.get("database") or db.engine) as connection:
        wishes.get("before", _nothing)(connection)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_item=render_item,
            **{**options, "compare_type": compare_type, "transactional_ddl": True},
        )
        with context.begin_transaction():
            context.run_migrations()
        wishes.get("after", _nothing)(connection)


def _nothing(_connection: sa.Connection) -> None:
    """Nobody wished for more."""


migrate()
