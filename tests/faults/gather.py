"""What the checker is given: what was sent, what the database holds, what the provider and the processes say."""

import re
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from tests.faults.facts import Facts
from tests.faults.server import SECRETS, Stage

_INSTANTS = re.compile(r"_(?:at|until)$")


def rows_of(connection: sa.Connection, table: str) -> list[Any]:
    """Instants as seconds, everything else as it is stored."""
    statement = {"events": "SELECT id, source, key, type, duplicates FROM events"}.get(
        table, f"SELECT * FROM {table}"
    )
    found = connection.execute(sa.text(statement))
    names = [f"c_{name}" if name.startswith("_") else name for name in found.keys()]  # noqa: SIM118 - a result's
    at = [number for number, name in enumerate(names) if _INSTANTS.search(name)]
    rows = []
    for row in found.mappings():
        values = dict(row)
        for number in at:
            if values[names[number]] is not None:
                values[names[number]] = values[names[number]] / 1e6
        rows.append(_Row(values))
    return rows


class _Row:
    """Columns as attributes."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def moves_of(connection: sa.Connection) -> list[Any]:
    rows = connection.execute(sa.text("SELECT * FROM fault_moves ORDER BY n")).mappings()
    return [_Row({**row, "at_s": row["at_us"] / 1e6}) for row in rows]


def integrity_of(connection: sa.Connection) -> list[str]:
    if connection.dialect.name != "sqlite":
        return []
    whole = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
    return whole + [
        f"foreign key {tuple(row)}" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]


def facts_of(stage: Stage) -> Facts:
    """Once all is quiet."""
    with stage.reader() as connection:
        tables = {
            name: rows_of(connection, name) for name in ("events", "runs", "tasks", "attempts", "heartbeats")
        }
        moves = moves_of(connection)
        integrity = integrity_of(connection)
    log = stage.server.log()
    return Facts(
        sent=[sent for generator in stage.generators for sent in generator.sent],
        ledger=stage.provider.entries(),
        moves=moves,
        hurts=sorted(stage.hurts, key=lambda hurt: hurt.at_s),
        log=log,
        secrets=(*SECRETS.values(), stage.key, *_hook_tokens(stage)),
        restarts=max(0, log.count("starting again in") - stage.restarts_meant),
        before=stage.before,
        after=stage.vitals(),
        integrity=integrity,
        again=frozenset(stage.again),
        once=frozenset(stage.once),
        slots=stage.slots,
        may_wait=stage.may_wait,
        **tables,
    )


def _hook_tokens(stage: Stage) -> list[str]:
    return [lane.url.rpartition("/")[2] for lane in stage.lanes if not lane.is_task]
