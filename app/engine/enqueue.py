"""The way in: an event and its run, or a task, is on disk when these return; then the doorbell rings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as insert_pg
from sqlalchemy.dialects.sqlite import insert as insert_sqlite

from app import clock, ids
from app.engine import flow, payloads, policy
from app.engine.core import Engine
from app.errors import ConflictError
from app.models import Event, Queue, Run, State, StepKind, Task
from app.models.queue import DEFAULT_QUEUE
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
    receipts = engine.writer.submit(
        lambda connection: [store_event(connection, armed, each, depth=depth) for each in occurrences]
    )
    if any(receipt.run_id and not receipt.duplicate for receipt in receipts):
        engine.doorbell.ring()
    return receipts


def enqueue_task(engine: Engine, new: NewTask) -> Enqueued:
    """Raises ConflictError when the idempotency key was used with another request, UnavailableError."""
    enqueued = engine.writer.submit(lambda connection: store_task(connection, new))
    engine.doorbell.ring()
    return enqueued


def store_event(
    connection: sa.Connection, armed: Armed, occurrence: Occurrence, *, depth: int = 0
) -> Receipt:
    """The rows of one event and its run, in the caller's transaction; the same key makes no second one."""
    now, event_id = clock.now(), ids.new("evt")
    data, payload_id = payloads.store(connection, armed.workspace_id, occurrence.data)
    stored = connection.execute(
        _EVENT_ONCE[connection.dialect.name],
        {
            "id": event_id,
            "workspace_id": armed.workspace_id,
            "source": armed.trigger_id,
            "key": occurrence.key or event_id,
            "type": armed.type,
            "data": data,
            "payload_id": payload_id,
            "duplicates": 0,
            "depth": depth,
            "received_at": now,
        },
    )
    if not stored.rowcount:
        return _count_duplicate(connection, armed, occurrence.key or event_id)
    if armed.version_id is None:
        return Receipt(event_id, None, duplicate=False)
    start = Start(armed.workspace_id, armed.rule_id, armed.version_id, event_id)
    run_id = start_run(connection, start, depth=depth)
    return Receipt(event_id, run_id, duplicate=False)


def insert_once(model: Any, *unique: str) -> dict[str, Any]:
    """By dialect; `rowcount` of an INSERT is kept only where it is asked for."""
    inserts: dict[str, Any] = {"sqlite": insert_sqlite(model), "postgresql": insert_pg(model)}
    return {
        name: insert.on_conflict_do_nothing(index_elements=unique).execution_options(preserve_rowcount=True)
        for name, insert in inserts.items()
    }


_EVENT_ONCE = insert_once(Event, "source", "key")
_TASK_ONCE = insert_once(Task, "workspace_id", "idempotency_key")


def _count_duplicate(connection: sa.Connection, armed: Armed, key: str) -> Receipt:
    event_id = connection.scalar(
        sa.update(Event)
        .where(Event.source == armed.trigger_id, Event.key == key)
        .values(duplicates=Event.duplicates + 1)
        .returning(Event.id)
    )
    run_id = connection.scalar(sa.select(Run.id).where(Run.event_id == event_id).order_by(Run.id).limit(1))
    return Receipt(str(event_id), run_id, duplicate=True)


@dataclass(frozen=True, slots=True)
class Start:
    """What a run executes, and for which event."""

    workspace_id: str
    rule_id: str
    version_id: str
    event_id: str
    replay_of: str | None = None
    run_id: str = field(default_factory=lambda: ids.new("run"))


def start_run(connection: sa.Connection, start: Start, *, depth: int = 0) -> str:
    """A run with its first task queued. A rule that keeps starting itself gets a failed run that says so."""
    place = flow.first(flow.definition(connection, start.version_id))
    stopped = depth >= policy.MAX_DEPTH
    loops = f"stopped: this rule started itself {depth} times in a row; change it so that it does not"
    state = State.FAILED if stopped else State.QUEUED if place else State.SUCCEEDED
    store_run(connection, start, state, cause=loops if stopped else None)
    if place and not stopped:
        queue_step(connection, start.workspace_id, start.run_id, place)
    return start.run_id


def store_run(connection: sa.Connection, start: Start, state: State, *, cause: str | None = None) -> None:
    now = clock.now()
    ended_at = now if state.is_terminal else None
    connection.execute(
        sa.insert(Run),
        {
            "id": start.run_id,
            "workspace_id": start.workspace_id,
            "rule_id": start.rule_id,
            "version_id": start.version_id,
            "event_id": start.event_id,
            "replay_of": start.replay_of,
            "state": state,
            "cause": cause,
            "created_at": now,
            "started_at": ended_at,
            "finished_at": ended_at,
        },
    )


def step_row(workspace_id: str, run_id: str, place: flow.Place) -> dict[str, Any]:
    """The columns of a queued task for a rule's step, but for its queue."""
    now = clock.now()
    return {
        "id": ids.new("tsk"),
        "workspace_id": workspace_id,
        "run_id": run_id,
        "path": place.path,
        "step": place.key,
        "kind": place.kind,
        "action": place.action,
        "connection_id": place.connection_id,
        "state": State.QUEUED,
        "priority": 0,
        "due_at": now,
        "attempt": 0,
        "max_attempts": policy.MAX_ATTEMPTS,
        "lost": 0,
        "fence": 0,
        "created_at": now,
    }


def queue_step(connection: sa.Connection, workspace_id: str, run_id: str, place: flow.Place) -> None:
    connection.execute(_INSERT_STEP, step_row(workspace_id, run_id, place) | queue_names(workspace_id, place))


def queue_names(workspace_id: str, place: flow.Place) -> dict[str, str]:
    """The parameters of `queue_named`."""
    return {
        "in_workspace": workspace_id,
        "queue_name": place.queue or DEFAULT_QUEUE,
        "default_queue": DEFAULT_QUEUE,
    }


_OWN = Queue.__table__.alias("own_queue")


def queue_named() -> Any:
    """The id of the queue `:queue_name` of the workspace, or of its default one when that is gone."""
    return (
        sa.select(_OWN.c.id)
        .where(
            _OWN.c.workspace_id == sa.bindparam("in_workspace"),
            _OWN.c.name.in_([sa.bindparam("queue_name"), sa.bindparam("default_queue")]),
        )
        .order_by((_OWN.c.name == sa.bindparam("default_queue")).asc())
        .limit(1)
        .scalar_subquery()
    )


STEP_COLUMNS = (
    "id", "workspace_id", "run_id", "path", "step", "kind", "action", "connection_id", "state", "priority",
    "due_at", "attempt", "max_attempts", "lost", "fence", "created_at",
)  # fmt: skip
_INSERT_STEP = sa.insert(Task).values(queue_id=queue_named())


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
