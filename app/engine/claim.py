"""Claiming: which queued tasks a worker takes next, fairly among queues and workspaces."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import hold
from app.engine.known import PATIENCE, claimable
from app.engine.policy import LEASE, SUSPECT_LOST
from app.models import Queue, Run, State, Task

CLAIMED_COLUMNS = (
    Task.id, Task.workspace_id, Task.queue_id, Task.run_id, Task.path, Task.step, Task.kind, Task.action,
    Task.connection_id, Task.params, Task.params_sealed, Task.attempt, Task.max_attempts, Task.fence, Task.priority,
    Task.worker_id, Task.turn_at,
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


# More than a claim takes: those whose limits are reached must not hide the others.
_MOST_LANES = 1000


@dataclass(slots=True)
class _Lane:
    """A queue with work, and how many more may be taken from it now."""

    id: str
    room: int
    served_at: datetime | None
    # Its row is locked then, and each task taken costs a token.
    rated: bool


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

    Half of the places go to queues by priority, the other half is spread evenly, so that none starves.
    `actions` are those that the worker knows, None: any; what it does not know it leaves to one that does.
    `queue_id` names one queue, taken by a user's own program; without it those queues are left alone.
    None while outgoing work is held.
    """
    if hold.held(connection):
        return []
    now = clock.now()
    lanes = list(_lanes(connection, limit, now, queue_id))
    taken: list[Claimed] = []
    for lane, wanted in _turns(lanes, limit, lambda: limit - len(taken)):
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
            connection.execute(_SPEND, {"queue": lane.id, "taken": len(got)})
        lane.room = lane.room - len(got) if len(got) == wanted else 0
        taken.extend(got)
    if taken:
        connection.execute(_SERVED, {"queues": sorted({task.queue_id for task in taken}), "now": now})
    _mark_runs(connection, taken, now)
    return taken


def claim_suspect(connection: sa.Connection, worker_id: str, *, actions: frozenset[str]) -> list[Claimed]:
    """One that is to run alone, of those that `claim` leaves; it waits while its queue is full."""
    if hold.held(connection):
        return []
    now = clock.now()
    for row in suspects(connection, actions):
        if _room(connection, row.queue_id, 1, now) > 0:
            values = {"task": row.id, "by": worker_id, "now": now, "until": now + LEASE}
            taken = [Claimed(*found) for found in connection.execute(_TAKE_ONE, values).all()]
            if taken and row.rate_count is not None:
                connection.execute(_SPEND, {"queue": row.queue_id, "taken": 1})
            _mark_runs(connection, taken, now)
            return taken
    return []


def _turns(lanes: list[_Lane], limit: int, left: Callable[[], int]) -> Iterator[tuple[_Lane, int]]:
    """Which queue is asked for how many: the even half, longest unserved first, and then by priority."""
    if len(lanes) > 1:
        # Of an odd number, and so of a single place, chance decides which half has more.
        half = (limit + random.getrandbits(1)) // 2
        share = max(1, half // len(lanes))
        for lane in sorted(lanes, key=lambda lane: (lane.served_at is not None, lane.served_at)):
            wanted = min(share, lane.room, half - (limit - left()))
            if wanted > 0:
                yield lane, wanted
    for lane in lanes:
        wanted = min(lane.room, left())
        if wanted > 0:
            yield lane, wanted


def _lanes(connection: sa.Connection, limit: int, now: datetime, queue_id: str | None) -> Iterator[_Lane]:
    has_work = sa.exists().where(Task.queue_id == Queue.id, Task.state == State.QUEUED)
    wanted = Queue.id == queue_id if queue_id else sa.not_(Queue.external)
    found = sa.select(Queue.__table__).where(wanted, sa.not_(Queue.paused), has_work)
    ordered = found.order_by(Queue.priority.desc(), Queue.served_at.asc().nulls_first(), Queue.id).limit(
        _MOST_LANES
    )
    for row in connection.execute(ordered).all():
        room = limit
        if row.concurrency is not None or row.rate_count is not None:
            room = _room(connection, row.id, limit, now)
        if room > 0:
            yield _Lane(row.id, room, row.served_at, rated=row.rate_count is not None)


def _room(connection: sa.Connection, queue_id: str, limit: int, now: datetime) -> int:
    """What a queue's concurrency and rate leave; its row is locked, so that two workers do not both take it."""
    row = connection.execute(
        sa.select(Queue.__table__)
        .where(Queue.id == queue_id)
        .with_for_update(skip_locked=True, key_share=True)
    ).first()
    if row is None:
        return 0
    room = limit
    if row.concurrency is not None:
        running = sa.select(sa.func.count()).where(Task.queue_id == queue_id, Task.state == State.RUNNING)
        room = min(room, row.concurrency - int(connection.scalar(running) or 0))
    if row.rate_count is not None:
        tokens = _tokens(row, now)
        room = min(room, int(tokens))
        _keep_tokens(connection, queue_id, tokens, now)
    return room


def _tokens(row: Any, now: datetime) -> float:
    """A bucket of `rate_count` that refills evenly over `rate_period_s`."""
    if row.refilled_at is None:
        return float(row.rate_count)
    # A clock that was set back refills nothing, and never empties the bucket.
    elapsed_s = max(0.0, (now - row.refilled_at).total_seconds())
    full = float(row.rate_count)
    refilled: float = float(row.tokens) + elapsed_s * full / float(row.rate_period_s)
    return min(full, refilled)


def _keep_tokens(connection: sa.Connection, queue_id: str, tokens: float, now: datetime) -> None:
    connection.execute(sa.update(Queue).where(Queue.id == queue_id).values(tokens=tokens, refilled_at=now))


def _take(
    connection: sa.Connection, queue_id: str, limit: int, actions: frozenset[str] | None, **values: Any
) -> list[Claimed]:
    if actions is not None:
        values["unknown_before"] = values["now"] - PATIENCE
    rows = connection.execute(_taking(actions), {"in_queue": queue_id, "most": limit} | values).all()
    taken = [Claimed(*row) for row in rows]
    return sorted(taken, key=lambda task: (-task.priority, task.id))


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
def _taking(actions: frozenset[str] | None) -> sa.Executable:
    # As a CTE: PostgreSQL may evaluate a subquery anew for each row, and then takes more than the limit.
    due = (
        sa.select(Task.id)
        .where(
            Task.queue_id == sa.bindparam("in_queue"),
            Task.state == State.QUEUED,
            sa.or_(Task.lost < SUSPECT_LOST, sa.bindparam("suspects", type_=sa.Boolean)),
            claimable(actions),
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


_SPEND = (
    sa.update(Queue)
    .where(Queue.id == sa.bindparam("queue"))
    .values(tokens=Queue.tokens - sa.bindparam("taken", type_=sa.Float))
)
_OWN = Queue.__table__.alias("own_queue")
# Who finds a queue's row locked leaves it: claims that wait for each other would be given up by PostgreSQL.
_SERVED = (
    sa.update(Queue)
    .where(
        Queue.id.in_(
            sa.select(_OWN.c.id)
            .where(_OWN.c.id.in_(sa.bindparam("queues", expanding=True)))
            .with_for_update(skip_locked=True, key_share=True)
        )
    )
    .values(served_at=sa.bindparam("now", type_=Queue.__table__.c.served_at.type))
)
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
