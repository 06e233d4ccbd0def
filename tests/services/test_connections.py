"""Accounts: built from forms, sealed, masked, and kept while rules use them."""

import pytest
from sqlalchemy.orm import Session

from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, SealError
from app.models import Connection, State
from app.services import connections, rules
from tests import factories
from tests.conftest import World

FORM = {"auth": "bearer", "secret": "tok_hush_hush", "hosts": "api.example.com"}


def made(session: Session, world: World, engine: Engine, **changes: str) -> Connection:
    settings = connections.build_settings(engine, "http", FORM | changes, None)
    return connections.create(session, world.actor("member"), engine, "http", name="Shop", settings=settings)


def using(connection_id: str) -> dict[str, object]:
    call = {
        "action": "http.request",
        "connection": connection_id,
        "params": {"url": "https://api.example.com/"},
    }
    return {"name": "Big orders", "trigger": {"type": "manual.started"}, "steps": [call]}


def test_a_secret_is_sealed_and_opens_only_in_its_row(session: Session, world: World, engine: Engine) -> None:
    row, other = made(session, world, engine), made(session, world, engine, secret="tok_other_one")

    assert "tok_hush_hush" not in row.sealed + str(row.settings)
    assert connections.opened(engine, row).secret.get_secret_value() == "tok_hush_hush"
    row.sealed, other.sealed = other.sealed, row.sealed
    with pytest.raises(SealError):
        connections.opened(engine, row)


def test_a_masked_connection_holds_no_secret(session: Session, world: World, engine: Engine) -> None:
    shown = connections.masked(engine, made(session, world, engine))

    assert shown["secret"] == connections.MASK
    assert shown["hosts"] == "api.example.com"
    assert "hush" not in str(shown)


def test_an_empty_secret_keeps_the_old_one(session: Session, world: World, engine: Engine) -> None:
    row = made(session, world, engine)

    settings = connections.build_settings(engine, "http", FORM | {"secret": ""}, row)

    assert settings.secret.get_secret_value() == "tok_hush_hush"


def test_a_secret_is_not_carried_to_another_host(session: Session, world: World, engine: Engine) -> None:
    row = made(session, world, engine)

    with pytest.raises(InvalidError) as refused:
        connections.build_settings(
            engine, "http", FORM | {"secret": "", "hosts": "api.example.com, evil.example"}, row
        )

    assert list(refused.value.fields) == ["secret"]


def test_what_is_missing_or_unknown_is_named(engine: Engine) -> None:
    with pytest.raises(InvalidError) as refused:
        connections.build_settings(
            engine, "http", {"secret": "", "hosts": "a.example", "colour": "red"}, None
        )

    assert set(refused.value.fields) == {"secret", "colour"}


def test_an_integration_without_accounts_cannot_be_connected(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        connections.build_settings(engine, "schedule", {}, None)


def test_only_what_takes_accounts_is_offered(engine: Engine) -> None:
    offered = {card.key for card in connections.catalogue_cards(engine)}

    assert {"smtp", "http", "slack", "webhook"} <= offered
    assert not {"schedule", "manual"} & offered


def test_a_connection_in_a_draft_or_in_what_runs_is_not_deleted(
    session: Session, world: World, engine: Engine
) -> None:
    actor, row, other = world.actor("member"), made(session, world, engine), made(session, world, engine)
    rule = rules.create(session, actor, engine, using(row.id) | {"enabled": True}, publish=True)
    draft = {name: using(other.id)[name] for name in ("trigger", "steps")}
    rules.save_draft(session, actor, engine, rule.id, definition=draft)

    for used in (row, other):
        with pytest.raises(ConflictError, match="is used by Big orders"):
            connections.delete(session, actor, used.id)
    rules.delete(session, actor, rule.id)
    connections.delete(session, actor, row.id)

    assert [each.id for each in connections.listing(session, actor)] == [other.id]
    assert connections.usage(session, actor) == {}


def test_deleting_is_for_admins_and_for_who_made_it(session: Session, world: World, engine: Engine) -> None:
    row = made(session, world, engine)
    row.created_by = world.owner.id

    with pytest.raises(ForbiddenError):
        connections.delete(session, world.actor("member"), row.id)
    connections.delete(session, world.actor("admin"), row.id)

    assert connections.listing(session, world.actor("member")) == []


def test_a_viewer_makes_none(session: Session, world: World, engine: Engine) -> None:
    settings = connections.build_settings(engine, "http", FORM, None)

    with pytest.raises(ForbiddenError):
        connections.create(session, world.actor("viewer"), engine, "http", name="Shop", settings=settings)


def test_a_mended_connection_lets_go_of_what_was_held_for_it(
    session: Session, world: World, engine: Engine
) -> None:
    row = made(session, world, engine)
    row.healthy = False
    session.commit()
    task = factories.TaskFactory(
        workspace_id=world.workspace.id, queue_id=world.queue.id, connection_id=row.id, state=State.WAITING,
        cause="held: the connection Shop is broken",
    )  # fmt: skip
    held = connections.held(session, world.actor("member"))

    connections.mark(session, row, healthy=True, cause=None)

    session.refresh(task)
    assert held == {row.id: 1}
    assert task.state is State.QUEUED


def test_a_name_is_needed(session: Session, world: World, engine: Engine) -> None:
    for name in (" ", "x" * 101):
        with pytest.raises(InvalidError) as refused:
            connections.clean_name(name)
        assert list(refused.value.fields) == ["name"]
