from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.database import db
from app.engine import tick
from app.models import Heartbeat, State, Trigger
from tests import factories


@pytest.fixture
def worker(engine, session):
    tick.seen(engine, "wrk_1", "worker")
    session.rollback()


def test_an_empty_workspace_is_taught_the_first_rule(as_owner, worker):
    page = as_owner.get("/")

    assert "Your first rule in a minute" in page.text
    assert "Nothing needs you" in page.text
    assert "No worker" not in page.text


def test_what_was_done_of_the_first_steps_is_ticked_off(as_owner, happened, world):
    factories.ConnectionFactory(workspace_id=world.workspace.id)
    happened.rule()

    page = as_owner.get("/")

    assert page.text.count('<span class="vh">, done</span>') == 3


def test_the_first_steps_are_gone_once_something_ran(as_owner, happened):
    happened.run(State.SUCCEEDED)

    assert "Your first rule" not in as_owner.get("/").text


def test_a_question_a_failure_a_broken_connection_and_a_trigger_need_somebody(
    as_owner, happened, world, worker
):
    asked = happened.run(State.UNCERTAIN, rule="Charge", cause="was it done?")
    failed = happened.run(State.FAILED, rule="Ship", cause="call: the address is gone (404)")
    factories.ConnectionFactory(
        workspace_id=world.workspace.id,
        name="Office mail",
        healthy=False,
        health_cause="the password was refused",
    )
    armed = happened.rule("News")
    db.session.execute(
        sa.update(Trigger).where(Trigger.rule_id == armed.rule_id).values(last_error="the feed is gone")
    )
    db.session.commit()

    page = as_owner.get("/")

    assert "4 things" in page.text
    assert f'href="/tasks/{happened.step(asked).id}"' in page.text
    assert f'href="/runs/{failed.id}"' in page.text
    assert "Call: the address is gone (404)." in page.text
    assert "The connection Office mail is broken" in page.text
    assert "News cannot be started" in page.text
    assert "The feed is gone." in page.text


def test_failures_of_a_rule_are_one_need(as_owner, happened):
    for _ in range(3):
        happened.run(State.FAILED, rule="Ship")
    rule_id = happened.rule("Ship").rule_id

    page = as_owner.get("/")

    assert "Ship failed 3 times" in page.text
    assert f'href="/activity?rule={rule_id}&amp;state=failed"' in page.text


def test_what_was_run_again_needs_nobody(as_owner, happened):
    happened.replayed(happened.run(State.FAILED))

    assert "Nothing needs you" in as_owner.get("/").text


def test_failed_tasks_of_the_api_are_one_need(as_owner, happened):
    happened.task(State.FAILED, cause="no")
    last = happened.task(State.FAILED, cause="no")

    page = as_owner.get("/")

    assert "2 tasks from the API failed" in page.text
    assert f'href="/tasks/{last.id}"' in page.text


def test_without_a_worker_home_says_what_to_do(as_owner, as_viewer, happened, worker):
    db.session.execute(sa.update(Heartbeat).values(seen_at=clock.now() - timedelta(seconds=31)))
    db.session.commit()

    assert "None has been seen for 30 seconds" in as_owner.get("/").text
    assert "Tell whoever runs this server" in as_viewer.get("/").text


def test_today_is_counted_by_state_and_by_rule(as_owner, happened):
    happened.run(State.SUCCEEDED)
    happened.run(State.SUCCEEDED)
    happened.filtered()
    happened.run(State.FAILED, rule="Ship")
    happened.task(State.SUCCEEDED)

    page = as_owner.get("/")

    assert '<b class="good">3</b>' in page.text
    assert '<b class="bad">1</b>' in page.text
    assert "Tasks from the API" in page.text
    assert "Most recent" in page.text


def test_the_live_part_comes_alone(as_owner, happened):
    page = as_owner.get("/", headers={"HX-Request": "true"})

    assert "<html" not in page.text
    assert "Today" in page.text


def test_another_workspaces_day_is_not_seen(as_stranger, happened):
    happened.run(State.FAILED, rule="Their secret rule", cause="call: no")

    page = as_stranger.get("/")

    assert "Their secret rule" not in page.text
    assert "Nothing needs you" in page.text
