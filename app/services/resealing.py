"""Going over to another key: everything sealed is opened and sealed with the first key of the ring."""

from dataclasses import dataclass, field

import sqlalchemy as sa

from app.crypto import KeyRing
from app.database import write_connection
from app.errors import SealError
from app.models import Base, Connection, Hook, Task

BATCH = 100


@dataclass(frozen=True, slots=True)
class Kind:
    """A table whose rows hold a text that is sealed and bound to the row's id."""

    noun: str
    model: type[Base]
    name: str

    @property
    def id(self) -> sa.ColumnElement[str]:
        return sa.inspect(self.model).local_table.columns["id"]

    @property
    def column(self) -> sa.ColumnElement[str | None]:
        return sa.inspect(self.model).local_table.columns[self.name]


@dataclass(slots=True)
class Count:
    resealed: int = 0
    current: int = 0
    unopened: list[str] = field(default_factory=list)


KINDS = (
    Kind("connections", Connection, "sealed"),
    Kind("hooks", Hook, "token_sealed"),
    Kind("tasks", Task, "params_sealed"),
)


def reseal(database: sa.Engine, keyring: KeyRing, kind: Kind) -> Count:
    """A hundred rows a transaction. A row that somebody changes meanwhile keeps their change."""
    count, after = Count(), ""
    while rows := _next(database, kind, after):
        _reseal(database, keyring, kind, rows=rows, count=count)
        after = rows[-1][0]
    return count


def _next(database: sa.Engine, kind: Kind, after: str) -> list[tuple[str, str]]:
    query = sa.select(kind.id, kind.column).where(kind.id > after, kind.column.is_not(None))
    with database.connect() as connection:
        return [(row[0], str(row[1])) for row in connection.execute(query.order_by(kind.id).limit(BATCH))]


def _reseal(
    database: sa.Engine, keyring: KeyRing, kind: Kind, *, rows: list[tuple[str, str]], count: Count
) -> None:
    fresh = [_sealed_anew(keyring, row_id, sealed, count) for row_id, sealed in rows]
    with write_connection(database) as connection:
        for row_id, old, new in filter(None, fresh):
            update = sa.update(kind.model).where(kind.id == row_id, kind.column == old)
            count.resealed += connection.execute(update.values({kind.name: new})).rowcount


def _sealed_anew(keyring: KeyRing, row_id: str, sealed: str, count: Count) -> tuple[str, str, str] | None:
    if keyring.is_current(sealed):
        count.current += 1
        return None
    try:
        return row_id, sealed, keyring.seal(keyring.open(sealed, bound_to=row_id), bound_to=row_id)
    except (SealError, ValueError):
        count.unopened.append(row_id)
        return None
