"""Which of what has ended goes next: the oldest first, no more at a time than a batch may hold."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app import ids
from app.engine.removal import HEAVY_BYTES, KEY_KEPT, RUN_COLUMNS, TASK_COLUMNS
from app.models import Run, Task
from app.models.states import TERMINAL


def heavy(connection: sa.Connection, workspace_id: str, size: int) -> list[Any]:
    """Runs and tasks of the API whose data are still there and worth removing."""
    asked = {"place": workspace_id, "most": size}
    return [*connection.execute(_HEAVY_RUNS, asked), *connection.execute(_HEAVY_TASKS, asked)]


def ended(
    connection: sa.Connection, workspace_id: str, size: int, *, now: datetime, until: datetime | None = None
) -> list[Any]:
    """Runs and tasks of the API that ended, before `until` where that is given."""
    runs = ended_runs(connection, workspace_id, size, until=until)
    return [*runs, *_tasks(connection, workspace_id, size, now=now, until=until)]


def ended_runs(
    connection: sa.Connection, workspace_id: str, size: int, *, until: datetime | None = None
) -> Iterator[Any]:
    """By state, as the index has them: those that go on are not even looked at."""
    for state in sorted(TERMINAL):
        query = _RUNS.where(Run.workspace_id == workspace_id, Run.state == state)
        if until is not None:
            query = query.where(Run.id < ids.least("run", until), Run.finished_at < until)
        yield from connection.execute(query.limit(size))


def _tasks(
    connection: sa.Connection, workspace_id: str, size: int, *, now: datetime, until: datetime | None
) -> Iterator[Any]:
    """A task whose request may still be repeated stays: its key would be forgotten with it."""
    safe = sa.or_(Task.idempotency_key.is_(None), Task.created_at < now - KEY_KEPT)
    query = _API_TASKS.where(Task.workspace_id == workspace_id, safe)
    if until is not None:
        query = query.where(Task.id < ids.least("tsk", until), Task.finished_at < until)
    yield from connection.execute(query.limit(size))


def oldest(rows: Sequence[Any], size: int, left: int | None = None) -> list[Any]:
    """No more than needed for `left` bytes."""
    chosen: list[Any] = []
    for row in sorted(rows, key=moment)[:size]:
        if left is not None and left <= 0:
            break
        chosen.append(row)
        left = None if left is None else left - row.bytes
    return chosen


def moment(row: Any) -> str:
    return str(row.id).partition("_")[2]


_RUNS = (
    sa.select(*RUN_COLUMNS)
    .where(Run.bytes.is_not(None))
    .order_by(Run.id)
    .with_for_update(skip_locked=True, of=Run.__table__)
)
_API_TASKS = (
    sa.select(*TASK_COLUMNS)
    .where(Task.bytes.is_not(None))
    .order_by(Task.id)
    .with_for_update(skip_locked=True)
)
_IN_PLACE: Any = sa.bindparam("place")
_MOST: Any = sa.bindparam("most")
# The bound as the indexes have it: a parameter would not match them.
_HEAVY: Any = sa.literal_column(str(HEAVY_BYTES))
_HEAVY_RUNS = _RUNS.where(Run.workspace_id == _IN_PLACE, Run.bytes >= _HEAVY, Run.removed_at.is_(None)).limit(
    _MOST
)
_HEAVY_TASKS = _API_TASKS.where(
    Task.workspace_id == _IN_PLACE, Task.bytes >= _HEAVY, Task.removed_at.is_(None)
).limit(_MOST)
