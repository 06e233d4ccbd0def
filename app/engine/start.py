"""Where a run starts: its row, and the row of the step it begins with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.engine import flow, policy
from app.engine.bulk import execute_all
from app.models import Queue, Run, State, Task
from app.models.queue import DEFAULT_QUEUE


@dataclass(frozen=True, slots=True)
class Start:
    """What a run executes, and for which event; `depth` as in `Arrival`."""

    workspace_id: str
    rule_id: str
    version_id: str
    event_id: str
    replay_of: str | None = None
    depth: int = 0
    run_id: str = field(default_factory=lambda: ids.new("run"))


def start_runs(connection: sa.Connection, starts: Sequence[Start]) -> None:
    """Runs with their first tasks queued. A rule that keeps starting itself gets a failed run that says so."""
    places = [flow.first(flow.definition(connection, start.version_id)) for start in starts]
    execute_all(connection, _INSERT_RUN, map(_first_row, starts, places))
    queue_steps(
        connection,
        [
            (start.workspace_id, start.rule_id, start.run_id, place)
            for start, place in zip(starts, places, strict=True)
            if place and not _is_loop(start)
        ],
    )


def _is_loop(start: Start) -> bool:
    return start.depth >= policy.MAX_DEPTH


def _first_row(start: Start, place: flow.Place | None) -> dict[str, Any]:
    if _is_loop(start):
        cause = (
            f"stopped: this rule started itself {start.depth} times in a row; change it so that it does not"
        )
        return run_row(start, State.FAILED, cause=cause)
    return run_row(start, State.QUEUED if place else State.SUCCEEDED)


def run_row(start: Start, state: State, *, cause: str | None = None) -> dict[str, Any]:
    now = clock.now()
    ended_at = now if state.is_terminal else None
    return {
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
    }


_INSERT_RUN = sa.insert(Run)


def store_run(connection: sa.Connection, start: Start, state: State) -> None:
    connection.execute(_INSERT_RUN, run_row(start, state))


def step_row(workspace_id: str, rule_id: str, run_id: str, place: flow.Place) -> dict[str, Any]:
    """The columns of a queued task for a rule's step, but for its queue."""
    now = clock.now()
    return {
        "id": ids.new("tsk"),
        "workspace_id": workspace_id,
        "rule_id": rule_id,
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


def queue_steps(connection: sa.Connection, steps: Sequence[tuple[str, str, str, flow.Place]]) -> None:
    """`steps`: workspace, rule, run and place of each."""
    rows = [step_row(*step) | queue_names(step[0], step[3]) for step in steps]
    execute_all(connection, _INSERT_STEP, rows)


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
    "id", "workspace_id", "rule_id", "run_id", "path", "step", "kind", "action", "connection_id", "state", "priority",
    "due_at", "attempt", "max_attempts", "lost", "fence", "created_at",
)  # fmt: skip
_INSERT_STEP = sa.insert(Task).values(queue_id=queue_named())
