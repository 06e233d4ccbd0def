"""Who acts, in which workspace, and what that lets them reach: the one scoped way to a row."""

from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.errors import ForbiddenError, NotFoundError
from app.models import AuditEntry, Base, Role

Row = TypeVar("Row", bound=Base)


@dataclass(frozen=True, slots=True)
class Actor:
    """A person in a workspace. `scopes` are narrower than the role when an API key acts for them."""

    user_id: str
    workspace_id: str
    role: Role
    email: str
    name: str = ""
    zone: str = "UTC"
    operator: bool = False
    scopes: frozenset[str] = frozenset({"read", "write"})


def require(actor: Actor, role: Role) -> None:
    """Raises ForbiddenError below `role`, or for a read-only key where more than reading is asked."""
    if not actor.role.covers(role):
        raise ForbiddenError(f"this needs the role {role}; yours is {actor.role}, ask an owner to change it")
    if role is not Role.VIEWER and "write" not in actor.scopes:
        raise ForbiddenError("this api key may only read; make one that may write")


def scoped(model: type[Row], actor: Actor) -> sa.Select[Row]:
    """Every query for a workspace's rows starts here."""
    table: Any = model
    return sa.select(model).where(table.workspace_id == actor.workspace_id)


def fetch(session: Session, model: type[Row], row_id: str, actor: Actor) -> Row:
    """Raises NotFoundError for an unknown id and, alike, for another workspace's."""
    table: Any = model
    row = session.scalar(scoped(model, actor).where(table.id == row_id))
    if row is None or getattr(row, "deleted_at", None) is not None:
        raise NotFoundError(f"no {model.__name__.lower()} {row_id[:40]} here")
    return row


def audit(session: Session, actor: Actor, verb: str, subject: str, *, detail: Any = None) -> None:
    session.add(
        AuditEntry(
            id=ids.new("aud"),
            workspace_id=actor.workspace_id,
            user_id=actor.user_id,
            verb=verb,
            subject=subject,
            detail=detail,
            at=clock.now(),
        )
    )
