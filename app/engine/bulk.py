"""One statement for many rows: sent together, so that a batch costs a round trip and not one a row."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

Row = Mapping[str, Any]


def execute_all(connection: sa.Connection, statement: Any, rows: Iterable[Row]) -> int:
    """How many rows of the database the statement changed or added, over all `rows`.

    Rows may differ in which parameters they give: those alike go together, in their order.
    """
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row), []).append(row)
    return sum(connection.execute(statement, _one_or_many(group)).rowcount for group in alike.values())


def _one_or_many(rows: list[Row]) -> Any:
    """A list makes the driver prepare for many, which costs more than one alone."""
    return rows[0] if len(rows) == 1 else rows
