"""What people do to tasks and runs: cancel, retry, resolve, replay, release. Nothing terminal is reopened."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine import enqueue, flow, payloads, record, removal, secrets, start
from app.engine.core import Engine
from app.errors import ConflictError, InvalidError
from app.models import RuleVersion, Run, State, Task

Resolution = Literal["done", "again", "skip"]

_STANDING = (State.QUEUED, State.WAITING, State.UNCERTAIN)


@dataclass(frozen=True, slots=True)
class Replay:
    """`repeated`: somebody clicked before, and this is what that click made."""

    id: str
    repeated: bool


def cancel_task(session: Session, task: Task) -> None:
    """Raises ConflictError when it runs or has ended. A step's task takes its run along."""
    if task.run_id:
        run = session.get_one(Run, task.run_id)
        return cancel_run(session, run)
    if not _cancel(session, Task.id == task.id):
        raise ConflictError(f"this task is {task.state} and cannot be canceled any more")
    return None


def cancel_run(session: Session, run: Run) -> None:
    """What waits is canceled; an action under way ends by itself, and no step follows it."""
    # Tasks come before their run, as where they are claimed: PostgreSQL gives one of two up that wait crosswise.
    _cancel(session, Task.run_id == run.id)
    changed = session.connection().execute(
        sa.update(Run)
        .where(Run.id == run.id, Run.finished_at.is_(None))
        .values(state=State.CANCELED, cause="canceled by a person", finished_at=clock.now())
    )
    if not changed.rowcount:
        raise ConflictError(f"this run has {run.state} and cannot be canceled any more")
    # A step that a worker added while this waited for the run.
    _cancel(session, Task.run_id == run.id)


def _cancel(session: Session, which: Any) -> int:
    changed = session.connection().execute(
        sa.update(Task)
        .where(which, Task.state.in_(_STANDING))
        .values(
            state=State.CANCELED, cause="canceled by a person", finished_at=clock.now(), fence=Task.fence + 1,
            lease_until=None,
        )
    )  # fmt: skip
    return changed.rowcount


def retry_task(session: Session, engine: Engine, task: Task) -> Replay:
    """A new task like this failed or canceled one; once, however often it is clicked."""
    if task.run_id:
        raise ConflictError("this task belongs to a run; replay the run from this step")
    if task.state not in (State.FAILED, State.CANCELED):
        raise ConflictError(f"this task is {task.state}; only one that failed or was canceled can be retried")
    new_id = ids.new("tsk")
    if not _claim_once(session, Task.id == task.id, Task.retried_by, new_id):
        return Replay(
            str(session.scalar(sa.select(Task.retried_by).where(Task.id == task.id))), repeated=True
        )
    removal.require_task_data(session.connection(), task.id)
    sealed = task.params_sealed
    if sealed is not None:
        plain = secrets.open_sealed(engine.keyring, sealed, bound_to=task.id)
        sealed = secrets.seal(engine.keyring, plain, bound_to=new_id)
    new = enqueue.NewTask(
        workspace_id=task.workspace_id,
        queue_id=task.queue_id,
        action=task.action,
        connection_id=task.connection_id,
        params=task.params,
        params_sealed=sealed,
        task_id=new_id,
        priority=task.priority,
        max_attempts=task.max_attempts,
        retry_of=task.id,
    )
    enqueue.store_task(session.connection(), new)
    return Replay(new_id, repeated=False)


def _claim_once(session: Session, which: Any, column: Any, new_id: str) -> bool:
    changed = session.connection().execute(
        sa.update(column.class_).where(which, column.is_(None)).values({column: new_id})
    )
    return bool(changed.rowcount)


def resolve_task(session: Session, task: Task, resolution: Resolution, by: str) -> None:
    """Answer an uncertain task's question: it was *done*, do it *again*, or *skip* it.

    Raises ConflictError when the task asks nothing (any more).
    """
    causes: dict[Resolution, str] = {
        "done": f"{by} said that it was done",
        "again": f"{by} said to do it again",
        "skip": f"skipped by {by}",
    }
    if not settle(session.connection(), task, resolution, cause=causes[resolution]):
        raise ConflictError(f"this task is {task.state}; there is no open question")


