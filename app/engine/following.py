"""The step after one that is done: its row, put beside it in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine.bulk import execute_all
from app.engine.claim import Claimed
from app.engine.flow import Place
from app.engine.policy import LEASE
from app.engine.start import STEP_COLUMNS, queue_named, queue_names, step_row
from app.models import Run, State, Task

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

    run_id: str
    values: dict[str, Any]
    task: Claimed | None


def follow(task: Claimed, place: Place, *, goes_on: bool = True) -> Following:
    """The next step: in the same worker where it `goes_on`, else queued; in the queue that it names, or this one."""
    now, same_queue = clock.now(), place.queue is None
    mine = same_queue and goes_on
    row = step_row(task.workspace_id, task.rule_id, str(task.run_id), place)
    row |= {"worker_id": None, "lease_until": None, "started_at": None}
    if mine:
        row |= {
            "state": State.RUNNING, "attempt": 1, "fence": 1, "priority": task.priority,
            "worker_id": task.worker_id, "lease_until": now + LEASE, "started_at": now,
        }  # fmt: skip
    values = {f"new_{name}": row[name] for name in _GO_ON_COLUMNS} | queue_names(task.workspace_id, place)
    values["same_queue"] = task.queue_id if same_queue else None
    if not mine:
        return Following(str(task.run_id), values, None)
    known = row | {"queue_id": task.queue_id, "params": None, "params_sealed": None, "turn_at": None}
    return Following(
        str(task.run_id), values, Claimed(**{field.name: known[field.name] for field in fields(Claimed)})
    )


def go_on(connection: sa.Connection, followings: Sequence[Following]) -> set[str]:
    """Put the next steps down; the runs that got theirs, which are those that were not canceled meanwhile."""
    rows = [each.values | {"of_run": each.run_id} for each in followings]
    if execute_all(connection, _GO_ON, rows) == len(rows):
        return {each.run_id for each in followings}
    added = sa.select(Task.run_id).where(Task.id.in_([row["new_id"] for row in rows]))
    return {str(run_id) for run_id in connection.scalars(added)}
