"""The hold on a restored server: what waits behind it, and letting it go on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import hold
from app.errors import ForbiddenError
from app.models import Role, State, Task, Trigger, TriggerKind, Workspace
from app.services.access import Actor, audit

_OPEN = (State.QUEUED, State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Standing:
    """A hold, and what begins when it ends: on the whole server for an operator, else in one's workspace."""

    backup_at: datetime
    since: datetime
    tasks: int
    uncertain: int
    schedules: int
    may_release: bool


def standing(session: Session, actor: Actor | None) -> Standing | None:
    """None where nothing is held, and for who is in no workspace."""
    found = hold.standing(session.connection())
    if found is None or actor is None:
        return None
    within = None if actor.operator else actor.workspace_id
    counts = dict(_counts(session, within))
    return Standing(
        backup_at=found.backup_at,
        since=found.since,
        tasks=sum(counts.get(state, 0) for state in _OPEN),
        uncertain=counts.get(State.UNCERTAIN, 0),
        schedules=_missed(session, within),
        may_release=_may_release(session, actor),
    )


def release(session: Session, actor: Actor) -> bool:
    """Outgoing work goes on; whether it was held. The caller rings. Raises ForbiddenError."""
    if not _may_release(session, actor):
        raise ForbiddenError(
            "this is for the operators of this server, and for the owner where there is one workspace"
        )
    if not hold.end(session.connection()):
        return False
    audit(session, actor, "let outgoing work go on", "this server")
    return True


def _may_release(session: Session, actor: Actor) -> bool:
    """The hold is the server's: an owner alone may end it only where no other workspace is concerned."""
    if actor.operator:
        return True
    return actor.role is Role.OWNER and session.scalar(sa.select(sa.func.count()).select_from(Workspace)) == 1


def _counts(session: Session, within: str | None) -> Sequence[tuple[State, int]]:
    query = sa.select(Task.state, sa.func.count()).where(Task.state.in_((*_OPEN, State.UNCERTAIN)))
    if within:
        query = query.where(Task.workspace_id == within)
    return [(row[0], row[1]) for row in session.execute(query.group_by(Task.state))]


def _missed(session: Session, within: str | None) -> int:
    """Schedules whose time has come meanwhile."""
    query = sa.select(sa.func.count()).where(
        Trigger.kind == TriggerKind.SCHEDULE, Trigger.next_due_at <= clock.now()
    )
    if within:
        query = query.where(Trigger.workspace_id == within)
    return session.scalar(query) or 0
