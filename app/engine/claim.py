"""Claiming: which queued tasks a worker takes next, fairly among queues, workspaces and rules."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import crowd, hold
from app.engine.known import PATIENCE, claimable
from app.engine.lanes import Lane, lanes, note_served, room_in, spend
from app.engine.policy import LEASE, SUSPECT_LOST
from app.models import Queue, Run, State, Task

CLAIMED_COLUMNS = (
    Task.id, Task.workspace_id, Task.queue_id, Task.run_id, Task.path, Task.step, Task.kind, Task.action,
    Task.connection_id, Task.params, Task.params_sealed, Task.attempt, Task.max_attempts, Task.fence, Task.priority,
    Task.worker_id, Task.turn_at, Task.rule_id,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claimed:
    """A task that is ours while its lease lasts; `fence` proves it at every write."""

    id: str
    workspace_id: str
    queue_id: str
    run_id: str | None
    path: str
    step: str | None
    kind: str
    action: str | None
    connection_id: str | None
    params: Any
    params_sealed: str | None
    attempt: int
    max_attempts: int
    fence: int
    priority: int
    worker_id: str
    turn_at: datetime | None
    rule_id: str


def claim(
    connection: sa.Connection,
    worker_id: str,
    limit: int,
    *,
    actions: frozenset[str] | None,
    queue_id: str | None = None,
    lease: Any = LEASE,
) -> list[Claimed]:
    """Take up to `limit` tasks in the caller's transaction, but for those that are to run alone.

    Half of the places go to queues by priority, the other half is spread evenly, so that none starves; likewise
    to the rules in a queue that has more tasks than there are places.
    `actions` are those that the worker knows, None: any; what it does not know it leaves to one that does.
    `queue_id` names one queue, taken by a user's own program; without it those queues are left alone.
    None while outgoing work is held.
    """
    if hold.held(connection):
        return []
    now = clock.now()
    found = list(lanes(connection, limit, now, queue_id))
    taken: list[Claimed] = []
    for lane, wanted in _turns(found, limit, lambda: limit - len(taken)):
        got = _take(
            connection,
            lane.id,
            wanted,
            actions,
            by=worker_id,
            now=now,
            until=now + lease,
            suspects=queue_id is not None,
        )
        if lane.rated and got:
            spend(connection, lane.id, len(got))
        lane.room = lane.room - len(got) if len(got) == wanted else 0
        taken.extend(got)
    if taken:
        note_served(connection, {task.queue_id for task in taken}, now)
    _mark_runs(connection, taken, now)
    return taken


def claim_suspect(connection: sa.Connection, worker_id: str, *, actions: frozenset[str]) -> list[Claimed]:
    """One that is to run alone, of those that `claim` leaves; it waits while its queue is full."""
    if hold.held(connection):
        return []
    now = clock.now()
    for row in suspects(connection, actions):
        if room_in(connection, row.queue_id, 1, now) > 0:
            values = {"task": row.id, "by": worker_id, "now": now, "until": now + LEASE}
            taken = [Claimed(*found) for found in connection.execute(_TAKE_ONE, values).all()]
            if taken and row.rate_count is not None:
                spend(connection, row.queue_id, 1)
            _mark_runs(connection, taken, now)
            return taken
    return []


def _turns(lanes: list[Lane], limit: int, left: Callable[[], int]) -> Iterator[tuple[Lane, int]]:
    """Which queue is asked for how many: the even half, longest unserved first, and then by priority."""
    if len(lanes) > 1:
        half = crowd.halved(limit)
        share = max(1, half // len(lanes))
        for lane in sorted(lanes, key=lambda lane: (lane.served_at is not None, lane.served_at)):
            wanted = min(share, lane.room, half - (limit - left()))
            if wanted > 0:
                yield lane, wanted
    for lane in lanes:
        wanted = min(lane.room, left())
        if wanted > 0:
            yield lane, wanted


def _take(
    connection: sa.Connection, queue_id: str, limit: int, actions: frozenset[str] | None, **values: Any
) -> list[Claimed]:
    if actions is not None:
        values["unknown_before"] = values["now"] - PATIENCE
    taken: list[Claimed] = []
    for rule_id, share in crowd.shares(connection, queue_id, limit).items():
        asked = {"most": share, "of_rule": rule_id} | values
        taken += _taken(connection, _taking(actions, of_rule=True), queue_id, asked)
    return taken + _taken(connection, _taking(actions), queue_id, {"most": limit - len(taken)} | values)


def _taken(
    connection: sa.Connection, taking: sa.Executable, queue_id: str, asked: dict[str, Any]
) -> list[Claimed]:
    rows = connection.execute(taking, {"in_queue": queue_id} | asked).all()
    return sorted((Claimed(*row) for row in rows), key=lambda task: (-task.priority, task.id))


_TAKEN: dict[str, Any] = {
    "state": State.RUNNING,
    "attempt": Task.attempt + 1,
    "fence": Task.fence + 1,
    "worker_id": sa.bindparam("by"),
    "started_at": sa.func.coalesce(
        Task.started_at, sa.bindparam("now", type_=Task.__table__.c.started_at.type)
    ),
    "lease_until": sa.bindparam("until", type_=Task.__table__.c.lease_until.type),
    "cause": None,
}


@cache
def _taking(actions: frozenset[str] | None, *, of_rule: bool = False) -> sa.Executable:
    # As a CTE: PostgreSQL may evaluate a subquery anew for each row, and then takes more than the limit.
    due = (
        sa.select(Task.id)
        .where(
            Task.queue_id == sa.bindparam("in_queue"),
            Task.state == State.QUEUED,
            sa.or_(Task.lost < SUSPECT_LOST, sa.bindparam("suspects", type_=sa.Boolean)),
            claimable(actions),
            Task.rule_id == sa.bindparam("of_rule") if of_rule else sa.true(),
        )
        .order_by(Task.priority.desc(), Task.due_at, Task.id)
        .limit(sa.bindparam("most"))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    return (
        sa.update(Task)
        # The state again: a subquery may be evaluated before its rows are locked.
        .where(Task.id.in_(sa.select(due.c.id)), Task.state == State.QUEUED)
        .values(_TAKEN)
        .returning(*CLAIMED_COLUMNS)
    )


_TAKE_ONE = (
    sa.update(Task)
    .where(Task.id == sa.bindparam("task"), Task.state == State.QUEUED)
    .values(_TAKEN)
    .returning(*CLAIMED_COLUMNS)
)
_SUSPECTS = (
    sa.select(Task.id, Task.queue_id, Queue.rate_count)
    .join(Queue, Queue.id == Task.queue_id)
    .where(
        Task.state == State.QUEUED,
        # As written in the index that finds them.
        Task.lost >= sa.literal_column(str(SUSPECT_LOST)),
        sa.not_(Queue.paused),
        sa.not_(Queue.external),
    )
    .order_by(Task.due_at)
    .limit(20)
)


@cache
def _suspects(actions: frozenset[str]) -> sa.Executable:
    return _SUSPECTS.where(claimable(actions))


def suspects(connection: sa.Connection, actions: frozenset[str]) -> Sequence[Any]:
    """Of what is to run alone the longest due: id, queue, and whether that has a rate."""
    return connection.execute(_suspects(actions), {"unknown_before": clock.now() - PATIENCE}).all()


_MARK_RUN = (
    sa.update(Run)
    .where(Run.id.in_(sa.bindparam("runs", expanding=True)), Run.finished_at.is_(None))
    .values(
        state=State.RUNNING,
        cause=None,
        started_at=sa.func.coalesce(
            Run.started_at, sa.bindparam("now", type_=Run.__table__.c.started_at.type)
        ),
    )
)


def _mark_runs(connection: sa.Connection, taken: list[Claimed], now: datetime) -> None:
    runs = [task.run_id for task in taken if task.run_id]
    if runs:
        connection.execute(_MARK_RUN, {"runs": runs, "now": now})
