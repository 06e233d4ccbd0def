"""The record of what became of a task: each write proves by its fence that the task is still ours."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import payloads
from app.engine.claim import Claimed
from app.engine.enqueue import STEP_COLUMNS, insert_once, queue_named, queue_names, step_row
from app.engine.flow import Place
from app.engine.policy import LEASE
from app.models import Attempt, Run, State, StepKind, Task


class StaleError(Exception):
    """Somebody else has the task now, or it has ended: what this worker knows no longer counts."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What a try leaves behind; `params` are what a rule's step was given, masked."""

    began_at: datetime
    params: Any = None
    # Whether the attempt's row was written before the action, because it may not be repeated.
    announced: bool = False


def begin(connection: sa.Connection, task: Claimed, trace: Trace) -> None:
    """Before an action that may not be repeated: from here on a lost worker makes the task uncertain."""
    held = {"task": task.id, "held": task.fence, "worker_id": task.worker_id}
    if not connection.execute(_SETTLE, held | _given(trace)).rowcount:
        raise StaleError(task.id)
    _add_attempt(connection, task, trace, outcome=None, cause=None, finished_at=None)


def succeed(
    connection: sa.Connection,
    task: Claimed,
    trace: Trace,
    output: Any,
    *,
    following: "Following | None" = None,
) -> bool:
    """The task is done, and its run too unless a step follows; False: nothing follows, the run has ended."""
    inline, payload_id = payloads.store(connection, task.workspace_id, output)
    _settle(
        connection, task, State.SUCCEEDED,
        output=inline, payload_id=payload_id, cause=None, **_given(trace),
    )  # fmt: skip
    if task.kind is StepKind.ACTION:
        _close_attempt(connection, task, trace, "succeeded")
    if task.run_id is None:
        return False
    if following is None:
        finish_run(connection, task.run_id, State.SUCCEEDED)
        return False
    return bool(connection.execute(_GO_ON, following.values | {"of_run": task.run_id}).rowcount)


def stop_at_filter(connection: sa.Connection, task: Claimed, output: Any, cause: str) -> None:
    """The filter did not match: the run ends here, and says why."""
    _settle(connection, task, State.SUCCEEDED, output=output, cause=cause)
    finish_run(connection, str(task.run_id), State.SUCCEEDED, cause=cause, filtered_by=task.step)


def fail(connection: sa.Connection, task: Claimed, trace: Trace, cause: str) -> None:
    _settle(connection, task, State.FAILED, cause=cause, **_given(trace))
    _close_attempt(connection, task, trace, "failed", cause=cause)
    if task.run_id:
        finish_run(connection, task.run_id, State.FAILED, cause=f"{task.step}: {cause}")


def retry(connection: sa.Connection, task: Claimed, trace: Trace, cause: str, *, due_at: datetime) -> None:
    """It goes back to waiting, to be tried again at `due_at`."""
    _settle(connection, task, State.WAITING, cause=cause, due_at=due_at, **_given(trace))
    _close_attempt(connection, task, trace, "retried", cause=cause)
    mark_run(connection, task.run_id, State.WAITING, cause)


def hold(connection: sa.Connection, task: Claimed, trace: Trace, cause: str, *, due_at: datetime) -> None:
    """It waits for a person to mend its connection; the attempt does not count."""
    _settle(
        connection, task, State.WAITING, cause=cause, due_at=due_at, attempt=task.attempt - 1, **_given(trace)
    )
    if trace.announced:
        _close_attempt(connection, task, trace, "held", cause=cause)
    mark_run(connection, task.run_id, State.WAITING, cause)


def ask(connection: sa.Connection, task: Claimed, trace: Trace, cause: str) -> None:
    """Nobody knows whether it was done: it stands as uncertain until somebody says."""
    _settle(connection, task, State.UNCERTAIN, cause=cause, **_given(trace))
    _close_attempt(connection, task, trace, "uncertain", cause=cause)
    mark_run(connection, task.run_id, State.UNCERTAIN, cause)


def release(connection: sa.Connection, task: Claimed) -> None:
    """Give an unstarted task back at once, as if it had not been claimed."""
    _settle(connection, task, State.QUEUED, attempt=task.attempt - 1)
    mark_run(connection, task.run_id, State.QUEUED, None)


def finish_run(
    connection: sa.Connection,
    run_id: str,
    state: State,
    *,
    cause: str | None = None,
    filtered_by: str | None = None,
) -> None:
    connection.execute(
        _FINISH_RUN,
        {"run": run_id, "to": state, "why": cause, "filter": filtered_by, "now": clock.now()},
    )


def mark_run(connection: sa.Connection, run_id: str | None, state: State, cause: str | None) -> None:
    """A run shows the state of the task it stands at; a task whose run was canceled meanwhile ends with it."""
    if run_id is None:
        return
    changed = connection.execute(
        sa.update(Run).where(Run.id == run_id, Run.finished_at.is_(None)).values(state=state, cause=cause)
    )
    if not changed.rowcount:
        connection.execute(_END_WITH_RUN, {"run": run_id, "now": clock.now()})


