"""What rows take: a run, or a task of the API, is weighed once after its end and counted in its workspace."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.engine.upsert import upsert
from app.models import Event, Payload, Run, Storage, Task
from app.models.storage import API_TASKS

# What a row takes beside its values, with its share of the indexes; measured on SQLite.
RUN_BYTES = 700
EVENT_BYTES = 450
TASK_BYTES = 650
ATTEMPT_BYTES = 250
# A value over a page lies in pages of its own, the last of which is half empty on the average.
_PAGE_BYTES = 4000
_HALF_A_PAGE = 2048

_UNIQUE = ("workspace_id", "subject_id")


@dataclass(frozen=True, slots=True)
class Change:
    """To one counter."""

    workspace_id: str
    subject_id: str
    count: int
    bytes: int


def count(connection: sa.Connection, changes: Iterable[Change]) -> None:
    """In the caller's transaction. In one order everywhere, so that two never wait for each other crosswise."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for each in changes:
        key = (each.workspace_id, each.subject_id)
        number, size = sums.get(key, (0, 0))
        sums[key] = (number + each.count, size + each.bytes)
    for (workspace_id, subject_id), (number, size) in sorted(sums.items()):
        row = {"workspace_id": workspace_id, "subject_id": subject_id, "count": number, "bytes": size}
        change = {"count": Storage.count + number, "bytes": Storage.bytes + size}
        upsert(connection, Storage, row, unique=_UNIQUE, change=change)


def weigh_runs(connection: sa.Connection, limit: int) -> int:
    """Some of those that have ended; how many."""
    rows = connection.execute(_WEIGH_RUNS, {"most": limit}).all()
    count(connection, [Change(row.workspace_id, row.rule_id, 1, row.bytes) for row in rows])
    return len(rows)


def weigh_tasks(connection: sa.Connection, limit: int) -> int:
    """Some of the API's that have ended; how many."""
    rows = connection.execute(_WEIGH_TASKS, {"most": limit}).all()
    count(connection, [Change(row.workspace_id, API_TASKS, 1, row.bytes) for row in rows])
    return len(rows)


def open_bytes(connection: sa.Connection, event_ids: Sequence[str]) -> list[int]:
    """What runs of these events take that have just begun."""
    sizes = connection.scalars(sa.select(_EVENT).where(Event.id.in_(event_ids)))
    return [RUN_BYTES + TASK_BYTES + int(size) for size in sizes]


def _value(column: Any) -> Any:
    """JSON is stored as ASCII: its characters are its bytes."""
    return _paged(sa.func.coalesce(sa.func.length(column), 0))


def _paged(size: Any) -> Any:
    return size + sa.case((size > _PAGE_BYTES, _HALF_A_PAGE), else_=0)


def _values(model: Any, *columns: Any) -> Any:
    payload = sa.select(_paged(Payload.bytes)).where(Payload.id == model.payload_id).correlate(model)
    total: Any = sa.func.coalesce(payload.scalar_subquery(), 0)
    for column in columns:
        total += _value(column)
    return total


# What a row takes, for an UPDATE or a SELECT of it.
TASK: Any = (
    TASK_BYTES
    + ATTEMPT_BYTES * (Task.attempt + Task.lost)
    + _values(Task, Task.params, Task.params_sealed, Task.output, Task.cause)
)
_EVENT: Any = EVENT_BYTES + _values(Event, Event.data, Event.key)
_NEWER = Run.__table__.alias("newer_run")
_HAS_NEWER = sa.exists().where(_NEWER.c.event_id == Run.event_id, _NEWER.c.id > Run.id).correlate(Run)
_ITS_TASKS = sa.select(sa.func.sum(TASK)).where(Task.run_id == Run.id).correlate(Run)
_ITS_EVENT = sa.select(_EVENT).where(Event.id == Run.event_id, sa.not_(_HAS_NEWER)).correlate(Run)
# With its tasks and its event, which counts with the newest of its runs.
RUN: Any = (
    RUN_BYTES
    + sa.func.coalesce(_ITS_TASKS.scalar_subquery(), 0)
    + sa.func.coalesce(_ITS_EVENT.scalar_subquery(), 0)
)


def _weighing(model: Any, size: Any, which: Any, *columns: Any) -> Any:
    due = (
        sa.select(model.id)
        .where(model.bytes.is_(None), model.finished_at.is_not(None), which)
        .order_by(model.id)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True, of=model.__table__)
        .cte("due")
    )
    return (
        sa.update(model)
        .where(model.id.in_(sa.select(due.c.id)))
        .values(bytes=size)
        .returning(model.workspace_id, model.bytes, *columns)
    )


_GOES_ON = sa.exists().where(Task.run_id == Run.id, Task.finished_at.is_(None))
# A canceled run may have an action under way, whose end is still to be written down.
_WEIGH_RUNS = _weighing(Run, RUN, sa.not_(_GOES_ON), Run.rule_id)
_WEIGH_TASKS = _weighing(Task, TASK, Task.run_id.is_(None))
