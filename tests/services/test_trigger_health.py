"""The health of triggers, in words."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy.orm import Session

from app.database import writing
from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, NotFoundError
from app.models import Rule, Trigger
from app.services import overview, rules, trigger_health
from tests import factories
from tests.conftest import World

CALL = {"key": "call", "kind": "action", "action": "http.request", "params": {"url": "https://shop.example/"}}
NOW = datetime(2026, 11, 21, 2, 0, 40, tzinfo=UTC)


@pytest.fixture(autouse=True)
def at():
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


def on(session: Session, world: World, engine: Engine, trigger: dict[str, Any]) -> Rule:
    document = {"name": "News", "enabled": True, "trigger": trigger, "steps": [CALL]}
    rule = rules.create(session, world.actor(), engine, document, publish=True)
    session.commit()
    return rule


def change(session: Session, **values: Any) -> None:
    trigger = session.query(Trigger).one()
    for name, value in values.items():
        setattr(trigger, name, value)
    session.commit()


def poll(url: str = "https://a.example/feed") -> dict[str, Any]:
    return {"type": "rss.new_entry", "params": {"url": url}}


def daily(**more: Any) -> dict[str, Any]:
    params = {"expression": "0 9 * * *", "zone": "Asia/Kolkata"} | more
    return {"type": "schedule.cron", "params": params}


def health(session: Session, world: World, engine: Engine, rule: Rule) -> trigger_health.Standing:
    found = trigger_health.of(session, world.actor(), engine, rule)
    assert found is not None
    return found


def test_a_poll_says_when_it_looked_and_when_it_will(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, poll())
    change(
        session, looked_at=NOW - timedelta(seconds=40), next_due_at=datetime(2026, 11, 21, 2, 5, tzinfo=UTC)
    )

    found = health(session, world, engine, rule)

    assert (found.state, found.sentence) == ("armed", "last looked 40 s ago, next 02:05 UTC")


def test_a_schedule_speaks_in_its_own_zone(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, daily())

    found = health(session, world, engine, rule)

    assert found.sentence == "has not run yet, next 09:00 Asia/Kolkata"


def test_another_day_is_named(session: Session, world: World, engine: Engine, at):
    rule = on(session, world, engine, daily())
    at.shift(timedelta(hours=2))
    change(session, next_due_at=datetime(2026, 11, 22, 3, 30, tzinfo=UTC), last_fired_at=NOW)

    found = health(session, world, engine, rule)

    assert found.sentence == "last ran 2 h ago, next Sun 22 Nov 09:00 Asia/Kolkata"


def test_a_hook_is_armed_with_the_time_of_its_last_call(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, {"type": "webhook.received", "params": {}})
    before = health(session, world, engine, rule).sentence
    trigger = session.query(Trigger).one()
    event = factories.EventFactory(
        workspace_id=world.workspace.id, source=trigger.id, received_at=NOW - timedelta(minutes=3)
    )
    factories.RunFactory(
        workspace_id=world.workspace.id, rule_id=rule.id, version_id=trigger.version_id, event_id=event.id
    )

    found = health(session, world, engine, rule)

    assert (before, found.sentence, found.state) == ("not called yet", "last called 3 min ago", "armed")


def test_a_broken_connection_disconnects(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, poll())
    account = factories.ConnectionFactory(workspace_id=world.workspace.id, healthy=False)
    change(session, connection_id=account.id)

    found = health(session, world, engine, rule)

    assert (found.state, found.sentence) == (
        "disconnected", "has not looked yet, its connection is broken; connect it again",
    )  # fmt: skip


def test_what_is_off_has_no_health(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, poll())
    rules.disable(session, world.actor(), rule.id)

    assert trigger_health.of(session, world.actor(), engine, rule) is None


def test_home_tells_of_a_stuck_trigger_and_not_of_an_armed_one(
    session: Session, world: World, engine: Engine
):
    on(session, world, engine, poll())
    armed = overview.needs(session, world.actor(), engine)

    change(session, next_due_at=NOW - timedelta(hours=2), armed_at=NOW - timedelta(hours=3))

    (need,) = overview.needs(session, world.actor(), engine)
    assert (armed, need.kind, need.name) == ([], "trigger", "News")
    assert overview.count_needs(session, world.actor(), engine) == 1


def test_a_schedule_in_a_zone_that_is_gone_is_still_shown(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, daily())
    change(session, params={"expression": "0 9 * * *", "zone": "Mars/Base"}, next_due_at=None)

    assert "has not run yet" in health(session, world, engine, rule).sentence


def test_missed_times_are_offered_and_caught_up(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, daily())
    change(session, next_due_at=datetime(2026, 11, 18, 3, 30, tzinfo=UTC))
    offered = health(session, world, engine, rule).missed

    with writing() as write:
        started = trigger_health.catch_up(write, world.actor("member"), engine, rule.id, choice="all")

    session.rollback()
    assert (offered, started) == (3, 3)
    assert health(session, world, engine, rule).missed == 0


def test_only_editors_catch_up_and_only_schedules(session: Session, world: World, engine: Engine):
    rule = on(session, world, engine, poll())

    with pytest.raises(ForbiddenError):
        trigger_health.catch_up(session, world.actor("viewer"), engine, rule.id, choice="all")
    with pytest.raises(NotFoundError):
        trigger_health.catch_up(session, world.actor("stranger"), engine, rule.id, choice="all")
    with pytest.raises(ConflictError):
        trigger_health.catch_up(session, world.actor(), engine, rule.id, choice="all")
