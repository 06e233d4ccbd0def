"""Keys for the JSON API: made, listed, revoked, and turned into whom they act for."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from app import clock, ids
from app.database import write_connection
from app.errors import UnavailableError
from app.models import ApiKey, Membership, Role, User
from app.services import team, tokens
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.users import clean_name

PREFIX = "bq_"
_SHOWN = len(PREFIX) + 6
_USE_NOTED_EVERY = timedelta(minutes=1)


def create(session: Session, actor: Actor, name: str, *, read_only: bool) -> tuple[ApiKey, str]:
    """The row and the key itself, which is shown now or never."""
    require(actor, Role.EDITOR)
    text = tokens.new(PREFIX)
    key = ApiKey(
        id=ids.new("key"),
        workspace_id=actor.workspace_id,
        user_id=actor.user_id,
        name=clean_name(name, needed=True),
        prefix=text[:_SHOWN],
        sha256=tokens.digest(text),
        scopes=["read"] if read_only else ["read", "write"],
        created_at=clock.now(),
    )
    session.add(key)
    audit(session, actor, "made api key", key.name, detail={"prefix": key.prefix, "scopes": key.scopes})
    session.flush()
    return key, text


def listing(session: Session, actor: Actor) -> Sequence[ApiKey]:
    """All of the workspace, the revoked too, newest first."""
    return session.scalars(
        scoped(ApiKey, actor).options(joinedload(ApiKey.user)).order_by(ApiKey.id.desc())
    ).all()


def revoke(session: Session, actor: Actor, key_id: str) -> ApiKey:
    """Editors revoke their own keys, admins anybody's. Doing it twice is doing it once."""
    require(actor, Role.EDITOR)
    key = fetch(session, ApiKey, key_id, actor)
    if key.user_id != actor.user_id:
        require(actor, Role.ADMIN)
    if key.revoked_at is None:
        key.revoked_at = clock.now()
        audit(session, actor, "revoked api key", key.name, detail={"prefix": key.prefix})
    return key


def authenticate(session: Session, text: str) -> Actor | None:
    """Whom a key acts for: its person, in its workspace, with their role of today and the key's scopes."""
    if not text.startswith(PREFIX):
        return None
    query = (
        sa.select(ApiKey, Membership, User)
        .join(User, User.id == ApiKey.user_id)
        .join(Membership, (Membership.user_id == User.id) & (Membership.workspace_id == ApiKey.workspace_id))
        .where(ApiKey.sha256 == tokens.digest(text), ApiKey.revoked_at.is_(None))
    )
    found = session.execute(query).first()
    if found is None:
        return None
    key, membership, user = found
    actor = team.make_actor(membership, user, frozenset(key.scopes))
    _note_use(session, key)
    return actor


def _note_use(session: Session, key: ApiKey) -> None:
    now = clock.now()
    if key.last_used_at and now - key.last_used_at < _USE_NOTED_EVERY:
        return
    database = session.get_bind()
    assert isinstance(database, sa.Engine)
    # In a transaction of its own: a call that only reads does not wait for it, nor fail when storage is busy.
    with (
        suppress(UnavailableError, sa.exc.OperationalError),
        write_connection(database, patience_s=0.02) as connection,
    ):
        connection.execute(sa.update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=now))
