"""Queues: named lines of tasks with a priority, a pause, a concurrency and a rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.errors import ConflictError, NotFoundError
from app.models import Queue, Role, State, Task
from app.models.queue import DEFAULT_QUEUE
from app.services.access import Actor, audit, require, scoped

_OPEN: Final = (State.QUEUED, State.RUNNING, State.WAITING, State.UNCERTAIN)
_MINUTE = timedelta(minutes=1)
SETTABLE: Final = frozenset({"name", "priority", "concurrency", "rate_count", "rate_period_s"})


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue and how it stands. `waiting` are the tasks that could start now, `later` those with a due time."""

    id: str
    name: str
    paused: bool
    external: bool
    priority: int
    concurrency: int | None
    rate_count: int | None
    rate_period_s: int | None
    waiting: int
    later: int
    running: int
    oldest_at: datetime | None
    done_per_minute: int


def stats(session: Session, actor: Actor) -> list[QueueView]:
    """All queues of the workspace, the highest priority first."""
    rows = session.scalars(scoped(Queue, actor).order_by(Queue.priority.desc(), Queue.name)).all()
    counts, oldest, done = _counts(session, rows), _oldest(session, rows), _done(session, rows)
    return [_view(row, counts, oldest, done) for row in rows]


def get(session: Session, actor: Actor, name: str) -> QueueView:
    row = find(session, actor, name)
    return _view(row, _counts(session, [row]), _oldest(session, [row]), _done(session, [row]))


def find(session: Session, actor: Actor, name: str) -> Queue:
    """Raises NotFoundError."""
    row = session.scalar(scoped(Queue, actor).where(Queue.name == name))
    if row is None:
        raise NotFoundError(f"no queue {name[:40]} here; GET /api/v1/queues lists them")
    return row


def create(session: Session, actor: Actor, name: str, *, external: bool = False, **settings: Any) -> Queue:
    """`settings`: priority, concurrency, rate_count and rate_period_s. Raises ConflictError for a taken name."""
    require(actor, Role.EDITOR)
    _refuse_taken(session, actor, name)
    row = Queue(
        id=ids.new("que"),
        workspace_id=actor.workspace_id,
        name=name,
        external=external,
        created_at=clock.now(),
        **_only_settable(settings),
    )
    session.add(row)
    session.flush()
    audit(session, actor, "created queue", row.id, detail={"name": name})
    return row


def update(session: Session, actor: Actor, name: str, changes: Mapping[str, Any]) -> Queue:
    """`changes` may hold name, priority, concurrency, rate_count and rate_period_s; None lifts a limit."""
    require(actor, Role.EDITOR)
    row = find(session, actor, name)
    wanted = _only_settable(changes)
    if wanted.get("name", name) != name:
        _refuse_default(row, "renamed")
        _refuse_taken(session, actor, wanted["name"])
    if {"rate_count", "rate_period_s"} & set(wanted):
        row.tokens, row.refilled_at = 0.0, None
    for field, value in wanted.items():
        setattr(row, field, value)
    audit(session, actor, "changed queue", row.id, detail=dict(wanted))
    session.flush()
    return row


def pause(session: Session, actor: Actor, name: str) -> Queue:
    """Running tasks finish; no other starts."""
    return _set_paused(session, actor, name, paused=True)


def resume(session: Session, actor: Actor, name: str) -> Queue:
    """The caller rings after the commit."""
    return _set_paused(session, actor, name, paused=False)


def delete(session: Session, actor: Actor, name: str) -> None:
    """Its finished tasks move to the default queue. Raises ConflictError while others are in it."""
    require(actor, Role.EDITOR)
    row = find(session, actor, name)
    _refuse_default(row, "deleted")
    left = session.scalar(
        sa.select(sa.func.count()).select_from(Task).where(Task.queue_id == row.id, Task.state.in_(_OPEN))
    )
    if left:
        raise ConflictError(
            f"the queue {name} holds {left} unfinished tasks; let them finish or cancel them first"
        )
    default = find(session, actor, DEFAULT_QUEUE)
    session.execute(sa.update(Task).where(Task.queue_id == row.id).values(queue_id=default.id))
    session.delete(row)
    audit(session, actor, "deleted queue", row.id, detail={"name": name})
    session.flush()


def _set_paused(session: Session, actor: Actor, name: str, *, paused: bool) -> Queue:
    require(actor, Role.EDITOR)
    row = find(session, actor, name)
    row.paused = paused
    audit(session, actor, "paused queue" if paused else "resumed queue", row.id, detail={"name": name})
    session.flush()
    return row


def _refuse_default(row: Queue, verb: str) -> None:
    if row.name == DEFAULT_QUEUE:
        raise ConflictError(f"the queue {DEFAULT_QUEUE} cannot be {verb}: tasks without a queue go there")


def _refuse_taken(session: Session, actor: Actor, name: str) -> None:
    if session.scalar(sa.select(scoped(Queue, actor).where(Queue.name == name).exists())):
        raise ConflictError(f"there is a queue {name} already; choose another name")


def _only_settable(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in SETTABLE}


Counts = Mapping[tuple[str, State], int]


def _counts(session: Session, rows: Any) -> Counts:
    query = (
        sa.select(Task.queue_id, Task.state, sa.func.count())
        .where(Task.queue_id.in_([row.id for row in rows]), Task.state.in_(_OPEN))
        .group_by(Task.queue_id, Task.state)
    )
    return {(queue_id, state): count for queue_id, state, count in session.execute(query)}


def _oldest(session: Session, rows: Any) -> dict[str, datetime]:
    query = (
        sa.select(Task.queue_id, sa.func.min(Task.due_at))
        .where(Task.queue_id.in_([row.id for row in rows]), Task.state == State.QUEUED)
        .group_by(Task.queue_id)
    )
    return dict(iter(session.execute(query)))


def _done(session: Session, rows: Any) -> dict[str, int]:
    """Finished in the last minute, by queue."""
    since = clock.now() - _MINUTE
    query = (
        sa.select(Task.queue_id, sa.func.count())
        .where(Task.queue_id.in_([row.id for row in rows]), Task.finished_at >= since)
        .group_by(Task.queue_id)
    )
    return dict(iter(session.execute(query)))


def _view(row: Queue, counts: Counts, oldest: Mapping[str, datetime], done: Mapping[str, int]) -> QueueView:
    return QueueView(
        id=row.id,
        name=row.name,
        paused=row.paused,
        external=row.external,
        priority=row.priority,
        concurrency=row.concurrency,
        rate_count=row.rate_count,
        rate_period_s=row.rate_period_s,
        waiting=counts.get((row.id, State.QUEUED), 0),
        later=counts.get((row.id, State.WAITING), 0),
        running=counts.get((row.id, State.RUNNING), 0),
        oldest_at=oldest.get(row.id),
        done_per_minute=done.get(row.id, 0),
    )
