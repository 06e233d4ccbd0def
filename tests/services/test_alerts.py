"""How people are told, and what they have read."""

from typing import Any

import pytest
from sqlalchemy.orm import Session

from app import clock
from app.database import db, writing
from app.engine import alerts as told_by
from app.engine import core
from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.models import AlertKind, Channel, State, Task
from app.services import activity, alerts
from app.services.activity import Wanted
from app.services.alerts import Preference
from tests import factories
from tests.conftest import World


def tell(engine: Engine, world: World, key: str = "disk", **more: Any) -> None:
    values = {"kind": AlertKind.DISK, "title": "The disk is full", "sentence": "make room"} | more
    with writing() as session:
        cause = told_by.Cause(world.workspace.id, key=key, **values)
        told_by.tell(session.connection(), engine, cause)
    db.session.rollback()


def save(world: World, who: str, **wishes: Any) -> None:
    with writing() as session:
        alerts.save_preference(session, world.actor(who), core.current(), Preference(**wishes))


def account(world: World, integration: str = "smtp", **more: Any) -> str:
    values = {"workspace_id": world.workspace.id, "integration": integration, "healthy": True} | more
    return str(factories.ConnectionFactory(**values).id)


def test_everybody_in_the_workspace_is_told_and_nobody_else(session: Session, world: World, engine: Engine):
    tell(engine, world)

    counts = {who: alerts.count_unread(session, world.actor(who)) for who in world.actors}

    assert counts == {"owner": 1, "admin": 1, "member": 1, "viewer": 1, "stranger": 0}


def test_reading_is_each_persons_own(session: Session, world: World, engine: Engine):
    tell(engine, world)
    (told,) = alerts.unread(session, world.actor("owner"))

    alerts.mark_read(session, world.actor("owner"), told.row.id)

    assert alerts.unread(session, world.actor("owner")) == []
    assert alerts.count_unread(session, world.actor("member")) == 1
    assert [each.read for each in alerts.listing(session, world.actor("owner")).items] == [True]


def test_another_workspaces_alert_is_not_found(session: Session, world: World, engine: Engine):
    tell(engine, world)
    (told,) = alerts.unread(session, world.actor("owner"))

    with pytest.raises(NotFoundError):
        alerts.mark_read(session, world.actor("stranger"), told.row.id)


def test_what_a_message_brings_is_not_unread_until_it_fails(session: Session, world: World, engine: Engine):
    save(world, "owner", channel=Channel.MAIL, connection_id=account(world))
    tell(engine, world)
    sent = alerts.count_unread(session, world.actor("owner"))
    task = session.query(Task).one()

    task.state, task.cause = State.FAILED, "the mail server refused it"
    session.commit()

    assert (sent, alerts.count_unread(session, world.actor("owner"))) == (0, 1)


def test_a_mail_goes_to_ones_own_address_unless_another_is_given(
    session: Session, world: World, engine: Engine
):
    way = account(world)
    save(world, "owner", channel=Channel.MAIL, connection_id=way)
    save(world, "member", channel=Channel.MAIL, connection_id=way, address="Ops <ops@example.com>")

    tell(engine, world)

    to = sorted(task.params["to"][0] for task in session.query(Task))
    assert to == ["ops@example.com", "owner@example.com"]


def test_the_message_stands_in_activity_as_an_alert(session: Session, world: World, engine: Engine):
    save(world, "owner", channel=Channel.MAIL, connection_id=account(world))
    tell(engine, world)

    (entry,) = activity.listing(session, world.actor("viewer"), engine, Wanted()).items

    assert entry.title == "Alert: Send a mail"


@pytest.mark.parametrize(
    ("wishes", "field"),
    [
        ({"channel": Channel.MAIL}, "connection_id"),
        ({"channel": Channel.MAIL, "connection_id": "slack"}, "connection_id"),
        ({"channel": Channel.MAIL, "connection_id": "theirs"}, "connection_id"),
        ({"channel": Channel.MAIL, "connection_id": "smtp", "address": "nobody"}, "address"),
        ({"channel": Channel.MAIL, "connection_id": "smtp", "address": "a@b.example\nBcc: c@d.example"}, "address"),
        ({"channel": Channel.CHAT, "connection_id": "slack_app"}, "address"),
        ({"channel": Channel.WEBHOOK}, "address"),
        ({"channel": Channel.WEBHOOK, "address": "file:///etc/passwd"}, "address"),
    ],
)  # fmt: skip
def test_a_way_that_cannot_work_is_refused(
    session: Session, world: World, wishes: dict[str, Any], field: str
):
    ways = {key: account(world, key) for key in ("smtp", "slack", "slack_app")}
    ways["theirs"] = account(world, workspace_id=world.other_workspace.id)
    given = wishes | ({"connection_id": ways[wishes["connection_id"]]} if "connection_id" in wishes else {})

    with pytest.raises(InvalidError) as refused:
        alerts.save_preference(session, world.actor("owner"), core.current(), Preference(**given))

    assert set(refused.value.fields) == {field}


def test_a_viewer_chooses_kinds_and_sends_nothing(session: Session, world: World):
    save(world, "viewer", kinds=(AlertKind.DISK,))
    wished = Preference(channel=Channel.MAIL, connection_id=account(world))

    with pytest.raises(ForbiddenError):
        alerts.save_preference(session, world.actor("viewer"), core.current(), wished)
    with pytest.raises(ForbiddenError):
        alerts.send_test(session, world.actor("viewer"), None)  # type: ignore[arg-type]

    assert alerts.preference(session, world.actor("viewer")).kinds == (AlertKind.DISK,)


def test_a_test_alert_is_a_task(session: Session, world: World, engine: Engine):
    with pytest.raises(ConflictError):
        alerts.send_test(session, world.actor("owner"), engine)
    save(world, "owner", channel=Channel.WEBHOOK, address="https://ops.example/alerts")

    with writing() as write:
        task_id = alerts.send_test(write, world.actor("owner"), engine)

    task = session.get_one(Task, task_id)
    assert (task.action, task.params["json"]["kind"]) == ("http.request", "test")
    assert task.created_at <= clock.now()


def test_a_failed_alert_makes_no_alert(session: Session, world: World, engine: Engine):
    save(world, "owner", channel=Channel.WEBHOOK, address="https://ops.example/alerts")
    tell(engine, world)
    task = session.query(Task).one()
    task.state, task.finished_at = State.FAILED, clock.now()
    session.commit()

    assert task.run_id is None
    assert len(alerts.listing(session, world.actor("owner")).items) == 1
