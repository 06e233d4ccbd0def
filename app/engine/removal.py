"""Taking away what has ended: first the data, while the record stays, then the record. Nothing else is touched.

All of it works on rows that were weighed: those have ended, with all their tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NoReturn

import sqlalchemy as sa

from app.engine import payloads, weights
from app.engine.weights import Change
from app.errors import ConflictError
from app.models import Event, Run, StepKind, Task
from app.models.storage import API_TASKS, KEYS

# So long a repetition of an event, or of a task's request, is recognised, whatever else is removed.
KEY_KEPT = timedelta(days=7)
# Under this a run is not worth it: most of what it takes is its record. Also in the indexes `…_heavy`.
HEAVY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Gone:
    """How many rows, and about how many bytes."""

    rows: int = 0
    bytes: int = 0

    def __add__(self, other: "Gone") -> "Gone":
        return Gone(self.rows + other.rows, self.bytes + other.bytes)


RUN_COLUMNS = (Run.id, Run.workspace_id, Run.rule_id, Run.event_id, Run.bytes)
TASK_COLUMNS = (Task.id, Task.workspace_id, Task.payload_id, Task.bytes)


def note(now: datetime) -> str:
    """What stands in the place of data."""
    return f"removed to save space on {now.date().isoformat()}"


def strip_runs(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> Gone:
    """Their data go, their records stay. `rows` have RUN_COLUMNS and are locked."""
    family = _Family.of(connection, rows)
    payloads.forget(connection, family.payloads_of_tasks(connection))
    connection.execute(_strip(Task.run_id.in_(family.ids), Task.kind == StepKind.ACTION, now=now))
    _strip_events(connection, family.last_seen_by_these(), {"data": note(now), "removed_at": now})
    left = _lighter(connection, Run, Run.id.in_(family.ids), bytes=weights.RUN, removed_at=now)
    weights.count(
        connection, [Change(row.workspace_id, row.rule_id, 0, left[row.id] - row.bytes) for row in rows]
    )
    return Gone(len(rows), sum(row.bytes - left[row.id] for row in rows))


def delete_runs(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> Gone:
    """With their tasks and attempts; of an event that no run is left of, the key stays while it may be repeated."""
    family = _Family.of(connection, rows)
    payloads.forget(connection, family.payloads_of_tasks(connection))
    connection.execute(sa.delete(Run).where(Run.id.in_(family.ids)))
    weights.count(connection, [Change(row.workspace_id, row.rule_id, -1, -row.bytes) for row in rows])
    kept = _keep_keys(connection, family.of_these_only(), now)
    return Gone(len(rows), sum(row.bytes for row in rows) - kept)


def strip_tasks(connection: sa.Connection, rows: Sequence[Any], now: datetime) -> Gone:
    """As `strip_runs`, for tasks of the API; `rows` have TASK_COLUMNS."""
    ids = [row.id for row in rows]
    payloads.forget(connection, [row.payload_id for row in rows if row.payload_id])
    connection.execute(_strip(Task.id.in_(ids), now=now))
    left = _lighter(connection, Task, Task.id.in_(ids), bytes=weights.TASK, removed_at=now)
    changes = [Change(row.workspace_id, API_TASKS, 0, left[row.id] - row.bytes) for row in rows]
    weights.count(connection, changes)
    return Gone(len(rows), sum(row.bytes - left[row.id] for row in rows))


def delete_tasks(connection: sa.Connection, rows: Sequence[Any]) -> Gone:
    payloads.forget(connection, [row.payload_id for row in rows if row.payload_id])
    connection.execute(sa.delete(Task).where(Task.id.in_([row.id for row in rows])))
    weights.count(connection, [Change(row.workspace_id, API_TASKS, -1, -row.bytes) for row in rows])
    return Gone(len(rows), sum(row.bytes for row in rows))


def forget_keys(connection: sa.Connection, now: datetime, limit: int) -> int:
    """Keys of events that may not come again any more; how many."""
    due = sa.select(Event.id, Event.workspace_id).where(Event.key_until < now).limit(limit)
    rows = connection.execute(due.with_for_update(skip_locked=True)).all()
    connection.execute(sa.delete(Event).where(Event.id.in_([row.id for row in rows])))
    weights.count(connection, [Change(row.workspace_id, KEYS, -1, -weights.EVENT_BYTES) for row in rows])
    return len(rows)


def forget_samples(connection: sa.Connection, event_ids: Sequence[str], now: datetime) -> int:
    """Events that started no run and are only kept for their values; how many."""
    locked = _locked_events(connection, event_ids)
    busy = set(connection.scalars(sa.select(Run.event_id).where(Run.event_id.in_(list(locked)))))
    alone = [row for row in locked.values() if row.id not in busy]
    _keep_keys(connection, alone, now)
    return len(alone)


@dataclass(frozen=True, slots=True)
class _Family:
    """Some runs, their events (those that nobody else holds), and the other runs of the same events."""

    ids: list[str]
    events: Mapping[str, Any]
    newest: Mapping[str, str]
    others: Sequence[Any]

    @classmethod
    def of(cls, connection: sa.Connection, rows: Sequence[Any]) -> "_Family":
        ids = [row.id for row in rows]
        # Locked before the others are looked for: whoever runs an event again waits, and then looks what is left.
        events = _locked_events(connection, list({row.event_id for row in rows}))
        of_same_events = Run.event_id.in_({row.event_id for row in rows})
        others = connection.execute(
            sa.select(Run.id, Run.event_id).where(of_same_events, Run.id.not_in(ids))
        ).all()
        newest = {row.event_id: row.id for row in sorted(rows, key=lambda row: str(row.id))}
        return cls(ids, events, newest, others)

    def payloads_of_tasks(self, connection: sa.Connection) -> list[str]:
        """A run that was begun from a step shares what the steps before it gave."""
        mine = set(connection.scalars(_PAYLOADS, {"runs": self.ids}))
        if mine and self.others:
            mine -= set(connection.scalars(_PAYLOADS, {"runs": [row.id for row in self.others]}))
        return sorted(filter(None, mine))

    def of_these_only(self) -> list[Any]:
        shared = {row.event_id for row in self.others}
        return [event for event in self.events.values() if event.id not in shared]

    def last_seen_by_these(self) -> list[Any]:
        """An event's data stay while a newer run of it has its own."""
        newer = {row.event_id for row in self.others if row.id > self.newest[row.event_id]}
        return [event for event in self.events.values() if event.id not in newer]


