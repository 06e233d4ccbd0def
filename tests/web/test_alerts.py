"""The pages of alerts and of a trigger's health."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from app import clock
from app.database import db, writing
from app.engine import alerts
from app.engine.alerts import Cause
from app.models import AlertKind, AlertPreference, Channel, Event, Task, Trigger
from app.services import rules
from tests import factories
from tests.conftest import World


@pytest.fixture
def told(engine, world: World) -> None:
    with writing() as session:
        cause = Cause(world.workspace.id, AlertKind.DISK, "disk", "The disk is <full>", "make room")
        alerts.tell(session.connection(), engine, cause)
    db.session.rollback()


def test_an_unread_alert_stands_on_home_and_in_the_header_until_it_is_read(as_viewer: FlaskClient, told):
    home, elsewhere = as_viewer.get("/").text, as_viewer.get("/rules").text
    alert_id = home.split('action="/alerts/')[1].split("/read")[0]

    answer = as_viewer.post(f"/alerts/{alert_id}/read")

    assert "The disk is &lt;full&gt;" in home
    assert "1 unread alert" in elsewhere
    assert answer.location == "/"
    assert "The disk is" not in as_viewer.get("/").text
    assert "unread alert" not in as_viewer.get("/rules").text
    assert "The disk is" in as_viewer.get("/settings/alerts").text


def test_all_are_read_at_once(as_owner: FlaskClient, as_member: FlaskClient, told):
    as_owner.post("/alerts/read", data={"back": "settings"})

    assert "unread alert" not in as_owner.get("/rules").text
    assert "1 unread alert" in as_member.get("/rules").text


def test_a_person_chooses_how_to_be_told(as_member: FlaskClient, world: World):
    account = factories.ConnectionFactory(workspace_id=world.workspace.id, name="Office mail")
    given = {"kinds": ["failed", "disk"], "channel": "mail", "connection_id": account.id, "address": ""}

    answer = as_member.post("/settings/alerts", data=given)

    row = db.session.get_one(AlertPreference, (world.workspace.id, world.member.id))
    assert answer.location == "/settings/alerts"
    assert (row.kinds, row.channel, row.connection_id) == (["failed", "disk"], Channel.MAIL, account.id)
    assert "Office mail" in as_member.get("/settings/alerts").text


def test_what_does_not_fit_stands_beside_its_field(as_member: FlaskClient):
    answer = as_member.post("/settings/alerts", data={"channel": "webhook", "address": "nowhere"})

    assert answer.status_code == 422
    assert "error-text" in answer.text


def test_a_test_alert_is_sent_and_shown(as_member: FlaskClient, world: World):
    as_member.post("/settings/alerts", data={"channel": "webhook", "address": "https://ops.example/x"})

    answer = as_member.post("/settings/alerts/test")

    task = db.session.query(Task).one()
    assert answer.location == f"/tasks/{task.id}"
    assert "Alert: Send a request" in as_member.get(answer.location).text


def test_a_test_without_a_way_says_what_to_do(as_member: FlaskClient):
    as_member.post("/settings/alerts/test")

    assert "Choose a way that works first" in as_member.get("/settings/alerts").text


def test_a_viewer_sees_no_form_for_sending(as_viewer: FlaskClient):
    page = as_viewer.get("/settings/alerts").text

    assert 'name="kinds"' in page
    assert 'name="channel"' not in page
    assert as_viewer.post("/settings/alerts", data={"kinds": ["disk"]}).status_code == 302


@pytest.fixture
def late(engine, world: World) -> str:
    """The id of a rule that missed three hours."""
    call = {"key": "call", "action": "http.request", "params": {"url": "https://shop.example/"}}
    trigger = {"type": "schedule.every", "params": {"every": 1, "unit": "hours"}}
    document = {"name": "Hourly", "enabled": True, "trigger": trigger, "steps": [call]}
    with writing() as session:
        rule = rules.create(session, world.actor(), engine, document, publish=True)
    row = db.session.query(Trigger).one()
    row.next_due_at = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
    db.session.commit()
    return rule.id


def test_a_stuck_rule_says_so_wherever_it_is_shown(as_viewer: FlaskClient, late: str):
    for page in (as_viewer.get("/rules").text, as_viewer.get(f"/rules/{late}").text):
        assert "stuck" in page
        assert "was due" in page
    assert "Hourly cannot be started" in as_viewer.get("/").text


def test_missed_times_are_caught_up_from_the_rules_page(as_member: FlaskClient, late: str):
    page = as_member.get(f"/rules/{late}").text

    as_member.post(f"/rules/{late}/catch-up", data={"choice": "all"})

    assert "3 times were missed" in page
    assert db.session.query(Event).count() == 3
    assert "were missed" not in as_member.get(f"/rules/{late}").text


def test_an_unknown_choice_changes_nothing(as_member: FlaskClient, late: str):
    as_member.post(f"/rules/{late}/catch-up", data={"choice": "twice"})

    assert db.session.query(Event).count() == 0
