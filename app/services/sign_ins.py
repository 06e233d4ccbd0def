"""Signing in at another service: begun here, finished when the person comes back from there."""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeGuard

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.errors import InvalidError, SealError
from app.models import Connection, Role, SignIn
from app.sdk import oauth
from app.sdk.context import Context
from app.sdk.errors import IntegrationError
from app.sdk.fields import Settings, reveal
from app.sdk.oauth import OAuthAccount
from app.services import connections
from app.services.access import Actor, require

CALLBACK_PATH = "/connections/oauth/callback"

_LIFE = timedelta(minutes=15)
_LONGEST_STATE = 200
_STRANGE = "this sign-in was not begun here, took too long, or is over; open the connection and sign in again"


@dataclass(frozen=True, slots=True)
class Pending:
    """What a sign-in is for. Without `connection_id` it makes a new connection."""

    integration: str
    name: str
    account: OAuthAccount
    connection_id: str | None = None
    next_page: str = ""


@dataclass(frozen=True, slots=True)
class Returned:
    """A sign-in whose person has come back."""

    pending: Pending
    verifier: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """What came of it; not `checked` when the service did not answer then."""

    pending: Pending
    account: OAuthAccount
    checked: bool


def can_sign_in(settings: Settings) -> TypeGuard[OAuthAccount]:
    """Whether this account is one that a person signs in to at the service's own page."""
    return isinstance(settings, OAuthAccount) and settings.signs_in


def needs_sign_in(settings: Settings) -> TypeGuard[OAuthAccount]:
    """Whether a person has to do so before the account can be used."""
    return can_sign_in(settings) and not settings.is_signed_in


def redirect_url(engine: Engine) -> str:
    """The one address that services send people back to."""
    return engine.config.public_url + CALLBACK_PATH


def begin(session: Session, actor: Actor, engine: Engine, pending: Pending) -> oauth.Begun:
    """Keep what was typed, sealed, until the person comes back with the state."""
    require(actor, Role.EDITOR)
    base_url = engine.base_url(pending.integration)
    begun = oauth.begin(pending.account, redirect_url=redirect_url(engine), base_url=base_url)
    session.execute(sa.delete(SignIn).where(SignIn.expires_at < clock.now()))
    key = state_key(begun.state)
    session.add(
        SignIn(
            id=key,
            workspace_id=actor.workspace_id,
            user_id=actor.user_id,
            sealed=engine.keyring.seal(_written(pending, begun.verifier), bound_to=key),
            expires_at=clock.now() + _LIFE,
        )
    )
    session.flush()
    return begun


def take(session: Session, actor: Actor, engine: Engine, state: str) -> Returned:
    """What the state stands for: once, and only for who began it. Raises InvalidError."""
    require(actor, Role.EDITOR)
    mine = (
        SignIn.id == state_key(state),
        SignIn.user_id == actor.user_id,
        SignIn.workspace_id == actor.workspace_id,
        SignIn.expires_at > clock.now(),
    )
    sealed = session.scalar(sa.select(SignIn.sealed).where(*mine))
    if sealed is None or not session.execute(sa.delete(SignIn).where(*mine)).rowcount:  # type: ignore[attr-defined]
        raise InvalidError(_STRANGE)
    return _read(engine, json.loads(engine.keyring.open(sealed, bound_to=state_key(state))))


def finish(engine: Engine, returned: Returned, code: str) -> OAuthAccount:
    """The account, signed in. Goes over the network: never within a transaction. Raises app.sdk.errors."""
    key = returned.pending.integration
    context = Context(http=engine.http, guard=engine.guard, now=clock.now(), base_url=engine.base_url(key))
    return oauth.exchange(
        context,
        returned.pending.account,
        code=code,
        verifier=returned.verifier,
        redirect_url=redirect_url(engine),
    )


def keep(session: Session, actor: Actor, engine: Engine, signed_in: SignedIn) -> Connection:
    """The connection that was signed in for, made or mended."""
    pending, account, checked = signed_in.pending, signed_in.account, signed_in.checked
    if pending.connection_id is None:
        return connections.create(
            session, actor, engine, pending.integration,
            name=pending.name, settings=account, checked=checked,
        )  # fmt: skip
    return connections.update(
        session, actor, engine, pending.connection_id, name=pending.name, settings=account, checked=checked
    )


def with_tokens_of(engine: Engine, row: Connection | None, settings: Settings) -> Settings:
    """The access belongs to who signed in, as which program: with any of that changed, it is dropped."""
    if not isinstance(settings, OAuthAccount):
        return settings
    old = _stored(engine, row) if row is not None else None
    if not isinstance(old, OAuthAccount) or not _same(settings, old):
        return settings.without_tokens()
    return settings.model_copy(update={name: getattr(old, name) for name in OAuthAccount.filled})


def _stored(engine: Engine, row: Connection) -> Settings | None:
    try:
        return connections.opened(engine, row)
    except (IntegrationError, SealError):
        return None


def _same(account: OAuthAccount, old: OAuthAccount) -> bool:
    typed = set(type(account).model_fields) - OAuthAccount.filled
    return type(account) is type(old) and all(getattr(account, name) == getattr(old, name) for name in typed)


def state_key(state: str) -> str:
    return hashlib.sha256(state[:_LONGEST_STATE].encode("utf-8", "replace")).hexdigest()


def _written(pending: Pending, verifier: str) -> bytes:
    return json.dumps(
        {
            "integration": pending.integration,
            "name": pending.name,
            "account": reveal(pending.account),
            "connection_id": pending.connection_id,
            "next_page": pending.next_page,
            "verifier": verifier,
        }
    ).encode()


def _read(engine: Engine, stored: dict[str, str]) -> Returned:
    model = connections.model(engine, stored["integration"])
    account = model.model_validate(stored["account"])
    assert isinstance(account, OAuthAccount)
    pending = Pending(
        stored["integration"], stored["name"], account, stored["connection_id"], stored["next_page"]
    )
    return Returned(pending, stored["verifier"])
