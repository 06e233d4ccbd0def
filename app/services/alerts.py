"""Alerts for people: what there is to read, who has read it, and how each wants to be told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine import alert_channels, alerts
from app.engine.core import Engine
from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import (
    Alert,
    AlertKind,
    AlertNotice,
    AlertPreference,
    Channel,
    Connection,
    Role,
    State,
    Task,
)
from app.sdk.errors import IntegrationError
from app.sdk.mail import parse_address
from app.sdk.urls import parse_url
from app.services.access import Actor, audit, require, scoped
from app.services.paging import LIMIT, Page, older_than, page_of

_LONGEST_ADDRESS: Final = 2000
# The header says "99+" of more.
_COUNTED: Final = 100


@dataclass(frozen=True, slots=True)
class Told:
    """An alert as one person has it; `sent` is the state of the task that sends it, None where nothing is sent."""

    row: Alert
    read: bool
    task_id: str | None
    sent: State | None


@dataclass(frozen=True, slots=True)
class Preference:
    kinds: tuple[AlertKind, ...] = tuple(AlertKind)
    channel: Channel = Channel.NONE
    connection_id: str | None = None
    address: str | None = None


def listing(session: Session, actor: Actor, *, cursor: str | None = None, limit: int = LIMIT) -> Page[Told]:
    """Those the person was told of, newest first. Raises CursorError."""
    rows = session.execute(
        _told(actor).where(older_than(Alert.id, "alt", cursor)).order_by(Alert.id.desc()).limit(limit + 1)
    ).all()
    return page_of([_shown(row) for row in rows], limit, row_id=lambda told: told.row.id)


def unread(session: Session, actor: Actor, limit: int = 10) -> list[Told]:
    """Newest first: what nobody has read and no message has brought."""
    rows = session.execute(_told(actor).where(_is_unread()).order_by(Alert.id.desc()).limit(limit)).all()
    return [_shown(row) for row in rows]


def count_unread(session: Session, actor: Actor) -> int:
    """Cheap enough for every page."""
    some = _told(actor).with_only_columns(Alert.id).where(_is_unread()).limit(_COUNTED).subquery()
    return int(session.scalar(sa.select(sa.func.count()).select_from(some)) or 0)


def mark_read(session: Session, actor: Actor, alert_id: str) -> Told:
    """Raises NotFoundError, also for an alert of which this person was not told."""
    changed = _mark(session, actor, AlertNotice.alert_id == alert_id)
    row = session.execute(_told(actor).where(Alert.id == alert_id)).first()
    if row is None:
        raise NotFoundError(f"no alert {alert_id[:40]} here")
    if changed:
        session.expire_all()
    return _shown(row)


def mark_all_read(session: Session, actor: Actor) -> int:
    return _mark(session, actor, sa.true())


def _mark(session: Session, actor: Actor, which: sa.ColumnElement[bool]) -> int:
    mine = (AlertNotice.user_id == actor.user_id, AlertNotice.workspace_id == actor.workspace_id)
    changed = session.connection().execute(
        sa.update(AlertNotice).where(*mine, which, AlertNotice.read_at.is_(None)).values(read_at=clock.now())
    )
    return changed.rowcount


def _told(actor: Actor) -> sa.Select[Any]:
    return (
        scoped(Alert, actor)
        .add_columns(AlertNotice.read_at, AlertNotice.task_id, Task.state)
        .join(AlertNotice, AlertNotice.alert_id == Alert.id)
        .outerjoin(Task, Task.id == AlertNotice.task_id)
        .where(AlertNotice.user_id == actor.user_id, AlertNotice.workspace_id == actor.workspace_id)
    )


def _is_unread() -> sa.ColumnElement[bool]:
    undelivered = sa.or_(AlertNotice.task_id.is_(None), Task.state.in_((State.FAILED, State.CANCELED)))
    return AlertNotice.read_at.is_(None) & undelivered


def _shown(row: Any) -> Told:
    alert, read_at, task_id, state = row
    return Told(alert, read_at is not None, task_id, state)


def preference(session: Session, actor: Actor) -> Preference:
    row = session.get(AlertPreference, (actor.workspace_id, actor.user_id))
    if row is None:
        return Preference()
    kinds = tuple(kind for kind in AlertKind if kind in row.kinds)
    return Preference(kinds, row.channel, row.connection_id, row.address)


def save_preference(session: Session, actor: Actor, engine: Engine, wanted: Preference) -> None:
    """Raises InvalidError; a viewer may choose of what to be told, but sends nothing through others' accounts."""
    require(actor, Role.VIEWER if wanted.channel is Channel.NONE else Role.EDITOR)
    checked = _checked(session, actor, engine, wanted)
    row = AlertPreference(
        workspace_id=actor.workspace_id,
        user_id=actor.user_id,
        kinds=[kind.value for kind in checked.kinds],
        channel=checked.channel,
        connection_id=checked.connection_id,
        address=checked.address,
        updated_at=clock.now(),
    )
    session.merge(row)
    audit(session, actor, "changed alerts", actor.user_id, detail={"name": actor.email})
    session.flush()


