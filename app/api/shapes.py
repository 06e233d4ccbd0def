"""How tasks, runs and events read in answers."""

from typing import Any

from app.api.fields import Instant, Json, Shown
from app.models import State
from app.services.events import EventView
from app.services.runs import RunView
from app.services.tasks import TaskView


class AttemptOut(Shown):
    """`outcome` is succeeded, failed, retried, lost or uncertain; null while it runs."""

    number: int
    started_at: Instant
    finished_at: Instant | None
    outcome: str | None
    cause: str | None


class TaskOut(Shown):
    """`due_at` is when a waiting task goes on. Secrets in `params` are dots."""

    id: str
    run: str | None
    step: str | None
    action: str | None
    connection: str | None
    state: State
    queue: str
    priority: int
    attempts: int
    max_attempts: int
    due_at: Instant
    params: Json
    output: Json
    cause: str | None
    retry_of: str | None
    retried_by: str | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class WholeTaskOut(TaskOut):
    attempt_log: list[AttemptOut]


class StepOut(Shown):
    """One task of a run."""

    id: str
    step: str | None
    action: str | None
    state: State
    attempts: int
    params: Json
    output: Json
    cause: str | None


class RunOut(Shown):
    """`filtered_by` names the filter that ended it early; it has then succeeded."""

    id: str
    rule: str
    event: str
    version: int
    state: State
    filtered_by: str | None
    cause: str | None
    replay_of: str | None
    created_at: Instant
    started_at: Instant | None
    finished_at: Instant | None


class WholeRunOut(RunOut):
    tasks: list[StepOut]


class EventOut(Shown):
    """`data` of more than 64 KB is null in lists."""

    id: str
    rule: str | None
    type: str
    key: str
    data: Json
    duplicates: int
    runs: list[str]
    received_at: Instant


def task_out(view: TaskView) -> TaskOut:
    return TaskOut(**_task(view))


def whole_task_out(view: TaskView) -> WholeTaskOut:
    log = [
        AttemptOut(
            number=each.number,
            started_at=each.started_at,
            finished_at=each.finished_at,
            outcome=each.outcome,
            cause=each.cause,
        )
        for each in view.attempts
    ]
    return WholeTaskOut(**_task(view), attempt_log=log)


def _task(view: TaskView) -> dict[str, Any]:
    row = view.row
    same = {
        name: getattr(row, name)
        for name in (
            "id", "step", "action", "state", "priority", "max_attempts", "due_at", "params", "cause", "retry_of",
            "retried_by", "created_at", "started_at", "finished_at",
        )
    }  # fmt: skip
    return same | {
        "run": row.run_id,
        "connection": row.connection_id,
        "queue": view.queue,
        "attempts": row.attempt,
        "output": view.output,
    }


def step_out(view: TaskView) -> StepOut:
    row = view.row
    return StepOut(
        id=row.id,
        step=row.step,
        action=row.action,
        state=row.state,
        attempts=row.attempt,
        params=row.params,
        output=view.output,
        cause=row.cause,
    )


def run_out(view: RunView) -> RunOut:
    return RunOut(**_run(view))


def whole_run_out(view: RunView) -> WholeRunOut:
    return WholeRunOut(**_run(view), tasks=[step_out(task) for task in view.tasks])


def _run(view: RunView) -> dict[str, Any]:
    row = view.row
    return {
        "id": row.id,
        "rule": row.rule_id,
        "event": row.event_id,
        "version": view.version,
        "state": row.state,
        "filtered_by": row.filtered_by,
        "cause": row.cause,
        "replay_of": row.replay_of,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def event_out(view: EventView) -> EventOut:
    row = view.row
    return EventOut(
        id=row.id,
        rule=view.rule_id,
        type=row.type,
        key=row.key,
        data=view.data,
        duplicates=row.duplicates,
        runs=list(view.run_ids),
        received_at=row.received_at,
    )
