"""How fast connections may be used: the limit a person sets, and how many tasks wait for their turn."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import pace
from app.errors import InvalidError
from app.models import Pace, Role, State, Task
from app.services import connections
from app.services.access import Actor, audit, require, scoped

HIGHEST = 100_000


@dataclass(frozen=True, slots=True)
class PaceView:
    """`learnt_per_minute` counts where nobody set a limit. `waiting` tasks have gone on by `until`."""

    per_minute: int | None
    learnt_per_minute: int | None
    rests_until: datetime | None
    cause: str | None
    waiting: int
    until: datetime | None


FREE = PaceView(None, None, None, None, 0, None)


def views(session: Session, actor: Actor) -> dict[str, PaceView]:
    """By connection; those that nothing is known of are left out."""
    now = clock.now()
    waiting = {row.connection_id: row for row in session.execute(_waiting(actor))}
    return {
        row.connection_id: _view(row, waiting.get(row.connection_id), now)
        for row in session.scalars(scoped(Pace, actor))
    }


def _view(row: Pace, waiting: Any, now: datetime) -> PaceView:
    rests = row.rests_until if row.rests_until and row.rests_until > now else None
    learnt = pace.limit_now(row, now) if row.per_minute is None else None
    return PaceView(
        per_minute=row.per_minute,
        learnt_per_minute=learnt,
        rests_until=rests,
        cause=row.cause if rests else None,
        waiting=waiting[1] if waiting else 0,
        until=waiting[2] if waiting else None,
    )


def _waiting(actor: Actor) -> Any:
    return (
        sa.select(Task.connection_id, sa.func.count(), sa.func.max(Task.due_at))
        .where(
            Task.workspace_id == actor.workspace_id,
            Task.state == State.WAITING,
            Task.cause.startswith(pace.WAITS),
        )
        .group_by(Task.connection_id)
    )


def limit(session: Session, actor: Actor, connection_id: str, per_minute: int | None) -> None:
    """At most so many calls a minute over all rules; None lifts it. Raises InvalidError, NotFoundError."""
    require(actor, Role.EDITOR)
    if per_minute is not None and not 1 <= per_minute <= HIGHEST:
        sentence = f"is from 1 to {HIGHEST:,}, or left empty for no limit"
        raise InvalidError("that is no limit", {"per_minute": sentence})
    connection = connections.get(session, actor, connection_id)
    row = session.get(Pace, connection.id)
    if (row.per_minute if row else None) == per_minute:
        return
    if row is None:
        row = Pace(
            connection_id=connection.id, workspace_id=actor.workspace_id, calls=[], turns=[], failures=0
        )
        session.add(row)
    row.per_minute = per_minute
    # Those who wait by the old limit come again, and are given their turns by the new one.
    row.turns = []
    session.execute(
        sa.update(Task)
        .where(Task.connection_id == connection.id, Task.state == State.WAITING, Task.turn_at.is_not(None))
        .values(due_at=clock.now(), turn_at=None)
    )
    audit(
        session,
        actor,
        "limited connection",
        connection.id,
        detail={"name": connection.name, "per_minute": per_minute},
    )
    session.flush()
