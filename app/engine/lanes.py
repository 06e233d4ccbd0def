"""Queues with work, and how many more tasks their concurrency and rate leave to be taken now."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app.models import Queue, State, Task

# More than a claim takes: those whose limits are reached must not hide the others.
_MOST_LANES = 1000


@dataclass(slots=True)
class Lane:
    """A queue with work, and how many more may be taken from it now."""

    id: str
    room: int
    served_at: datetime | None
    # Its row is locked then, and each task taken costs a token.
    rated: bool


def lanes(connection: sa.Connection, limit: int, now: datetime, queue_id: str | None) -> Iterator[Lane]:
    """The best priority first, then the longest unserved; of `queue_id` alone where that is given."""
    has_work = sa.exists().where(Task.queue_id == Queue.id, Task.state == State.QUEUED)
    wanted = Queue.id == queue_id if queue_id else sa.not_(Queue.external)
    found = sa.select(Queue.__table__).where(wanted, sa.not_(Queue.paused), has_work)
    ordered = found.order_by(Queue.priority.desc(), Queue.served_at.asc().nulls_first(), Queue.id).limit(
        _MOST_LANES
    )
    for row in connection.execute(ordered).all():
        room = limit
        if row.concurrency is not None or row.rate_count is not None:
            room = room_in(connection, row.id, limit, now)
        if room > 0:
            yield Lane(row.id, room, row.served_at, rated=row.rate_count is not None)


def room_in(connection: sa.Connection, queue_id: str, limit: int, now: datetime) -> int:
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


def spend(connection: sa.Connection, queue_id: str, taken: int) -> None:
    """To be called for each queue with a rate that tasks were taken from."""
    connection.execute(_SPEND, {"queue": queue_id, "taken": taken})


def note_served(connection: sa.Connection, queue_ids: Iterable[str], now: datetime) -> None:
    connection.execute(_SERVED, {"queues": sorted(queue_ids), "now": now})


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
