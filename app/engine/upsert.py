"""Insert a row, or leave or change the one that is there, in one statement that two workers may run at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as insert_pg
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from app.models import Base


def upsert(
    connection: sa.Connection,
    model: type[Base],
    row: Mapping[str, Any],
    *,
    unique: Sequence[str],
    change: Mapping[str, Any],
) -> None:
    """`change` is what becomes of a row that is there; either way it stays locked until the transaction ends."""
    if connection.dialect.name == "sqlite":
        insert: Any = insert_sqlite(model)
    else:
        insert = insert_pg(model)
    connection.execute(insert.values(row).on_conflict_do_update(index_elements=unique, set_=change))


def insert_once(model: Any, *unique: str, where: str | None = None) -> dict[str, Any]:
    """By dialect, for what would break the unique columns, or any unique index where none are named.

    `where` is that of a unique index that holds only some rows.
    `rowcount` of an INSERT is kept only where it is asked for.
    """
    some = None if where is None else sa.text(where)
    inserts: dict[str, Any] = {"sqlite": insert_sqlite(model), "postgresql": insert_pg(model)}
    return {
        name: insert.on_conflict_do_nothing(
            index_elements=unique or None, index_where=some
        ).execution_options(preserve_rowcount=True)
        for name, insert in inserts.items()
    }