def settle(
    connection: sa.Connection, task: Any, resolution: Resolution, *, cause: str, output: Any = None
) -> bool:
    """Settle the question that this row of a task asks; False where it is settled, or another one by now."""
    states = {"done": State.SUCCEEDED, "again": State.QUEUED, "skip": State.CANCELED}
    over = {"due_at": clock.now()} if resolution == "again" else {"finished_at": clock.now()}
    changed = connection.execute(
        sa.update(Task)
        .where(Task.id == task.id, Task.state == State.UNCERTAIN, Task.fence == task.fence)
        .values(
            state=states[resolution], cause=cause, lease_until=None, worker_id=None, fence=Task.fence + 1,
            asked=None, ask_at=None, **over,
        )
    )  # fmt: skip
    if not changed.rowcount:
        return False
    if output is not None:
        inline, payload_id = payloads.store(connection, task.workspace_id, output)
        connection.execute(
            sa.update(Task).where(Task.id == task.id).values(output=inline, payload_id=payload_id)
        )
    if task.run_id is not None and resolution == "again":
        record.mark_run(connection, task.run_id, State.QUEUED, None)
    elif task.run_id is not None:
        _go_on(connection, task)
    return True


def _go_on(connection: sa.Connection, task: Any) -> None:
    """Queue the step after one that was settled."""
    run_id = str(task.run_id)
    run = connection.execute(sa.select(Run.rule_id, Run.version_id).where(Run.id == run_id)).one()
    following = flow.after(flow.definition(connection, run.version_id), task.path)
    if following is None:
        record.finish_run(connection, run_id, State.SUCCEEDED)
        return
    start.queue_steps(connection, [(task.workspace_id, run.rule_id, run_id, following)])
    record.mark_run(connection, run_id, State.QUEUED, None)


def replay_run(session: Session, run: Run, *, from_step: str | None = None, newest: bool = False) -> Replay:
    """A new run for the same event; once, however often it is clicked.

    `from_step` keeps what the steps before it gave. `newest` takes the rule as it is published now.
    Raises ConflictError while the run goes on and when its data were removed, InvalidError for a step that is
    not there or was not reached.
    """
    if run.finished_at is None:
        raise ConflictError(f"this run is {run.state}; cancel it or let it end, then run it again")
    connection = session.connection()
    version_id = _newest_version(connection, run) if newest else run.version_id
    place, kept = _place_and_kept(connection, run, version_id, from_step) if from_step else (None, [])
    again = start.Start(run.workspace_id, run.rule_id, version_id, run.event_id, replay_of=run.id)
    if not _claim_once(session, Run.id == run.id, Run.replayed_by, again.run_id):
        return Replay(str(session.scalar(sa.select(Run.replayed_by).where(Run.id == run.id))), repeated=True)
    if place is None:
        start.start_runs(connection, [again])
    else:
        _replay_from(connection, again, place, kept)
    # Last: its rows are locked by now, and what was removed before is seen.
    removal.require_run_data(connection, run.id, kept_steps=place is not None)
    return Replay(again.run_id, repeated=False)


def _newest_version(connection: sa.Connection, run: Run) -> str:
    found = connection.scalar(
        sa.select(RuleVersion.id)
        .where(RuleVersion.rule_id == run.rule_id)
        .order_by(RuleVersion.number.desc())
        .limit(1)
    )
    return str(found or run.version_id)


def _place_and_kept(
    connection: sa.Connection, run: Run, version_id: str, from_step: str
) -> tuple[flow.Place, Sequence[Any]]:
    """Where to begin, and the finished tasks of the steps before."""
    place = flow.find(flow.definition(connection, version_id), from_step)
    if place is None:
        raise InvalidError(
            "that step is not in this version of the rule", {"from_step": "is not a step's key"}
        )
    rows = connection.execute(
        sa.select(Task.__table__).where(Task.run_id == run.id, Task.state == State.SUCCEEDED)
    ).all()
    before = {row.path: row for row in rows if int(row.path) < int(place.path)}
    if len(before) < int(place.path):
        earlier = {"from_step": "is after a step that did not succeed"}
        raise InvalidError("a step before that one did not succeed; run the whole rule again", earlier)
    return place, list(before.values())


def _replay_from(
    connection: sa.Connection, again: start.Start, place: flow.Place, kept: Sequence[Any]
) -> None:
    start.store_run(connection, again, State.QUEUED)
    for row in kept:
        copied = row._asdict() | {"id": ids.new("tsk"), "run_id": again.run_id, "idempotency_key": None}
        connection.execute(sa.insert(Task), copied)
    start.queue_steps(connection, [(again.workspace_id, again.rule_id, again.run_id, place)])


def release_held(connection: sa.Connection, connection_id: str) -> int:
    """Queue what waited for this connection to be mended; how many tasks."""
    rows = connection.execute(
        sa.update(Task)
        .where(
            Task.connection_id == connection_id, Task.state == State.WAITING, Task.cause.startswith("held: ")
        )
        .values(state=State.QUEUED, due_at=clock.now(), cause=None)
        .returning(Task.run_id)
    ).all()
    for row in rows:
        record.mark_run(connection, row.run_id, State.QUEUED, None)
    return len(rows)
