"""Accounts at integrations: building them from a form, checking, sealing, showing them masked, deleting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine import life, secrets
from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, SealError
from app.models import Connection, Role, Rule, RuleVersion, State, Task
from app.sdk.declare import Integration
from app.sdk.fields import Settings, secret_names, sentences
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.documents import MAX_NAME

MASK = "••••••••"

# Fields that say where a secret is sent, and how: with these changed, an old secret must be entered again,
# or whoever edits a connection could have its password sent to a server of their own.
_WHERE = frozenset({
    "host", "hosts", "server", "port", "url", "base_url", "domain", "security", "encryption", "tls",
    "accept_self_signed",
})  # fmt: skip
# The fields by which a person recognises an account, the best first.
_TELLING = ("username", "user", "email", "channel", "host", "hosts", "sender")


@dataclass(frozen=True, slots=True)
class Card:
    """An integration one can connect to."""

    key: str
    title: str
    about: str


def catalogue_cards(engine: Engine) -> list[Card]:
    found = [Card(each.key, each.title, each.about) for each in engine.catalogue if each.settings is not None]
    return sorted(found, key=lambda card: card.title.lower())


def integration(engine: Engine, key: str) -> Integration:
    """Raises NotFoundError where there is nothing to connect to."""
    found = engine.catalogue.integrations.get(key)
    if found is None or found.settings is None:
        raise NotFoundError(f"there is no integration {key[:40]} that takes a connection")
    return found


def model(engine: Engine, key: str) -> type[Settings]:
    settings = integration(engine, key).settings
    assert settings is not None
    return settings


def known_model(engine: Engine, key: str) -> type[Settings] | None:
    """As `model`; None where the integration is gone."""
    found = engine.catalogue.integrations.get(key)
    return found.settings if found else None


def listing(session: Session, actor: Actor) -> list[Connection]:
    return list(
        session.scalars(scoped(Connection, actor).order_by(sa.func.lower(Connection.name), Connection.id))
    )


def get(session: Session, actor: Actor, connection_id: str) -> Connection:
    return fetch(session, Connection, connection_id, actor)


def build_settings(engine: Engine, key: str, form: Mapping[str, Any], old: Connection | None) -> Settings:
    """The account from what was entered; an empty secret keeps the old one. Raises InvalidError, SealError."""
    fields = model(engine, key)
    entered = dict(form)
    names = secret_names(fields)
    kept = {name for name in names if entered.get(name) in (None, "")}
    for name in kept:
        entered.pop(name, None)
    if old is not None and kept:
        entered |= _kept_secrets(engine, old, entered, kept)
    try:
        return fields.model_validate(entered)
    except ValidationError as error:
        problems = sentences(error)
        raise InvalidError("the connection is not complete", problems) from None


def _kept_secrets(
    engine: Engine, old: Connection, entered: Mapping[str, Any], kept: set[str]
) -> dict[str, Any]:
    stored = {
        name: value
        for name, value in secrets.open_sealed(engine.keyring, old.sealed, bound_to=old.id).items()
        if name in kept and value not in (None, "")
    }
    moved = [name for name in _WHERE & entered.keys() & old.settings.keys() if _differs(entered, old, name)]
    if stored and moved:
        sentence = f"enter this again: it was given for another {min(moved).replace('_', ' ')}"
        raise InvalidError("the secret must be entered again", dict.fromkeys(stored, sentence))
    return stored


def _differs(entered: Mapping[str, Any], old: Connection, name: str) -> bool:
    return str(entered[name]).strip() != str(old.settings[name]).strip()


def create(
    session: Session,
    actor: Actor,
    engine: Engine,
    key: str,
    *,
    name: str,
    settings: Settings,
    checked: bool = True,
) -> Connection:
    require(actor, Role.EDITOR)
    now, row_id = clock.now(), ids.new("con")
    plain, secret = secrets.split(settings)
    row = Connection(
        id=row_id,
        workspace_id=actor.workspace_id,
        integration=integration(engine, key).key,
        name=clean_name(name),
        settings=plain,
        sealed=secrets.seal(engine.keyring, secret, bound_to=row_id),
        healthy=True,
        checked_at=now if checked else None,
        created_by=actor.user_id,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    audit(session, actor, "created connection", row.id, detail={"name": row.name, "integration": key})
    session.flush()
    return row


def update(
    session: Session,
    actor: Actor,
    engine: Engine,
    connection_id: str,
    *,
    name: str,
    settings: Settings | None = None,
    checked: bool = True,
) -> Connection:
    """Without `settings` only the name changes."""
    require(actor, Role.EDITOR)
    row = get(session, actor, connection_id)
    row.name, row.updated_at = clean_name(name), clock.now()
    if settings is not None:
        plain, secret = secrets.split(settings)
        row.settings = plain
        row.sealed = secrets.seal(engine.keyring, secret, bound_to=row.id)
        row.checked_at = None
        mark(session, row, healthy=True, cause=None, checked=checked)
    audit(session, actor, "changed connection", row.id, detail={"name": row.name})
    session.flush()
    return row


def mark(
    session: Session, row: Connection, *, healthy: bool, cause: str | None, checked: bool = True
) -> None:
    """Record what a check found. A mended account lets go of the tasks that were held for it."""
    if healthy and not row.healthy:
        life.release_held(session.connection(), row.id)
    row.healthy, row.health_cause = healthy, cause
    if checked:
        row.checked_at = clock.now()
    session.flush()


def opened(engine: Engine, row: Connection) -> Settings:
    """With its secrets in clear; raises SealError, RejectedError, AuthError."""
    return secrets.open_connection(engine.keyring, engine.catalogue, row)


def may_delete(actor: Actor, row: Connection) -> bool:
    return actor.role.covers(Role.ADMIN) or (
        actor.role.covers(Role.EDITOR) and row.created_by == actor.user_id
    )


def delete(session: Session, actor: Actor, connection_id: str) -> None:
    """Raises ConflictError naming the rules that use it."""
    require(actor, Role.EDITOR)
    row = get(session, actor, connection_id)
    if not may_delete(actor, row):
        raise ForbiddenError("only an admin or whoever made a connection may delete it")
    rules = used_by(session, actor, row.id)
    if rules:
        names = ", ".join(rule.name for rule in rules[:5])
        more = f" and {len(rules) - 5} more" if len(rules) > 5 else ""
        raise ConflictError(f"{row.name} is used by {names}{more}; choose another connection there first")
    audit(session, actor, "deleted connection", row.id, detail={"name": row.name})
    session.delete(row)
    session.flush()


def used_by(session: Session, actor: Actor, connection_id: str) -> list[Rule]:
    """The rules whose draft or published version names it."""
    return usage(session, actor).get(connection_id, [])


def usage(session: Session, actor: Actor) -> dict[str, list[Rule]]:
    """For each connection the rules that use it, of the whole workspace at once."""
    rows = session.execute(
        scoped(Rule, actor)
        .add_columns(RuleVersion.definition)
        .outerjoin(RuleVersion, (RuleVersion.rule_id == Rule.id) & (RuleVersion.number == Rule.published))
        .where(Rule.deleted_at.is_(None))
        .order_by(Rule.name, Rule.id)
    )
    found: dict[str, list[Rule]] = {}
    for rule, published in rows:
        for connection_id in connections_of(rule.draft) | connections_of(published or {}):
            found.setdefault(connection_id, []).append(rule)
    return found


def connections_of(definition: Mapping[str, Any]) -> set[str]:
    parts = [definition.get("trigger") or {}, *definition.get("steps", [])]
    return {part["connection"] for part in parts if part.get("connection")}


def held(session: Session, actor: Actor) -> dict[str, int]:
    """How many tasks wait for each broken connection."""
    rows = session.execute(
        sa.select(Task.connection_id, sa.func.count())
        .join(Connection, Connection.id == Task.connection_id)
        .where(
            Task.workspace_id == actor.workspace_id,
            Task.state == State.WAITING,
            Connection.healthy.is_(False),
        )
        .group_by(Task.connection_id)
    )
    return {connection_id: count for connection_id, count in rows if connection_id}


def identity(row: Connection) -> str:
    """What tells this account from another one at the same service; never a secret."""
    told = [str(row.settings[name]) for name in _TELLING if row.settings.get(name) not in (None, "")]
    return ", ".join(told[:2])


def masked(engine: Engine, row: Connection) -> dict[str, Any]:
    """The fields as they may be shown: a secret that is stored as dots, one that is not as None."""
    found = engine.catalogue.integrations.get(row.integration)
    names = secret_names(found.settings) if found and found.settings else frozenset()
    try:
        stored = secrets.open_sealed(engine.keyring, row.sealed, bound_to=row.id)
    except (SealError, ValueError):
        stored = dict.fromkeys(names, MASK)
    return dict(row.settings) | {name: MASK if stored.get(name) else None for name in sorted(names)}


def clean_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not cleaned:
        raise InvalidError("the connection needs a name", {"name": "is needed"})
    if len(cleaned) > MAX_NAME:
        raise InvalidError("the name is too long", {"name": f"has at most {MAX_NAME} characters"})
    return cleaned
