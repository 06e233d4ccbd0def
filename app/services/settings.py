"""The workspace itself: its name, and what was done in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models import AuditEntry, Role, User, Workspace
from app.services.access import Actor, audit, require
from app.services.users import clean_name

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Deed:
    """An audit entry and the address of who did it, if that person is still known."""

    entry: AuditEntry
    email: str | None


def workspace(session: Session, actor: Actor) -> Workspace:
    return session.get_one(Workspace, actor.workspace_id)


def rename(session: Session, actor: Actor, name: str) -> Workspace:
    require(actor, Role.ADMIN)
    row = workspace(session, actor)
    name = clean_name(name, needed=True)
    if name != row.name:
        audit(session, actor, "renamed the workspace", name, detail={"from": row.name})
        row.name = name
    return row


def recent_deeds(session: Session, actor: Actor) -> Sequence[Deed]:
    """The last fifty, newest first."""
    require(actor, Role.ADMIN)
    query = (
        sa.select(AuditEntry, User.email)
        .outerjoin(User, User.id == AuditEntry.user_id)
        .where(AuditEntry.workspace_id == actor.workspace_id)
        .order_by(AuditEntry.id.desc())
        .limit(_SHOWN)
    )
    return [Deed(entry, email) for entry, email in session.execute(query)]
