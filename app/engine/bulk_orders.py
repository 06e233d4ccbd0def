"""One click for many failures, done a small batch at a time by whoever has time: each member once."""

from functools import partial
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa
import structlog
from sqlalchemy.orm import Session

from app import clock
from app.database import read_connection
from app.engine import life
from app.engine.batches import Stretch
from app.engine.core import Engine
from app.errors import BitQueueError, ConflictError, NotFoundError
from app.models import BulkOrder, Run, State, Task

log = structlog.get_logger()

# Again from where it stopped, from the start, from the start by the rule's newest version; put aside; and the
# three answers to the question of what is uncertain.
What = Literal["retry", "replay", "newest", "dismiss", "done", "again", "skip"]
WHATS: Final = get_args(What)

_STRETCH_S = 0.3
_AT_ONCE = 20


def work(engine: Engine, *, seconds: float = _STRETCH_S, order_id: str | None = None) -> int:
    """Go on with orders, or with one, for a little; how many members were done.

    Any number of processes may call it at once, each second and after a click.
    """
    stretch, done = Stretch(engine, seconds), 0
    for each in [order_id] if order_id else _under_way(engine):
        done += stretch.repeat(partial(_batch, engine, each))
    return done


def _under_way(engine: Engine) -> list[str]:
    query = (
        sa.select(BulkOrder.id).where(BulkOrder.finished_at.is_(None)).order_by(BulkOrder.id).limit(_AT_ONCE)
    )
    with read_connection(engine.database) as connection:
        return list(connection.scalars(query))


def _batch(engine: Engine, order_id: str, connection: sa.Connection, size: int) -> int:
    """The next members; 0 when it is finished, or somebody else is at it."""
    order = connection.execute(
        sa.select(BulkOrder.__table__)
        .where(BulkOrder.id == order_id, BulkOrder.finished_at.is_(None))
        .with_for_update(skip_locked=True)
    ).first()
    if order is None:
        return 0
    members = order.members[order.done : order.done + size]
    causes = [cause for cause in (_cause(connection, engine, order, member) for member in members) if cause]
    done = order.done + len(members)
    connection.execute(
        sa.update(BulkOrder)
        .where(BulkOrder.id == order_id)
        .values(
            done=done,
            skipped=BulkOrder.skipped + len(causes),
            cause=causes[-1] if causes else order.cause,
            finished_at=clock.now() if done >= order.total else None,
        )
    )
    return len(members)


def _cause(connection: sa.Connection, engine: Engine, order: Any, member: str) -> str | None:
    """Why this one could not be done; None when it was, by this order or before it."""
    try:
        # What one of them leaves half done must not stay.
        with Session(connection, join_transaction_mode="create_savepoint") as session, session.begin():
            _do(session, engine, order, member)
    except BitQueueError as error:
        log.info("bulk_order_skipped", order=order.id, member=member, cause=str(error))
        return str(error)
    return None


def _do(session: Session, engine: Engine, order: Any, member: str) -> None:
    """Raises what the same for one alone raises."""
    what: What = order.what
    row: Run | Task | None = (
        session.get(Run, member) if member.startswith("run_") else session.get(Task, member)
    )
    if row is None or row.workspace_id != order.workspace_id:
        raise NotFoundError("it was removed meanwhile")
    if what in {"done", "again", "skip"}:
        _resolve(session, row, what, order.made_by_name)
    elif what == "dismiss":
        _dismiss(session, row)
    elif isinstance(row, Task):
        life.retry_task(session, engine, row)
    else:
        stopped = _standing(session, row, State.FAILED) if what == "retry" else None
        from_step = stopped.step if stopped else None
        life.replay_run(session, row, from_step=from_step, newest=what == "newest")


def _resolve(session: Session, row: Run | Task, what: Any, by: str) -> None:
    task = row if isinstance(row, Task) else _standing(session, row, State.UNCERTAIN)
    if task is None:
        raise ConflictError("its question was answered meanwhile")
    life.resolve_task(session, task, what, by)


def _standing(session: Session, run: Run, state: State) -> Task | None:
    """Of a run, the task that stands in this state."""
    return session.scalars(
        sa.select(Task).where(Task.run_id == run.id, Task.state == state).order_by(Task.id.desc()).limit(1)
    ).first()


def _dismiss(session: Session, row: Run | Task) -> None:
    model = type(row)
    changed = session.connection().execute(
        sa.update(model)
        .where(model.id == row.id, model.state == State.FAILED)
        .values(
            dismissed_at=sa.func.coalesce(
                model.dismissed_at, sa.literal(clock.now(), model.dismissed_at.type)
            )
        )
    )
    if not changed.rowcount:
        raise ConflictError("only what failed can be put aside")
