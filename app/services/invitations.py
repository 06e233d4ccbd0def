"""Links that make whoever opens them a member: random, kept as a hash, used once, good for seven days."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.errors import ConflictError, GoneError, NotFoundError
from app.models import Invitation, Membership, Role, User, Workspace
from app.services import team, tokens
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.users import clean_email

LIFE = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation in words."""

    id: str
    email: str
    role: Role
    expires_at: datetime
    workspace: str
    invited_by: str


def create(session: Session, actor: Actor, email: str, role: Role) -> tuple[Invitation, str]:
    """The row and the token of its link, which is shown now or never. Replaces an open one for that address."""
    team.check_grant(actor, role)
    email = clean_email(email)
    _refuse_member(session, actor, email)
    for earlier in session.scalars(_open(actor).where(Invitation.email == email)):
        session.delete(earlier)
    token = tokens.new()
    now = clock.now()
    invitation = Invitation(
        id=ids.new("inv"),
        workspace_id=actor.workspace_id,
        email=email,
        role=role,
        token_sha256=tokens.digest(token),
        invited_by=actor.user_id,
        created_at=now,
        expires_at=now + LIFE,
    )
    session.add(invitation)
    audit(session, actor, "invited", email, detail={"role": role})
    session.flush()
    return invitation, token


def listing(session: Session, actor: Actor) -> list[Invited]:
    """The open ones."""
    rows = session.scalars(_open(actor).order_by(Invitation.id))
    return [describe(session, row) for row in rows]


def describe(session: Session, invitation: Invitation) -> Invited:
    inviter = session.get(User, invitation.invited_by)
    return Invited(
        id=invitation.id,
        email=invitation.email,
        role=invitation.role,
        expires_at=invitation.expires_at,
        workspace=session.get_one(Workspace, invitation.workspace_id).name,
        invited_by=(inviter.name or inviter.email) if inviter else "somebody",
    )


def withdraw(session: Session, actor: Actor, invitation_id: str) -> None:
    require(actor, Role.ADMIN)
    invitation = fetch(session, Invitation, invitation_id, actor)
    team.check_grant(actor, invitation.role)
    audit(session, actor, "withdrew invitation", invitation.email)
    session.delete(invitation)


def find(session: Session, token: str, *, lock: bool = False) -> Invitation:
    """Raises NotFoundError for an unknown token, GoneError for one that was used or is too old.

    `lock` it to accept it, so that two who open the same link at the same time do not both get in.
    """
    query = sa.select(Invitation).where(Invitation.token_sha256 == tokens.digest(token))
    invitation = session.scalar(query.with_for_update() if lock else query)
    if invitation is None:
        raise NotFoundError("this invitation does not exist; ask for a new link")
    if invitation.accepted_at:
        raise GoneError("this invitation was used already; ask for a new link")
    if invitation.expires_at <= clock.now():
        raise GoneError("this invitation is older than seven days; ask for a new link")
    return invitation


def accept(session: Session, token: str, user: User) -> Actor:
    """Make `user` a member in the invitation's role."""
    invitation = find(session, token, lock=True)
    invitation.accepted_at = clock.now()
    return team.join(session, user, invitation.workspace_id, invitation.role)


def _open(actor: Actor) -> sa.Select[Invitation]:
    return scoped(Invitation, actor).where(
        Invitation.accepted_at.is_(None), Invitation.expires_at > clock.now()
    )


def _refuse_member(session: Session, actor: Actor, email: str) -> None:
    query = scoped(Membership, actor).join(User, User.id == Membership.user_id).where(User.email == email)
    if session.scalar(query):
        raise ConflictError(f"{email} is in this workspace already")