def ways(session: Session, actor: Actor, engine: Engine, channel: Channel) -> Sequence[Connection]:
    """The connections through which a channel can send."""
    known = alert_channels.ways(engine.catalogue, channel)
    query = scoped(Connection, actor).where(Connection.integration.in_(list(known)))
    return session.scalars(query.order_by(sa.func.lower(Connection.name), Connection.id)).all()


def _checked(session: Session, actor: Actor, engine: Engine, wanted: Preference) -> Preference:
    if wanted.channel is Channel.NONE:
        return Preference(wanted.kinds)
    address = (wanted.address or "").strip() or None
    if wanted.channel is Channel.WEBHOOK:
        return Preference(wanted.kinds, Channel.WEBHOOK, None, _web_address(address))
    known = {row.id: row for row in ways(session, actor, engine, wanted.channel)}
    way = known.get(wanted.connection_id or "")
    if way is None:
        raise _wrong("connection_id", f"choose one that can send {_WORDS[wanted.channel]}")
    if wanted.channel is Channel.MAIL:
        return Preference(wanted.kinds, Channel.MAIL, way.id, _mail_address(address))
    addressed = alert_channels.ways(engine.catalogue, wanted.channel)[way.integration].addressed
    if addressed and address is None:
        raise _wrong("address", "is needed: an app has to be told the channel, such as #alerts")
    return Preference(wanted.kinds, Channel.CHAT, way.id, address if addressed else None)


_WORDS: Final = {Channel.MAIL: "mails", Channel.CHAT: "messages in a chat"}


def _web_address(address: str | None) -> str:
    try:
        parse_url(address or "")
    except IntegrationError as error:
        raise _wrong("address", str(error)) from None
    if len(str(address)) > _LONGEST_ADDRESS:
        raise _wrong("address", f"has at most {_LONGEST_ADDRESS} characters")
    return str(address)


def _mail_address(address: str | None) -> str | None:
    try:
        return None if address is None else parse_address(address).addr_spec
    except ValueError as error:
        raise _wrong("address", str(error)) from None


def _wrong(name: str, sentence: str) -> InvalidError:
    return InvalidError(f"{name} {sentence}", {name: sentence})


def send_test(session: Session, actor: Actor, engine: Engine) -> str:
    """The id of the task that sends it, in the way that is saved. The caller rings after its commit."""
    require(actor, Role.EDITOR)
    saved, now = preference(session, actor), clock.now()
    message = alert_channels.compose(
        engine.catalogue, _example(now), _person(session, actor, saved), engine.config.public_url
    )
    if message is None:
        raise ConflictError("choose a way that works first, and save it")
    key = f"{alerts.KEY}test:{ids.new('alt')}"
    return alerts.enqueue(session.connection(), engine, actor.workspace_id, message=message, key=key)


def _example(now: datetime) -> dict[str, Any]:
    return {
        "id": "alt_test",
        "kind": "test",
        "title": "A test alert",
        "sentence": "this is how alerts reach you; nothing is wrong",
        "subject_id": None,
        "at": now,
    }


@dataclass(frozen=True, slots=True)
class _Person:
    email: str
    channel: Channel
    connection_id: str | None
    address: str | None
    integration: str | None


def _person(session: Session, actor: Actor, saved: Preference) -> _Person:
    query = scoped(Connection, actor).where(Connection.id == saved.connection_id, Connection.healthy)
    way = session.scalar(query)
    integration = way.integration if way else None
    return _Person(actor.email, saved.channel, saved.connection_id, saved.address, integration)
