"""Rules that look for something by themselves: looking at once, and beginning anew at another place."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, NotFoundError
from app.models import Rule, Trigger
from app.sdk.declare import Batch, Catalogue, Integration
from app.sdk.fields import Settings, Text, setting
from app.services import rules
from tests.conftest import World

CALL = {"key": "call", "kind": "action", "action": "http.request", "params": {"url": "https://shop.example/"}}


class Shelf(Settings):
    name: Annotated[Text, AfterValidator(str.lower)] = setting("Name", place=True)
    every_minutes: int = setting("Look every … minutes", 5)


def parcels() -> Integration:
    integration = Integration("tests.parcels", "Parcels", "tell of parcels", need="none")

    @integration.poll("New parcel", every=timedelta(minutes=1), samples=[{"parcel": "a"}])
    def parcel(_ctx: Any, _connection: Any, params: Shelf, _cursor: Any, _keys: list[str]) -> Batch:
        """Tells of each parcel on a shelf."""
        raise NotImplementedError

    return integration


@pytest.fixture
def engine(engine: Engine) -> Engine:
    known = dict(engine.catalogue.integrations)
    return replace(engine, catalogue=Catalogue(known | {"parcels": parcels()}))


def document(type_: str = "parcels.parcel", **params: Any) -> dict[str, Any]:
    return {"name": "Parcels", "enabled": True, "trigger": {"type": type_, "params": params}, "steps": [CALL]}


@pytest.fixture
def rule(session: Session, world: World, engine: Engine) -> Rule:
    """Is on, and has looked."""
    made = rules.create(session, world.actor(), engine, document(name="left"), publish=True)
    trigger = trigger_of(session, made)
    trigger.cursor, trigger.recent_keys = 3, ["a", "b"]
    trigger.next_due_at = clock.now() + timedelta(minutes=4)
    session.flush()
    return made


def trigger_of(session: Session, rule: Rule) -> Trigger:
    trigger = rules.trigger_of(session, rule)
    assert trigger is not None
    return trigger


def edited(session: Session, world: World, engine: Engine, rule: Rule, **params: Any) -> Trigger:
    definition = {"trigger": document(**params)["trigger"], "steps": [CALL]}
    rules.save_draft(session, world.actor(), engine, rule.id, definition=definition)
    rules.publish(session, world.actor(), engine, rule.id)
    return trigger_of(session, rule)


def test_a_look_is_due_at_once_when_somebody_asks(session: Session, world: World, rule: Rule) -> None:
    trigger = rules.look_now(session, world.actor("member"), rule.id)

    assert trigger.next_due_at is not None
    assert trigger.next_due_at <= clock.now()
    assert (trigger.cursor, trigger.recent_keys) == (3, ["a", "b"])


def test_a_rule_that_is_off_does_not_look(session: Session, world: World, rule: Rule) -> None:
    rules.disable(session, world.actor(), rule.id)

    with pytest.raises(ConflictError, match="Parcels is off; turn it on"):
        rules.look_now(session, world.actor(), rule.id)

    assert trigger_of(session, rule).next_due_at is None


def test_a_rule_that_is_called_does_not_look(session: Session, world: World, engine: Engine) -> None:
    called = rules.create(session, world.actor(), engine, document("webhook.received"), publish=True)

    with pytest.raises(ConflictError, match="does not look for anything by itself"):
        rules.look_now(session, world.actor(), called.id)


def test_only_editors_of_its_workspace_may_ask(session: Session, world: World, rule: Rule) -> None:
    with pytest.raises(ForbiddenError):
        rules.look_now(session, world.actor("viewer"), rule.id)
    with pytest.raises(NotFoundError):
        rules.look_now(session, world.actor("stranger"), rule.id)


def test_another_interval_and_another_spelling_keep_where_it_got_to(
    session: Session, world: World, engine: Engine, rule: Rule
) -> None:
    trigger = edited(session, world, engine, rule, name="LEFT", every_minutes=60)

    assert (trigger.cursor, trigger.recent_keys) == (3, ["a", "b"])


def test_another_place_is_looked_at_as_for_the_first_time(
    session: Session, world: World, engine: Engine, rule: Rule
) -> None:
    trigger = edited(session, world, engine, rule, name="right")

    assert (trigger.cursor, trigger.recent_keys) == (None, [])
    assert trigger.next_due_at is not None
