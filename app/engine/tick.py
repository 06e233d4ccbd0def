"""The tick, each second: everything that becomes due by the passing of time. Any number may run at once."""

import os
import socket
import time
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine import bulk_orders, confirm, hold, record, schedule, watch
from app.engine.core import Engine
from app.engine.doorbell import BELL_LIFE_S
from app.engine.policy import LEASE, MAX_LOST, RENEW_EVERY_S
from app.models import Attempt, Heartbeat, Queue, Run, State, Task
from app.models.heartbeat import TICK_ID

log = structlog.get_logger()

# Without a tick for so long, a worker looks whether the clock still has it; and then runs it itself.
LATE_S = 3.0
STALE_S = 20.0
# A tick stays to fire schedules that become due before the next one.
_STAY_S = 1.0
_GONE = timedelta(seconds=30)
_FORGET = timedelta(days=1)
_BATCH = 500
# The wall clock moving so much more than time did is no drift.
_STEP_S = 2.0
_DIED = "the worker died while doing this"


class ClockWatch:
    """Notices that the machine's clock was set: then no lease is over before its worker could renew it."""

    def __init__(self) -> None:
        self._ahead_s: float | None = None
        self._steady_at = 0.0

    def steady_now(self) -> datetime | None:
        """This moment, or None for some time after the clock was set; to be asked each second or so.

        What is done is done by this moment: the clock may be set right after it was looked at.
        """
        monotonic_s, now = time.monotonic(), clock.now()
        ahead_s = now.timestamp() - monotonic_s
        if self._ahead_s is not None and abs(ahead_s - self._ahead_s) > _STEP_S:
            log.warning("clock_was_set", by_s=round(ahead_s - self._ahead_s))
            self._steady_at = monotonic_s + 2 * RENEW_EVERY_S
        self._ahead_s = ahead_s
        return now if monotonic_s >= self._steady_at else None


# The process's clocks, and so the process's watch.
clock_watch = ClockWatch()


def run(engine: Engine) -> None:
    """One tick."""
    seen(engine, TICK_ID, "tick")
    free = not _is_held(engine)
    work = schedule.fire_due(engine) if free else 0
    work += engine.writer.submit(queue_due)
    if now := clock_watch.steady_now():
        work += engine.writer.submit(partial(end_leases, now=now))
    engine.writer.submit(mark_gone)
    if not free:
        return
    confirm.look(engine)
    work += bulk_orders.work(engine) + watch.look(engine)
    if _is_stale_work(engine):
        engine.doorbell.ring_now(force=True)
    elif work:
        engine.doorbell.ring()
    _fire_on_time(engine)


def _is_held(engine: Engine) -> bool:
    """A restored server goes on counting time and ending leases, but begins nothing."""
    with read_connection(engine.database) as connection:
        return hold.held(connection)


def _fire_on_time(engine: Engine) -> None:
    leave_at = time.monotonic() + _STAY_S
    while (left_s := leave_at - time.monotonic()) > 0:
        due_at = schedule.soonest(engine, left_s)
        if due_at is None:
            return
        time.sleep(max(0.0, (due_at - clock.now()).total_seconds()))
        if schedule.fire_due(engine):
            engine.doorbell.ring()


def seen(engine: Engine, heartbeat_id: str, kind: str) -> None:
    """A process, or the tick itself, says that it is there."""
    now = clock.now()

    def unit(connection: sa.Connection) -> None:
        changed = connection.execute(
            sa.update(Heartbeat)
            .where(Heartbeat.id == heartbeat_id)
            .values(seen_at=now, gone_at=None, pid=os.getpid())
        )
        if not changed.rowcount:
            row = {"id": heartbeat_id, "kind": kind, "host": socket.gethostname(), "pid": os.getpid()}
            connection.execute(sa.insert(Heartbeat), row | {"started_at": now, "seen_at": now})

    engine.writer.submit(unit)


def age_s(engine: Engine) -> float:
    """Seconds since the last tick; infinite when there was none."""
    with read_connection(engine.database) as connection:
        seen_at = connection.scalar(sa.select(Heartbeat.seen_at).where(Heartbeat.id == TICK_ID))
    return float("inf") if seen_at is None else abs((clock.now() - seen_at).total_seconds())


def queue_due(connection: sa.Connection) -> int:
    """Waiting tasks whose time has come are queued; how many."""
    due = (
        sa.select(Task.id)
        .where(Task.state == State.WAITING, Task.due_at <= clock.now())
        .order_by(Task.due_at)
        .limit(_BATCH)
        .with_for_update(skip_locked=True)
    )
    rows = connection.execute(
        sa.update(Task)
        .where(Task.id.in_(due), Task.state == State.WAITING)
        .values(state=State.QUEUED)
        .returning(Task.run_id)
    ).all()
    _queue_runs(connection, [row.run_id for row in rows if row.run_id])
    return len(rows)


