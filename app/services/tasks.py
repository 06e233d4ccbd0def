"""Tasks: enqueueing one over the API, reading what became of it, and deciding about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import life, payloads
from app.engine.core import Engine
from app.engine.life import Resolution
from app.models import Attempt, Queue, Role, State, Task
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.paging import LIMIT, Page, containing, containing_json, older_than, page_of


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """`alone` leaves out the tasks of runs."""

    state: State | None = None
    action: str | None = None
    queue: str | None = None
    run_id: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task with the name of its queue, its whole output and its tries."""

    row: Task
    queue: str
    output: Any
    attempts: tuple[Attempt, ...]


def listing(
    session: Session, actor: Actor, wanted: TaskFilter, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[TaskView]:
    """Newest first. Large outputs and the log of attempts come only with `get`."""
    query = scoped(Task, actor).where(older_than(Task.id, "tsk", cursor), *_conditions(wanted))
    rows = session.scalars(query.order_by(Task.id.desc()).limit(limit + 1)).all()
    page = page_of(rows, limit, row_id=lambda row: row.id)
    names = _queue_names(session, page.items)
    return page.map(lambda row: TaskView(row, names[row.queue_id], row.output, ()))


def get(session: Session, actor: Actor, task_id: str) -> TaskView:
    return whole(session, [fetch(session, Task, task_id, actor)])[0]


def cancel(session: Session, actor: Actor, task_id: str) -> TaskView:
    """Raises ConflictError where it has ended."""
    require(actor, Role.EDITOR)
    life.cancel_task(session, fetch(session, Task, task_id, actor))
    return _decided(session, actor, task_id, "task_canceled")


def retry(session: Session, actor: Actor, engine: Engine, task_id: str) -> TaskView:
    """The new task that does a failed one again; a second call gives the same. The caller rings."""
    require(actor, Role.EDITOR)
    made = life.retry_task(session, engine, fetch(session, Task, task_id, actor))
    if made.repeated:
        return get(session, actor, made.id)
    return _decided(session, actor, made.id, "task_retried")


def resolve(session: Session, actor: Actor, task_id: str, resolution: Resolution) -> TaskView:
    """Answers the question of an uncertain task. The caller rings."""
    require(actor, Role.EDITOR)
    row = fetch(session, Task, task_id, actor)
    life.resolve_task(session, row, resolution, actor.name or actor.email)
    return _decided(session, actor, task_id, f"task_resolved_{resolution}")


def _decided(session: Session, actor: Actor, task_id: str, verb: str) -> TaskView:
    audit(session, actor, verb, task_id)
    session.flush()
    # The engine speaks to tables; what this session remembers of them is old.
    session.expire_all()
    return get(session, actor, task_id)


def whole(session: Session, rows: Sequence[Task]) -> list[TaskView]:
    """The tasks as they are shown, in the same order."""
    names, tries = _queue_names(session, rows), _attempts(session, rows)
    return [
        TaskView(
            row,
            names[row.queue_id],
            payloads.load(session.connection(), row.output, row.payload_id),
            tuple(tries.get(row.id, ())),
        )
        for row in rows
    ]


def _conditions(wanted: TaskFilter) -> list[sa.ColumnElement[bool]]:
    equal = {Task.state: wanted.state, Task.action: wanted.action, Task.run_id: wanted.run_id}
    found = [column == value for column, value in equal.items() if value]
    if wanted.queue:
        found.append(Task.queue_id.in_(sa.select(Queue.id).where(Queue.name == wanted.queue)))
    if wanted.alone:
        found.append(Task.run_id.is_(None))
    if wanted.text:
        found.append(_says(wanted.text))
    if wanted.since:
        found.append(Task.created_at >= wanted.since)
    if wanted.until:
        found.append(Task.created_at < wanted.until)
    return found


def _says(text: str) -> sa.ColumnElement[bool]:
    return sa.or_(
        Task.id == text,
        containing(Task.action, text),
        containing(Task.cause, text),
        containing_json(Task.params, text),
        containing_json(Task.output, text),
    )


def _queue_names(session: Session, rows: Sequence[Task]) -> dict[str, str]:
    query = sa.select(Queue.id, Queue.name).where(Queue.id.in_({row.queue_id for row in rows}))
    return dict(iter(session.execute(query)))


def _attempts(session: Session, rows: Sequence[Task]) -> dict[str, list[Attempt]]:
    ids = [row.id for row in rows]
    query = sa.select(Attempt).where(Attempt.task_id.in_(ids)).order_by(Attempt.task_id, Attempt.fence)
    found: dict[str, list[Attempt]] = {}
    for attempt in session.scalars(query):
        found.setdefault(attempt.task_id, []).append(attempt)
    return found
