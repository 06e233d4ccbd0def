"""The way in: an event and its run, or a task, is on disk when these return; then the doorbell rings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.engine import payloads, policy
from app.engine.bulk import execute_all
from app.engine.core import Engine
from app.engine.start import Start, start_runs
from app.engine.upsert import insert_once
from app.errors import ConflictError
from app.models import Event, Run, State, StepKind, Task
from app.sdk.declare import Occurrence


@dataclass(frozen=True, slots=True)
class Armed:
    """What an event starts: a trigger with the rule's published version (None: kept as a sample only)."""

    workspace_id: str
    trigger_id: str
    type: str
    rule_id: str
    version_id: str | None


@dataclass(frozen=True, slots=True)
class Receipt:
    event_id: str
    run_id: str | None
    duplicate: bool


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task for the queue `queue_id`; `params` masked, with the whole sealed beside where that hid something."""

    workspace_id: str
    queue_id: str
    action: str | None
    connection_id: str | None
    params: Any
    params_sealed: str | None = None
    task_id: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    max_attempts: int = policy.MAX_ATTEMPTS
    idempotency_key: str | None = None
    request_sha256: str | None = None
    retry_of: str | None = None


@dataclass(frozen=True, slots=True)
class Enqueued:
    """`repeated`: the same request came before, this is its task."""

    task_id: str
    repeated: bool


def accept(engine: Engine, armed: Armed, occurrence: Occurrence, *, depth: int = 0) -> Receipt:
    """Store an event and start its run. Raises UnavailableError: then nothing was stored."""
    return accept_all(engine, armed, [occurrence], depth=depth)[0]


def accept_all(
    engine: Engine, armed: Armed, occurrences: Sequence[Occurrence], *, depth: int = 0
) -> list[Receipt]:
    """The same for all that one call tells of: all are stored, or none. Raises UnavailableError."""
    arrivals = [Arrival(armed, occurrence, depth) for occurrence in occurrences]
    receipts = engine.writer.submit_to(_store_calls, arrivals)
    if any(receipt.run_id and not receipt.duplicate for receipt in receipts):
        engine.doorbell.ring()
    return receipts


def _store_calls(connection: sa.Connection, calls: Sequence[Sequence["Arrival"]]) -> list[list[Receipt]]:
    receipts = iter(store_events(connection, [arrival for call in calls for arrival in call]))
    return [list(islice(receipts, len(call))) for call in calls]


def enqueue_task(engine: Engine, new: NewTask) -> Enqueued:
    """Raises ConflictError when the idempotency key was used with another request, UnavailableError."""
    enqueued = engine.writer.submit(lambda connection: store_task(connection, new))
    engine.doorbell.ring()
    return enqueued


@dataclass(frozen=True, slots=True)
class Arrival:
    """An occurrence for the trigger it came to; `depth`: how often the rule has started itself on the way."""

    armed: Armed
    occurrence: Occurrence
    depth: int = 0


def store_events(connection: sa.Connection, arrivals: Sequence[Arrival]) -> list[Receipt]:
    """The rows of events and their runs, in the caller's transaction; the same key makes no second one."""
    rows = [_event_row(connection, arrival) for arrival in arrivals]
    stored = _insert_events(connection, rows)
    repeated = [row for row in rows if row["id"] not in stored]
    payloads.forget(connection, [row["payload_id"] for row in repeated if row["payload_id"]])
    starts = {
        row["id"]: _start(arrival, row["id"])
        for row, arrival in zip(rows, arrivals, strict=True)
        if row["id"] in stored and arrival.armed.version_id is not None
    }
    start_runs(connection, list(starts.values()))
    return [
        Receipt(row["id"], _run_of(starts.get(row["id"])), duplicate=False)
        if row["id"] in stored
        else _count_duplicate(connection, row["source"], row["key"])
        for row in rows
    ]


def _start(arrival: Arrival, event_id: str) -> Start:
    armed = arrival.armed
    return Start(armed.workspace_id, armed.rule_id, str(armed.version_id), event_id, depth=arrival.depth)


def _run_of(start: Start | None) -> str | None:
    return start.run_id if start else None


def _event_row(connection: sa.Connection, arrival: Arrival) -> dict[str, Any]:
    armed, occurrence, event_id = arrival.armed, arrival.occurrence, ids.new("evt")
    # Whoever tells of an event has bounded it; a rule sees all of it.
    data, payload_id = payloads.store(connection, armed.workspace_id, occurrence.data, whole=True)
    return {
        "id": event_id,
        "workspace_id": armed.workspace_id,
        "source": armed.trigger_id,
        "key": occurrence.key or event_id,
        "type": armed.type,
        "data": data,
        "payload_id": payload_id,
        "duplicates": 0,
        "depth": arrival.depth,
        "received_at": clock.now(),
    }


def _insert_events(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> set[str]:
    """The ids of those that are new: a key that is known already adds no row."""
    added = execute_all(connection, _EVENT_ONCE[connection.dialect.name], rows)
    given = [row["id"] for row in rows]
    if added == len(given):
        return set(given)
    return set(connection.scalars(sa.select(Event.id).where(Event.id.in_(given))))


_EVENT_ONCE = insert_once(Event, "source", "key")
_TASK_ONCE = insert_once(Task, "workspace_id", "idempotency_key", where="idempotency_key IS NOT NULL")


def _count_duplicate(connection: sa.Connection, source: str, key: str) -> Receipt:
    event_id = connection.scalar(
        sa.update(Event)
        .where(Event.source == source, Event.key == key)
        .values(duplicates=Event.duplicates + 1)
        .returning(Event.id)
    )
    run_id = connection.scalar(sa.select(Run.id).where(Run.event_id == event_id).order_by(Run.id).limit(1))
    return Receipt(str(event_id), run_id, duplicate=True)


def store_task(connection: sa.Connection, new: NewTask) -> Enqueued:
    """The row of a task from the API, in the caller's transaction."""
    if new.idempotency_key and (found := _same_request(connection, new)):
        return found
    now = clock.now()
    later = new.run_at is not None and new.run_at > now
    task_id = new.task_id or ids.new("tsk")
    stored = connection.execute(
        _TASK_ONCE[connection.dialect.name],
        {
            "id": task_id,
            "workspace_id": new.workspace_id,
            "queue_id": new.queue_id,
            "path": "0",
            "kind": StepKind.ACTION,
            "action": new.action,
            "connection_id": new.connection_id,
            "params": new.params,
            "params_sealed": new.params_sealed,
            "state": State.WAITING if later else State.QUEUED,
            "priority": new.priority,
            "due_at": new.run_at if later else now,
            "max_attempts": new.max_attempts,
            "idempotency_key": new.idempotency_key,
            "request_sha256": new.request_sha256,
            "retry_of": new.retry_of,
            "created_at": now,
        },
    )
    if not stored.rowcount and (found := _same_request(connection, new)):
        # Another process stored it since the look above.
        return found
    return Enqueued(task_id, repeated=False)


def _same_request(connection: sa.Connection, new: NewTask) -> Enqueued | None:
    found = connection.execute(
        sa.select(Task.id, Task.request_sha256).where(
            Task.workspace_id == new.workspace_id, Task.idempotency_key == new.idempotency_key
        )
    ).first()
    if found is None:
        return None
    if found.request_sha256 != new.request_sha256:
        raise ConflictError(
            "this Idempotency-Key was used with another request; use a new key for a new task"
        )
    return Enqueued(found.id, repeated=True)
