"""Workspaces and who belongs to them, in which role."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from app import clock, ids
from app.errors import ConflictError, ForbiddenError, NotFoundError
from app.models import ApiKey, Membership, Queue, Role, User, Workspace
from app.models.queue import DEFAULT_QUEUE
from app.services.access import Actor, audit, require, scoped
from app.services.users import clean_name


@dataclass(frozen=True, slots=True)
class Place:
    """A workspace somebody belongs to."""

    id: str
    name: str
    role: Role


def actor_for(session: Session, user_id: str, workspace_id: str | None) -> Actor | None:
    """The person in that workspace, else in their oldest one; None when they are in none."""
    query = sa.select(Membership, User).join(User, User.id == Membership.user_id)
    mine = query.where(Membership.user_id == user_id).order_by(
        Membership.workspace_id != (workspace_id or ""), Membership.id
    )
    found = session.execute(mine.limit(1)).first()
    return make_actor(found[0], found[1]) if found else None


def make_actor(membership: Membership, user: User, scopes: frozenset[str] | None = None) -> Actor:
    return Actor(
        user_id=user.id,
        workspace_id=membership.workspace_id,
        role=membership.role,
        email=user.email,
        name=user.name,
        zone=user.zone,
        operator=user.operator,
        scopes=frozenset({"read", "write"}) if scopes is None else scopes,
    )


def places(session: Session, user_id: str) -> list[Place]:
    query = (
        sa.select(Workspace.id, Workspace.name, Membership.role)
        .join(Membership, Membership.workspace_id == Workspace.id)
        .where(Membership.user_id == user_id)
        .order_by(Membership.id)
    )
    return [Place(*row) for row in session.execute(query)]


def create_workspace(session: Session, user: User, name: str) -> Actor:
    """A workspace of their own, with its default queue."""
    now = clock.now()
    workspace = Workspace(id=ids.new("wsp"), name=clean_name(name, "workspace", needed=True), created_at=now)
    session.add(workspace)
    session.flush()
    session.add(Queue(id=ids.new("que"), workspace_id=workspace.id, name=DEFAULT_QUEUE, created_at=now))
    return join(session, user, workspace.id, Role.OWNER)


def find_workspace(session: Session, name: str) -> Workspace | None:
    """The oldest of that name, for the command line."""
    return session.scalar(sa.select(Workspace).where(Workspace.name == name).order_by(Workspace.id).limit(1))


def oldest_workspace(session: Session) -> Workspace | None:
    return session.scalar(sa.select(Workspace).order_by(Workspace.id).limit(1))


def join(session: Session, user: User, workspace_id: str, role: Role) -> Actor:
    """Make somebody a member. Raises ConflictError for one who is."""
    query = sa.select(Membership.id).where(
        Membership.workspace_id == workspace_id, Membership.user_id == user.id
    )
    if session.scalar(query):
        raise ConflictError(f"{user.email} is in this workspace already")
    membership = Membership(
        id=ids.new("mem"), workspace_id=workspace_id, user_id=user.id, role=role, created_at=clock.now()
    )
    session.add(membership)
    session.flush()
    actor = make_actor(membership, user)
    audit(session, actor, "joined", user.email, detail={"role": role})
    return actor


def enter(session: Session, actor: Actor, workspace_id: str) -> Actor:
    """The same person elsewhere. Raises NotFoundError where they are no member."""
    found = actor_for(session, actor.user_id, workspace_id)
    if found is None or found.workspace_id != workspace_id:
        raise NotFoundError(f"no workspace {workspace_id[:40]} here")
    return found


def members(session: Session, actor: Actor) -> Sequence[Membership]:
    query = scoped(Membership, actor).options(joinedload(Membership.user)).order_by(Membership.id)
    return session.scalars(query).all()


def change_role(session: Session, actor: Actor, user_id: str, role: Role) -> None:
    """Raises ForbiddenError where an admin reaches for an owner, ConflictError for the last owner."""
    membership = _reach(session, actor, user_id)
    _check_grant(actor, role)
    if membership.role is Role.OWNER and role is not Role.OWNER:
        _keep_an_owner(session, actor)
    audit(session, actor, "changed role", membership.user.email, detail={"from": membership.role, "to": role})
    membership.role = role


def remove(session: Session, actor: Actor, user_id: str) -> None:
    """Also ends the keys they made here."""
    membership = _reach(session, actor, user_id)
    _drop(session, actor, membership, "removed")


def leave(session: Session, actor: Actor) -> None:
    """Raises ConflictError for the last owner."""
    membership = _membership(session, actor, actor.user_id)
    _drop(session, actor, membership, "left")


def check_grant(actor: Actor, role: Role) -> None:
    """Who may invite or promote: admins up to admin, owners to any."""
    require(actor, Role.ADMIN)
    _check_grant(actor, role)


def _check_grant(actor: Actor, role: Role) -> None:
    if role is Role.OWNER and actor.role is not Role.OWNER:
        raise ForbiddenError("only an owner can make somebody an owner")


def _drop(session: Session, actor: Actor, membership: Membership, verb: str) -> None:
    if membership.role is Role.OWNER:
        _keep_an_owner(session, actor)
    audit(session, actor, verb, membership.user.email)
    session.execute(
        sa.update(ApiKey)
        .where(ApiKey.workspace_id == actor.workspace_id, ApiKey.user_id == membership.user_id)
        .where(ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
    )
    session.delete(membership)
    session.flush()


def _reach(session: Session, actor: Actor, user_id: str) -> Membership:
    require(actor, Role.ADMIN)
    membership = _membership(session, actor, user_id)
    if membership.role is Role.OWNER and actor.role is not Role.OWNER:
        raise ForbiddenError("only an owner can change or remove an owner")
    return membership


def _membership(session: Session, actor: Actor, user_id: str) -> Membership:
    # The workspace is locked first, so that two owners cannot demote each other at the same time.
    session.execute(sa.select(Workspace.id).where(Workspace.id == actor.workspace_id).with_for_update())
    query = (
        scoped(Membership, actor).where(Membership.user_id == user_id).options(joinedload(Membership.user))
    )
    membership = session.scalar(query)
    if membership is None:
        raise NotFoundError(f"no person {user_id[:40]} here")
    return membership


def _keep_an_owner(session: Session, actor: Actor) -> None:
    query = sa.select(sa.func.count()).select_from(Membership)
    owners = query.where(Membership.workspace_id == actor.workspace_id, Membership.role == Role.OWNER)
    if session.scalar(owners) == 1:
        raise ConflictError("a workspace keeps at least one owner; make somebody else an owner first")
