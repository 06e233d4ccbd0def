"""The record of what became of a task: each write proves by its fence that the task is still ours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import payloads
from app.engine.bulk import execute_all
from app.engine.claim import Claimed
from app.engine.following import Following, go_on
from app.engine.upsert import insert_once
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


@dataclass(frozen=True, slots=True)
class Beginning:
    task: Claimed
    trace: Trace


def begin(connection: sa.Connection, beginnings: Sequence[Beginning]) -> list[None]:
    """Before actions that may not be repeated: from here on a lost worker makes the task uncertain."""
    given = [
        {"task": each.task.id, "held": each.task.fence, "worker_id": each.task.worker_id} | _given(each.trace)
        for each in beginnings
    ]
    if execute_all(connection, _SETTLE, given) != len(given):
        raise StaleError(_names(each.task for each in beginnings))
    end = {"outcome": None, "cause": None, "finished_at": None}
    _add_attempts(connection, [_attempt(each.task, each.trace) | end for each in beginnings])
    return [None] * len(beginnings)


@dataclass(frozen=True, slots=True)
class Success:
    """What a task gave, and what follows it; `stopped`: the filter did not match, for this reason."""

    task: Claimed
    trace: Trace
    output: Any
    following: Following | None = None
    stopped: str | None = None


def succeed(connection: sa.Connection, successes: Sequence[Success]) -> list[bool]:
    """Each task is done, and its run too unless a step follows; False: nothing follows, the run has ended."""
    _settle_all(connection, [(each.task, _success(connection, each)) for each in successes])
    _close_attempts(
        connection,
        [
            (each.task, each.trace, "succeeded", None)
            for each in successes
            if each.task.kind == StepKind.ACTION
        ],
    )
    execute_all(connection, _FINISH_RUN, [_run_done(each) for each in successes if _ends(each)])
    going_on = go_on(connection, [each.following for each in successes if each.following])
    return [each.task.run_id in going_on for each in successes]


def _success(connection: sa.Connection, success: Success) -> dict[str, Any]:
    inline, payload_id = payloads.store(connection, success.task.workspace_id, success.output)
    end = {"state": State.SUCCEEDED, "output": inline, "payload_id": payload_id, "cause": success.stopped}
    # An announced one has its params since it began.
    return end if success.trace.announced else end | _given(success.trace)


def _ends(success: Success) -> bool:
    return success.task.run_id is not None and success.following is None


def _run_done(success: Success) -> dict[str, Any]:
    return _run_end(
        str(success.task.run_id),
        State.SUCCEEDED,
        cause=success.stopped,
        filtered_by=success.task.step if success.stopped is not None else None,
    )


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


def hold(
    connection: sa.Connection,
    task: Claimed,
    trace: Trace,
    cause: str,
    *,
    due_at: datetime,
    turn_at: datetime | None = None,
) -> None:
    """It waits for its connection: to be mended, or for its turn there; the attempt does not count."""
    _settle(
        connection, task, State.WAITING,
        cause=cause, due_at=due_at, turn_at=turn_at, attempt=task.attempt - 1, **_given(trace),
    )  # fmt: skip
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


def finish_run(connection: sa.Connection, run_id: str, state: State, *, cause: str | None = None) -> None:
    connection.execute(_FINISH_RUN, _run_end(run_id, state, cause=cause))


def _run_end(
    run_id: str, state: State, *, cause: str | None, filtered_by: str | None = None
) -> dict[str, Any]:
    return {"run": run_id, "to": state, "why": cause, "filter": filtered_by, "now": clock.now()}


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
    _settle_all(connection, [(task, {"state": state} | values)])


def _settle_all(connection: sa.Connection, ends: Sequence[tuple[Claimed, dict[str, Any]]]) -> None:
    """Raises StaleError when one of the tasks is no longer ours: the caller's transaction must not be committed."""
    now = clock.now()
    rows = [_settled(task) | _over(values["state"], now) | values for task, values in ends]
    if execute_all(connection, _SETTLE, rows) != len(rows):
        raise StaleError(_names(task for task, _ in ends))


def _settled(task: Claimed) -> dict[str, Any]:
    return {"task": task.id, "held": task.fence, "lease_until": None, "worker_id": None, "turn_at": None}


def _over(state: State, now: datetime) -> dict[str, Any]:
    return {"finished_at": now} if state.is_terminal else {}


def _names(tasks: Iterable[Claimed]) -> str:
    return ", ".join(task.id for task in tasks)


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


def _attempt(task: Claimed, trace: Trace) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "fence": task.fence,
        "workspace_id": task.workspace_id,
        "number": task.attempt,
        "worker_id": None,
        "started_at": trace.began_at,
    }


def _add_attempts(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    execute_all(connection, _ADD_ATTEMPT[connection.dialect.name], rows)


_CLOSE_ATTEMPT = sa.update(Attempt).where(
    Attempt.task_id == sa.bindparam("task"), Attempt.fence == sa.bindparam("held")
)


def _close_attempt(
    connection: sa.Connection, task: Claimed, trace: Trace, outcome: str, *, cause: str | None = None
) -> None:
    _close_attempts(connection, [(task, trace, outcome, cause)])


def _close_attempts(
    connection: sa.Connection, ends: Sequence[tuple[Claimed, Trace, str, str | None]]
) -> None:
    """Task, trace, outcome and cause of each; those not announced get their row now."""
    announced, unannounced = [], []
    for task, trace, outcome, cause in ends:
        end = {"outcome": outcome, "cause": cause, "finished_at": clock.now()}
        if trace.announced:
            announced.append({"task": task.id, "held": task.fence} | end)
        else:
            unannounced.append(_attempt(task, trace) | end)
    execute_all(connection, _CLOSE_ATTEMPT, announced)
    _add_attempts(connection, unannounced)


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
