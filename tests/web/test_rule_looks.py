"""Looking at once from a rule's page, and what the page tells of a rule that looks by itself."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.models import Rule, Trigger
from app.services import rules
from tests.conftest import World

TRIGGER = {"type": "rss.new_entry", "params": {"url": "https://shop.example/feed"}}
CALL = {"key": "call", "kind": "action", "action": "http.request", "params": {"url": "https://shop.example/"}}


@pytest.fixture
def rule(session: Session, world: World, engine: Engine) -> str:
    """The id of one that is on and looks again in four minutes."""
    document: dict[str, Any] = {"name": "News", "enabled": True, "trigger": TRIGGER, "steps": [CALL]}
    made = rules.create(session, world.actor(), engine, document, publish=True)
    trigger = rules.trigger_of(session, made)
    assert trigger
    trigger.next_due_at = clock.now() + timedelta(minutes=4, seconds=30)
    session.commit()
    return made.id


def due_at(session: Session, rule_id: str) -> Any:
    session.rollback()
    return session.query(Trigger.next_due_at).filter(Trigger.rule_id == rule_id).scalar()


def test_an_editor_lets_a_rule_look_at_once(as_member: FlaskClient, session: Session, rule: str) -> None:
    before = as_member.get(f"/rules/{rule}").text
    after = as_member.post(f"/rules/{rule}/look", follow_redirects=True).text

    assert "It looks again <time" in before
    assert "in 4 min" in before
    assert "It looks now. What it finds starts a run" in after
    assert '<p class="sub">It looks now.</p>' in after
    assert due_at(session, rule) <= clock.now()


def test_a_viewer_sees_when_it_looks_and_cannot_make_it(
    as_viewer: FlaskClient, session: Session, rule: str
) -> None:
    seen = as_viewer.get(f"/rules/{rule}").text
    answer = as_viewer.post(f"/rules/{rule}/look")

    assert "It looks again" in seen
    assert "Look now" not in seen
    assert answer.status_code == 403
    assert due_at(session, rule) > clock.now()


def test_a_rule_that_was_turned_off_meanwhile_says_so(
    as_member: FlaskClient, session: Session, rule: str
) -> None:
    as_member.post(f"/rules/{rule}/disable")

    answer = as_member.post(f"/rules/{rule}/look", follow_redirects=True).text

    assert "News is off; turn it on, and it looks at once." in answer
    assert "Look now" not in answer
    assert due_at(session, rule) is None


def test_the_last_runs_keep_themselves_fresh(as_member: FlaskClient, session: Session, rule: str) -> None:
    page = as_member.get(f"/rules/{rule}").text
    part = as_member.get(f"/rules/{rule}", headers={"HX-Request": "true"}).text
    as_member.post(f"/rules/{rule}/disable")

    assert f'hx-get="/rules/{rule}"' in page
    assert "It has not run yet." in part
    assert "<html" not in part
    assert "Look now" not in part
    assert "hx-get" not in as_member.get(f"/rules/{rule}").text
    assert session.query(Rule).count() == 1
