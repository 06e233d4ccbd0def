"""What rows take: a run, or a task of the API, is weighed once after its end and counted in its workspace."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.engine.bulk import execute_all
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
    rows = connection.execute(_UNWEIGHED_RUNS, {"most": limit}).all()
    found = of_runs(connection, rows)
    execute_all(connection, _SET_RUN, [{"run": row.id, "size": found[row.id]} for row in rows])
    count(connection, [Change(row.workspace_id, row.rule_id, 1, found[row.id]) for row in rows])
    return len(rows)


def weigh_tasks(connection: sa.Connection, limit: int) -> int:
    """Some of the API's that have ended; how many."""
    rows = connection.execute(_UNWEIGHED_TASKS, {"most": limit}).all()
    found = of_tasks(connection, [row.id for row in rows])
    execute_all(connection, _SET_TASK, [{"task": row.id, "size": found[row.id]} for row in rows])
    count(connection, [Change(row.workspace_id, API_TASKS, 1, found[row.id]) for row in rows])
    return len(rows)


def of_runs(connection: sa.Connection, rows: Sequence[Any]) -> dict[str, int]:
    """By id; `rows` have `id` and `event_id`. An event counts with the newest of its runs."""
    run_ids, event_ids = [row.id for row in rows], list({row.event_id for row in rows})
    tasks: dict[str, Any] = dict(iter(connection.execute(_TASKS_OF_RUNS, {"ids": run_ids})))
    events: dict[str, Any] = dict(iter(connection.execute(_EVENTS, {"ids": event_ids})))
    newest = set(connection.scalars(_NEWEST_RUNS, {"ids": event_ids}))
    return {
        row.id: RUN_BYTES
        + int(tasks.get(row.id, 0))
        + (int(events.get(row.event_id, 0)) if row.id in newest else 0)
        for row in rows
    }


def of_tasks(connection: sa.Connection, ids: Sequence[str]) -> dict[str, int]:
    found: Mapping[str, Any] = dict(iter(connection.execute(_TASKS, {"ids": ids})))
    return {task_id: int(size) for task_id, size in found.items()}


def open_bytes(connection: sa.Connection, event_ids: Sequence[str]) -> list[int]:
    """What runs of these events take that have just begun."""
    sizes = connection.execute(_EVENTS, {"ids": event_ids})
    return [RUN_BYTES + TASK_BYTES + int(size) for _, size in sizes]


def _value(column: Any) -> Any:
    """JSON is stored as ASCII: its characters are its bytes."""
    return _paged(sa.func.coalesce(sa.func.length(column), 0))


def _paged(size: Any) -> Any:
    return size + sa.case((size > _PAGE_BYTES, _HALF_A_PAGE), else_=0)


def _values(*columns: Any) -> Any:
    total: Any = _paged(sa.func.coalesce(Payload.bytes, 0))
    for column in columns:
        total += _value(column)
    return total


_TASK: Any = (
    TASK_BYTES
    + ATTEMPT_BYTES * (Task.attempt + Task.lost)
    + _values(Task.params, Task.params_sealed, Task.output, Task.cause)
)
_IDS: Any = sa.bindparam("ids", expanding=True)
_TASKS = sa.select(Task.id, _TASK).outerjoin(Payload, Payload.id == Task.payload_id).where(Task.id.in_(_IDS))
_TASKS_OF_RUNS = (
    sa.select(Task.run_id, sa.func.sum(_TASK))
    .outerjoin(Payload, Payload.id == Task.payload_id)
    .where(Task.run_id.in_(_IDS))
    .group_by(Task.run_id)
)
_EVENTS = (
    sa.select(Event.id, EVENT_BYTES + _values(Event.data, Event.key))
    .outerjoin(Payload, Payload.id == Event.payload_id)
    .where(Event.id.in_(_IDS))
)
_NEWEST_RUNS = sa.select(sa.func.max(Run.id)).where(Run.event_id.in_(_IDS)).group_by(Run.event_id)

_GOES_ON = sa.exists().where(Task.run_id == Run.id, Task.finished_at.is_(None))
_UNWEIGHED_RUNS = (
    sa.select(Run.id, Run.workspace_id, Run.rule_id, Run.event_id)
    # A canceled run may have an action under way, whose end is still to be written down.
    .where(Run.bytes.is_(None), Run.finished_at.is_not(None), sa.not_(_GOES_ON))
    .order_by(Run.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True, of=Run.__table__)
)
_UNWEIGHED_TASKS = (
    sa.select(Task.id, Task.workspace_id)
    .where(Task.run_id.is_(None), Task.bytes.is_(None), Task.finished_at.is_not(None))
    .order_by(Task.id)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
_SET_RUN = sa.update(Run).where(Run.id == sa.bindparam("run")).values(bytes=sa.bindparam("size"))
_SET_TASK = sa.update(Task).where(Task.id == sa.bindparam("task")).values(bytes=sa.bindparam("size"))