def _queue_runs(connection: sa.Connection, run_ids: list[str]) -> None:
    if run_ids:
        connection.execute(
            sa.update(Run).where(Run.id.in_(run_ids), Run.finished_at.is_(None)).values(state=State.QUEUED)
        )


def end_leases(connection: sa.Connection, *, now: datetime) -> int:
    """Tasks whose worker went away: tried again, or uncertain when sending had begun; how many."""
    # Longer than any worker's lease: given before the clock was set back, and never renewed.
    impossible = sa.and_(Task.lease_until > now + 2 * LEASE, sa.not_(Queue.external))
    lost = connection.execute(
        sa.select(Task.__table__, Queue.external)
        .join(Queue, Queue.id == Task.queue_id)
        .where(Task.state == State.RUNNING, sa.or_(Task.lease_until < now, impossible))
        .limit(_BATCH)
        .with_for_update(skip_locked=True, of=Task.__table__)
    ).all()
    for row in lost:
        _end_lease(connection, row)
    return len(lost)


def _end_lease(connection: sa.Connection, row: Any) -> None:
    log.warning("lease_ended", task=row.id, worker=row.worker_id, lost=row.lost + 1)
    sending = connection.execute(
        sa.update(Attempt)
        .where(Attempt.task_id == row.id, Attempt.fence == row.fence, Attempt.finished_at.is_(None))
        .values(outcome="uncertain", cause=_DIED, finished_at=clock.now())
    )
    if not sending.rowcount:
        _add_lost(connection, row)
    if sending.rowcount:
        cause = "the worker died after it began to send and before it could write down the end; was it done?"
        _move(connection, row, State.UNCERTAIN, cause)
        record.mark_run(connection, row.run_id, State.UNCERTAIN, cause)
    elif row.lost + 1 >= MAX_LOST and not row.external:
        cause = f"{_DIED}, {MAX_LOST} times; look at what this step is given"
        _move(connection, row, State.FAILED, cause)
        if row.run_id:
            record.finish_run(connection, row.run_id, State.FAILED, cause=f"{row.step}: {cause}")
    else:
        _move(connection, row, State.QUEUED, f"{_DIED}; it is tried again")
        record.mark_run(connection, row.run_id, State.QUEUED, None)


def _add_lost(connection: sa.Connection, row: Any) -> None:
    connection.execute(
        sa.insert(Attempt),
        {
            "task_id": row.id,
            "fence": row.fence,
            "workspace_id": row.workspace_id,
            "number": row.attempt,
            "worker_id": row.worker_id,
            # Written by nobody at its time; the first one's is known.
            "started_at": row.started_at if row.attempt == 1 else row.lease_until - LEASE,
            "finished_at": clock.now(),
            "outcome": "lost",
            "cause": _DIED,
        },
    )


def _move(connection: sa.Connection, row: Any, state: State, cause: str) -> None:
    now = clock.now()
    over = {"finished_at": now} if state.is_terminal else {}
    connection.execute(
        sa.update(Task)
        .where(Task.id == row.id, Task.fence == row.fence, Task.state == State.RUNNING)
        # A new fence at once: the old worker may yet wake up.
        .values(
            state=state, cause=cause, lost=row.lost + 1, fence=row.fence + 1, lease_until=None, worker_id=None,
            due_at=now, **over,
        )
    )  # fmt: skip


def mark_gone(connection: sa.Connection) -> None:
    now = clock.now()
    connection.execute(
        sa.update(Heartbeat)
        .where(Heartbeat.seen_at < now - _GONE, Heartbeat.gone_at.is_(None), Heartbeat.id != TICK_ID)
        .values(gone_at=now)
    )
    connection.execute(sa.delete(Heartbeat).where(Heartbeat.gone_at < now - _FORGET))


def _is_stale_work(engine: Engine) -> bool:
    """Work that a ring should have brought to a worker by now."""
    with read_connection(engine.database) as connection:
        found = connection.scalar(
            sa.select(Task.id)
            .join(Queue, Queue.id == Task.queue_id)
            .where(
                Task.state == State.QUEUED,
                Task.due_at < clock.now() - timedelta(seconds=BELL_LIFE_S),
                sa.not_(Queue.paused),
                sa.not_(Queue.external),
            )
            .limit(1)
        )
    return found is not None
