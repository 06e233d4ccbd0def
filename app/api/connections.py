"""Connections over the API: made only when they work, shown without their secrets."""

from dataclasses import asdict
from typing import Any

from pydantic import Field

from app.api.edge import noun, operation
from app.api.fields import Body, Instant, Json, List, Paged, Shown
from app.database import db, writing
from app.engine import checks, core
from app.models import Connection, Role
from app.services import connections, paces
from app.services.access import Actor
from app.services.paging import slice_of

blueprint = noun("connections", __name__)


class ConnectionIn(Body):
    """`settings` are the fields that GET /api/v1/integrations/{key} describes."""

    integration: str = Field(min_length=1, max_length=60, examples=["smtp"])
    name: str = Field(min_length=1, max_length=100)
    settings: dict[str, Json]


class ConnectionChangeIn(Body):
    """What is left out stays; so does a secret."""

    name: str | None = Field(None, min_length=1, max_length=100)
    settings: dict[str, Json] | None = None


class PaceIn(Body):
    """At most so many calls a minute, over all rules and tasks; null: as many as the service takes."""

    per_minute: int | None = Field(None, ge=1, le=paces.HIGHEST)


class PaceOut(Shown):
    """`learnt_per_minute` is what the service's refusals taught, where nobody set a limit.

    `waiting` tasks wait for their turn, the last until `until`. The service is left alone until `rests_until`.
    """

    per_minute: int | None
    learnt_per_minute: int | None
    rests_until: Instant | None
    cause: str | None
    waiting: int
    until: Instant | None


class ConnectionOut(Shown):
    """A stored secret reads as dots. `healthy` is false once the service refused it."""

    id: str
    integration: str
    name: str
    settings: Json
    healthy: bool
    health_cause: str | None
    checked_at: Instant | None
    created_at: Instant
    updated_at: Instant


class CheckedOut(Shown):
    works: bool
    detail: str


def _out(row: Connection) -> ConnectionOut:
    same = {name: getattr(row, name) for name in ConnectionOut.model_fields if name != "settings"}
    return ConnectionOut(**same, settings=connections.masked(core.current(), row))


@blueprint.get("/connections")
@operation(Role.VIEWER, tag="connections", query=Paged, answers=List[ConnectionOut])
def listing(actor: Actor, query: Paged) -> List[ConnectionOut]:
    """Connections, the newest first."""
    found = connections.listing(db.session(), actor)
    page = slice_of(found, query.cursor, query.limit, row_id=lambda row: row.id)
    return List(items=[_out(row) for row in page.items], next_cursor=page.next_cursor)


@blueprint.post("/connections")
@operation(Role.EDITOR, tag="connections", body=ConnectionIn, answers=ConnectionOut, status=201)
def create(actor: Actor, body: ConnectionIn) -> ConnectionOut:
    """Connect an account.

    It is checked with the service first; what does not work is not kept, and the answer says why (422).
    """
    engine = core.current()
    settings = connections.build_settings(engine, body.integration, body.settings, None)
    _release()
    checks.check(engine, body.integration, settings)
    with writing() as session:
        return _out(
            connections.create(session, actor, engine, body.integration, name=body.name, settings=settings)
        )


@blueprint.get("/connections/<connection_id>")
@operation(Role.VIEWER, tag="connections", answers=ConnectionOut)
def get(actor: Actor, connection_id: str) -> ConnectionOut:
    """A connection, its secrets as dots."""
    return _out(connections.get(db.session(), actor, connection_id))


@blueprint.patch("/connections/<connection_id>")
@operation(Role.EDITOR, tag="connections", body=ConnectionChangeIn, answers=ConnectionOut)
def update(actor: Actor, connection_id: str, body: ConnectionChangeIn) -> ConnectionOut:
    """Change a connection; new settings are checked before they are kept."""
    engine = core.current()
    row = connections.get(db.session(), actor, connection_id)
    name, settings = body.name or row.name, None
    if body.settings is not None:
        entered = _without_dots(dict(row.settings) | body.settings)
        settings = connections.build_settings(engine, row.integration, entered, row)
        key = row.integration
        _release()
        checks.check(engine, key, settings)
    with writing() as session:
        row = connections.update(session, actor, engine, connection_id, name=name, settings=settings)
        shown = _out(row)
    engine.doorbell.ring()
    return shown


@blueprint.delete("/connections/<connection_id>")
@operation(Role.EDITOR, tag="connections", status=204)
def delete(actor: Actor, connection_id: str) -> None:
    """Delete a connection that no rule uses."""
    with writing() as session:
        connections.delete(session, actor, connection_id)


@blueprint.get("/connections/<connection_id>/pace")
@operation(Role.VIEWER, tag="connections", answers=PaceOut)
def pace(actor: Actor, connection_id: str) -> PaceOut:
    """How fast it may be used, and how many tasks wait for it."""
    session = db.session()
    row = connections.get(session, actor, connection_id)
    return PaceOut(**asdict(paces.views(session, actor).get(row.id, paces.FREE)))


@blueprint.put("/connections/<connection_id>/pace")
@operation(Role.EDITOR, tag="connections", body=PaceIn, answers=PaceOut)
def limit(actor: Actor, body: PaceIn, connection_id: str) -> PaceOut:
    """Set or lift its limit."""
    with writing() as session:
        paces.limit(session, actor, connection_id, body.per_minute)
    core.current().doorbell.ring()
    return PaceOut(**asdict(paces.views(db.session(), actor).get(connection_id, paces.FREE)))


@blueprint.post("/connections/<connection_id>/check")
@operation(Role.EDITOR, tag="connections", answers=CheckedOut)
def check(actor: Actor, connection_id: str) -> CheckedOut:
    """Prove a connection with a harmless call; one that works again lets go of what was held for it."""
    engine = core.current()
    row = connections.get(db.session(), actor, connection_id)
    db.session().expunge(row)
    _release()
    works, sentence = checks.recheck(engine, row)
    with writing() as session:
        row = connections.get(session, actor, connection_id)
        connections.mark(session, row, healthy=works, cause=None if works else sentence)
    engine.doorbell.ring()
    return CheckedOut(works=works, detail=sentence)


def _release() -> None:
    """Nothing of the database is held while the network answers."""
    db.session().rollback()


def _without_dots(settings: dict[str, Any]) -> dict[str, Any]:
    """What was read and is sent back unchanged means: keep."""
    return {name: None if value == connections.MASK else value for name, value in settings.items()}