_SETTLE = sa.update(Task).where(
    Task.id == sa.bindparam("task"), Task.fence == sa.bindparam("held"), Task.state == State.RUNNING
)


def _settle(connection: sa.Connection, task: Claimed, state: State, **values: Any) -> None:
    """Raises StaleError, having changed nothing, when the task is no longer ours."""
    over = {"finished_at": clock.now()} if state.is_terminal else {}
    changed = connection.execute(
        _SETTLE,
        {"task": task.id, "held": task.fence, "state": state, "lease_until": None, "worker_id": None}
        | over
        | values,
    )
    if not changed.rowcount:
        raise StaleError(task.id)


def _given(trace: Trace) -> dict[str, Any]:
    return {} if trace.params is None else {"params": trace.params}


_CANCELED = "its run was canceled"
_END_WITH_RUN = (
    sa.update(Task)
    .where(Task.run_id == sa.bindparam("run"), Task.state.in_((State.QUEUED, State.WAITING, State.UNCERTAIN)))
    .values(
        state=State.CANCELED,
        cause=sa.func.coalesce(sa.literal(f"{_CANCELED}; before that: ") + Task.cause, _CANCELED),
        finished_at=sa.bindparam("now", type_=Task.__table__.c.finished_at.type),
        fence=Task.fence + 1,
    )
)

# Once: a commit whose answer got lost is tried again.
_ADD_ATTEMPT = insert_once(Attempt, "task_id", "fence")


def _add_attempt(connection: sa.Connection, task: Claimed, trace: Trace, **end: Any) -> None:
    connection.execute(
        _ADD_ATTEMPT[connection.dialect.name],
        {
            "task_id": task.id,
            "fence": task.fence,
            "workspace_id": task.workspace_id,
            "number": task.attempt,
            "worker_id": None,
            "started_at": trace.began_at,
            **end,
        },
    )


_CLOSE_ATTEMPT = sa.update(Attempt).where(
    Attempt.task_id == sa.bindparam("task"), Attempt.fence == sa.bindparam("held")
)


def _close_attempt(
    connection: sa.Connection, task: Claimed, trace: Trace, outcome: str, *, cause: str | None = None
) -> None:
    end = {"outcome": outcome, "cause": cause, "finished_at": clock.now()}
    if trace.announced:
        connection.execute(_CLOSE_ATTEMPT, {"task": task.id, "held": task.fence} | end)
        return
    _add_attempt(connection, task, trace, **end)


_FINISH_RUN = (
    sa.update(Run)
    .where(Run.id == sa.bindparam("run"), Run.finished_at.is_(None))
    .values(
        state=sa.bindparam("to", type_=Run.__table__.c.state.type),
        cause=sa.bindparam("why"),
        filtered_by=sa.bindparam("filter"),
        finished_at=sa.bindparam("now", type_=Run.__table__.c.finished_at.type),
    )
)

_GO_ON_COLUMNS = (*STEP_COLUMNS, "worker_id", "lease_until", "started_at")
# Only while the run stands: a run that was canceled meanwhile gets no further step.
_GO_ON = (
    sa.insert(Task)
    .from_select(
        [*_GO_ON_COLUMNS, "queue_id"],
        sa.select(
            *(sa.bindparam(f"new_{name}", type_=Task.__table__.c[name].type) for name in _GO_ON_COLUMNS),
            sa.func.coalesce(sa.bindparam("same_queue", type_=sa.String), queue_named()),
        )
        .select_from(Run.__table__)
        .where(Run.id == sa.bindparam("of_run"), Run.finished_at.is_(None))
        # Whoever cancels the run waits for this step, and then finds it.
        .with_for_update(read=True, of=Run.__table__),
        include_defaults=False,
    )
    # Without this PostgreSQL's driver says -1 for an INSERT.
    .execution_options(preserve_rowcount=True)
)


@dataclass(frozen=True, slots=True)
class Following:
    """The next step's row; and its task, where the same worker goes on with it."""

    values: dict[str, Any]
    task: Claimed | None


def following(task: Claimed, place: Place) -> Following:
    """The next step goes on in the same worker, unless it names a queue: then it queues there."""
    now, mine = clock.now(), place.queue is None
    row = step_row(task.workspace_id, str(task.run_id), place)
    row |= {"worker_id": None, "lease_until": None, "started_at": None}
    if mine:
        row |= {
            "state": State.RUNNING, "attempt": 1, "fence": 1, "priority": task.priority,
            "worker_id": task.worker_id, "lease_until": now + LEASE, "started_at": now,
        }  # fmt: skip
    values = {f"new_{name}": row[name] for name in _GO_ON_COLUMNS} | queue_names(task.workspace_id, place)
    values["same_queue"] = task.queue_id if mine else None
    if not mine:
        return Following(values, None)
    known = row | {"queue_id": task.queue_id, "params": None, "params_sealed": None}
    return Following(values, Claimed(**{field.name: known[field.name] for field in fields(Claimed)}))
