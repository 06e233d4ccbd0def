"""Leasing tasks of an external queue to the user's own programs, and taking back what they say."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import claim, flow, masking, material, policy, record, secrets
from app.engine.claim import Claimed
from app.engine.core import Engine
from app.engine.following import Following, follow
from app.engine.material import RunMaterial
from app.errors import ConflictError, SealError
from app.models import Queue, Role, Run, State, Task
from app.models.queue import DEFAULT_QUEUE
from app.sdk import templates
from app.sdk.errors import RejectedError
from app.services import queues, tasks
from app.services.access import Actor, fetch, require
from app.services.tasks import TaskView


@dataclass(frozen=True, slots=True)
class Leased:
    """A task that is the caller's until `lease_until`; `params` are whole, with their secrets."""

    id: str
    lease: int
    action: str | None
    run: str | None
    step: str | None
    params: Any
    attempt: int
    max_attempts: int
    lease_until: datetime


def lease(
    session: Session, actor: Actor, engine: Engine, name: str, *, limit: int, lease_s: int
) -> list[Leased]:
    """Up to `limit` due tasks, the most urgent first. Raises ConflictError for a queue that workers serve."""
    require(actor, Role.EDITOR)
    queue = queues.find(session, actor, name)
    if not queue.external:
        raise ConflictError(f"the queue {name} is served by bitqueue's workers; lease from an external one")
    connection = session.connection()
    taken = claim.claim(
        connection,
        f"api:{actor.user_id}",
        limit,
        actions=None,
        queue_id=queue.id,
        lease=timedelta(seconds=lease_s),
    )
    until = clock.now() + timedelta(seconds=lease_s)
    runs = material.load(connection, taken)
    given = [(task, _given(connection, engine, task, runs.get(task.run_id or ""))) for task in taken]
    return [_leased(task, params, until) for task, params in given if params is not None]


def ack(session: Session, actor: Actor, task_id: str, *, lease: int, output: Mapping[str, Any]) -> TaskView:
    """Done: the run it belongs to goes on. The caller rings. Raises ConflictError for a lease that ran out."""
    task = _held(session, actor, task_id, lease)
    connection = session.connection()
    following = _following(connection, task)
    record.succeed(connection, [record.Success(task, _trace(), dict(output), following)])
    return _shown(session, actor, task_id)


def nack(
    session: Session,
    actor: Actor,
    task_id: str,
    *,
    lease: int,
    cause: str,
    after_s: int | None = None,
    final: bool = False,
) -> TaskView:
    """Not done: again after a pause, or failed when `final` or all attempts are used."""
    task = _held(session, actor, task_id, lease)
    connection = session.connection()
    if final or task.attempt >= task.max_attempts:
        record.fail(connection, task, _trace(), cause)
        return _shown(session, actor, task_id)
    pause_s = policy.pause_s(task.attempt) if after_s is None else after_s
    record.retry(connection, task, _trace(), cause, due_at=clock.now() + timedelta(seconds=pause_s))
    return _shown(session, actor, task_id)


def extend(session: Session, actor: Actor, task_id: str, *, lease: int, lease_s: int) -> datetime:
    """The instant until which it is now the caller's."""
    task = _held(session, actor, task_id, lease)
    until = clock.now() + timedelta(seconds=lease_s)
    session.execute(
        sa.update(Task).where(Task.id == task.id, Task.fence == task.fence).values(lease_until=until)
    )
    return until


def _given(connection: sa.Connection, engine: Engine, task: Claimed, run: RunMaterial | None) -> Any:
    """The params to hand out; None when they cannot be made: the task has then failed, and says why."""
    try:
        params = _own_params(engine, task) if run is None else _rendered(task, run)
    except (RejectedError, SealError) as error:
        record.fail(connection, task, _trace(), str(error))
        return None
    shown = masking.mask(params)
    connection.execute(sa.update(Task).where(Task.id == task.id).values(params=shown))
    return params


def _own_params(engine: Engine, task: Claimed) -> Any:
    if task.params_sealed is None:
        return task.params
    return secrets.open_sealed(engine.keyring, task.params_sealed, bound_to=task.id)["params"]


def _rendered(task: Claimed, run: RunMaterial) -> Any:
    place = flow.at(run.definition, task.path)
    return {} if place is None else templates.render(place.step.get("params", {}), run.context())


def _leased(task: Claimed, params: Any, until: datetime) -> Leased:
    return Leased(
        id=task.id,
        lease=task.fence,
        action=task.action,
        run=task.run_id,
        step=task.step,
        params=params,
        attempt=task.attempt,
        max_attempts=task.max_attempts,
        lease_until=until,
    )


def _held(session: Session, actor: Actor, task_id: str, lease: int) -> Claimed:
    require(actor, Role.EDITOR)
    fetch(session, Task, task_id, actor)
    found = session.execute(
        sa.select(*claim.CLAIMED_COLUMNS)
        .join(Queue, Queue.id == Task.queue_id)
        .where(
            Task.id == task_id,
            Task.fence == lease,
            Task.state == State.RUNNING,
            Task.lease_until > clock.now(),
            Queue.external,
        )
    ).first()
    if found is None:
        raise ConflictError(
            "this lease is over: it ran out, or the task ended or was taken again; lease anew"
        )
    return Claimed(*found)


def _following(connection: sa.Connection, task: Claimed) -> Following | None:
    """The step after an acked one is for our workers, unless it names a queue itself."""
    if task.run_id is None:
        return None
    version_id = connection.scalar(sa.select(Run.version_id).where(Run.id == task.run_id))
    place = flow.after(flow.definition(connection, str(version_id)), task.path)
    if place is None:
        return None
    step = {**place.step, "queue": place.queue or DEFAULT_QUEUE}
    return follow(task, replace(place, step=step))


def _trace() -> record.Trace:
    return record.Trace(began_at=clock.now())


def _shown(session: Session, actor: Actor, task_id: str) -> TaskView:
    session.expire_all()
    return tasks.get(session, actor, task_id)