def _locked_events(connection: sa.Connection, event_ids: Sequence[str]) -> dict[str, Any]:
    query = (
        sa.select(Event.id, Event.workspace_id, Event.payload_id, Event.received_at)
        .where(Event.id.in_(event_ids))
        .with_for_update(skip_locked=True)
    )
    return {row.id: row for row in connection.execute(query)}


def _keep_keys(connection: sa.Connection, events: Sequence[Any], now: datetime) -> int:
    """Of events without a run the key stays, or nothing when it is too old to come again; the bytes that stay."""
    old = [event for event in events if event.received_at + KEY_KEPT <= now]
    young = [event for event in events if event.received_at + KEY_KEPT > now]
    payloads.forget(connection, [event.payload_id for event in old if event.payload_id])
    connection.execute(sa.delete(Event).where(Event.id.in_([event.id for event in old])))
    until = sa.type_coerce(Event.received_at, sa.BigInteger) + KEY_KEPT // timedelta(microseconds=1)
    _strip_events(connection, young, {"data": note(now), "removed_at": now, "key_until": until})
    changes = [Change(event.workspace_id, KEYS, 1, weights.EVENT_BYTES) for event in young]
    weights.count(connection, changes)
    return len(young) * weights.EVENT_BYTES


def _strip_events(connection: sa.Connection, events: Sequence[Any], values: Mapping[str, Any]) -> None:
    payloads.forget(connection, [event.payload_id for event in events if event.payload_id])
    which = Event.id.in_([event.id for event in events])
    connection.execute(sa.update(Event).where(which).values(payload_id=None, **values))


def _lighter(connection: sa.Connection, model: Any, which: Any, **values: Any) -> dict[str, int]:
    """What those take whose data were removed just now, by id."""
    change = sa.update(model).where(which).values(values)
    return dict(iter(connection.execute(change.returning(model.id, model.bytes))))


def _strip(*which: Any, now: datetime) -> Any:
    """What was not there does not become a note."""
    text = sa.literal(note(now), Task.params.type)
    given, gave = Task.params.is_not(None), sa.or_(Task.output.is_not(None), Task.payload_id.is_not(None))
    values = {"params": sa.case((given, text)), "output": sa.case((gave, text))}
    return sa.update(Task).where(*which).values(**values, params_sealed=None, payload_id=None)


_PAYLOADS = sa.select(Task.payload_id).where(
    Task.run_id.in_(sa.bindparam("runs", expanding=True)), Task.payload_id.is_not(None)
)


def require_run_data(connection: sa.Connection, run_id: str, *, kept_steps: bool) -> None:
    """To be called after a run is made from this one, in the same transaction, and after its rows were locked.

    Raises ConflictError when what it would need was removed; `kept_steps`: it takes over what steps gave.
    """
    row = connection.execute(_REMOVED, {"run": run_id}).first()
    if row is None:
        raise ConflictError("this run was removed meanwhile, because of the workspace's days or budget")
    removed_at = row.of_event or (row.of_run if kept_steps else None)
    if removed_at is not None:
        _refuse("run", removed_at)


def require_task_data(connection: sa.Connection, task_id: str) -> None:
    """The same for a task of the API that is retried."""
    removed_at = connection.scalar(sa.select(Task.removed_at).where(Task.id == task_id))
    if removed_at is not None:
        _refuse("task", removed_at)


def _refuse(noun: str, removed_at: datetime) -> NoReturn:
    raise ConflictError(
        f"the data of this {noun} were {note(removed_at)}; it cannot be done again, send it anew"
    )


_REMOVED = (
    sa.select(Run.removed_at.label("of_run"), Event.removed_at.label("of_event"))
    .join(Event, Event.id == Run.event_id)
    .where(Run.id == sa.bindparam("run"))
)
