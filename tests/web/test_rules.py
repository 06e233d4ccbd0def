"""The rule editor, walked as a person with a browser does."""

import re
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.models import Hook, Rule, RuleVersion, Trigger
from app.services import rules
from tests import factories
from tests.conftest import World


def now_in(session: Session) -> Session:
    """The session, with what pages have stored since it last looked."""
    session.rollback()
    return session


def started(client: FlaskClient, trigger: str = "webhook.received", name: str = "Big orders") -> str:
    """A new rule's id."""
    answer = client.post("/rules", data={"name": name, "trigger": trigger})
    assert answer.status_code == 302, answer.text
    return urlsplit(answer.location).path.split("/")[2]


def added(client: FlaskClient, rule_id: str, **chosen: str) -> str:
    """A new step's address."""
    answer = client.post(f"/rules/{rule_id}/steps", data={"after": "", **chosen})
    assert answer.status_code == 302, answer.text
    return urlsplit(answer.location).path


def with_call(client: FlaskClient, rule_id: str, url: str = "https://shop.example/{{ event.order }}") -> str:
    path = added(client, rule_id, action="http.request")
    answer = client.post(path, data={"p_method": "POST", "p_url": url})
    assert answer.status_code == 302, answer.text
    return path


def test_a_person_builds_a_rule_and_turns_it_on(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    filter_path = added(as_member, rule_id, kind="filter")
    as_member.post(filter_path, data={"field": ["event.total", ""], "op": ["gt", "eq"], "value": ["100", ""]})
    with_call(as_member, rule_id)

    shown = as_member.get(f"/rules/{rule_id}").text
    turned_on = as_member.post(f"/rules/{rule_id}/enable", follow_redirects=True).text

    assert "event.total is greater than 100" in shown
    assert "The rule is on" in turned_on
    assert re.search(r"http://bitqueue\.test/hooks/[\w-]{32}", turned_on)
    rule = now_in(session).get(Rule, rule_id)
    assert rule is not None
    assert rule.enabled
    assert rule.draft["steps"][0]["conditions"] == [{"field": "event.total", "op": "gt", "value": 100}]


def test_a_change_runs_only_after_it_was_turned_on(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id)
    as_member.post(f"/rules/{rule_id}/enable")

    as_member.post(path, data={"p_method": "GET", "p_url": "https://shop.example/other"})

    shown = as_member.get(f"/rules/{rule_id}").text
    assert "draft not turned on" in shown
    assert now_in(session).query(RuleVersion).count() == 1
    as_member.post(f"/rules/{rule_id}/publish")
    version = now_in(session).get(Trigger, now_in(session).query(Trigger.id).scalar()).version_id
    assert now_in(session).get(RuleVersion, version).definition["steps"][0]["params"]["method"] == "GET"
    assert now_in(session).get(RuleVersion, version).number == 2


def test_a_draft_can_be_discarded(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id)
    as_member.post(f"/rules/{rule_id}/enable")
    as_member.post(path + "/delete")

    as_member.post(f"/rules/{rule_id}/discard")

    assert len(now_in(session).get(Rule, rule_id).draft["steps"]) == 1


def test_a_rule_that_lacks_something_is_not_turned_on_and_says_what(
    as_member: FlaskClient, session: Session
) -> None:
    rule_id = started(as_member)
    added(as_member, rule_id, action="smtp.send")

    answer = as_member.post(f"/rules/{rule_id}/enable", follow_redirects=True).text

    assert "Choose a connection" in answer or "choose a connection" in answer
    assert not now_in(session).get(Rule, rule_id).enabled


def test_errors_stand_beside_the_field_and_nothing_is_saved(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="http.request")

    answer = as_member.post(
        path, data={"p_method": "POST", "p_url": "https://x.example/{{ event.total", "p_json": "{"}
    )

    assert answer.status_code == 422
    assert 'id="f-p_url-error"' in answer.text
    assert 'id="f-p_json-error"' in answer.text
    assert "{{ event.total" in answer.text
    assert now_in(session).get(Rule, rule_id).draft["steps"][0]["params"] == {}


def test_a_template_that_names_a_later_step_is_refused(as_member: FlaskClient) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="http.request")

    answer = as_member.post(path, data={"p_url": "https://x.example/{{ steps.later.id }}"})

    assert answer.status_code == 422
    assert "steps.later.id is nothing that is known at this step" in answer.text


def test_the_picker_shows_the_values_of_the_example(as_member: FlaskClient) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="http.request")

    page = as_member.get(path).text

    assert 'data-insert="event.' in page


def test_the_picker_shows_the_values_of_the_last_event(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="http.request")
    trigger = now_in(session).query(Trigger).one()
    factories.EventFactory(
        workspace_id=world.workspace.id,
        source=trigger.id,
        type="webhook.received",
        data={"lines": [{"sku": "A-1"}]},
    )

    page = as_member.get(path).text

    assert 'data-insert="event.lines[0].sku"' in page
    assert "A-1" in page


def test_steps_are_moved_and_deleted(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    first = added(as_member, rule_id, kind="filter")
    second = with_call(as_member, rule_id)

    as_member.post(second + "/move", data={"direction": "up"})
    order = [step["kind"] for step in now_in(session).get(Rule, rule_id).draft["steps"]]
    as_member.post(first + "/delete")

    assert order == ["action", "filter"]
    assert [step["kind"] for step in now_in(session).get(Rule, rule_id).draft["steps"]] == ["action"]


def test_a_step_goes_where_it_was_asked_for(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    with_call(as_member, rule_id)

    as_member.post(f"/rules/{rule_id}/steps", data={"after": "trigger", "kind": "filter"})

    assert [step["kind"] for step in now_in(session).get(Rule, rule_id).draft["steps"]] == [
        "filter",
        "action",
    ]


def test_a_dry_run_shows_what_would_be_sent(as_member: FlaskClient) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id, "https://shop.example/done?token=hush")

    page = as_member.post(path + "/test", data={"mode": "dry"}).text

    assert "nothing was sent" in page
    assert "https://shop.example/done" in page
    assert "hush" not in page


def test_really_doing_it_at_a_private_address_fails_in_plain_words(as_member: FlaskClient) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id, "http://127.0.0.1:6379/")

    page = as_member.post(path + "/test", data={"mode": "real"})

    assert page.status_code == 200
    assert "badge-failed" in page.text


def test_a_filter_is_tried_condition_by_condition(as_member: FlaskClient) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, kind="filter")
    as_member.post(path, data={"field": "event.nothing_like_this", "op": "eq", "value": "1"})

    page = as_member.post(path + "/test", data={"mode": "dry"}).text

    assert "does not match" in page
    assert "event.nothing_like_this is not there" in page


def test_a_schedule_shows_its_next_times(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member, "schedule.cron")

    answer = as_member.post(
        f"/rules/{rule_id}/trigger",
        data={
            "name": "Mornings", "type": "schedule.cron", "p_expression": "0 9 * * 1-5", "p_zone": "Asia/Kolkata",
            "p_missed": "once", "next": "stay",
        },
        follow_redirects=True,
    )  # fmt: skip

    assert answer.text.count("09:00:00</time>") == 5
    assert "in Asia/Kolkata" in answer.text
    assert now_in(session).get(Rule, rule_id).name == "Mornings"


def test_a_wrong_schedule_says_so_at_its_field(as_member: FlaskClient) -> None:
    rule_id = started(as_member, "schedule.cron")

    answer = as_member.post(
        f"/rules/{rule_id}/trigger",
        data={
            "name": "x",
            "type": "schedule.cron",
            "p_expression": "99 9 * * *",
            "p_zone": "UTC",
            "p_missed": "once",
        },
    )

    assert answer.status_code == 422
    assert 'id="f-p_expression-error"' in answer.text


def test_a_rule_started_by_hand_runs_with_ones_own_data(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    rule_id = started(as_member, "manual.started")
    with_call(as_member, rule_id, "https://shop.example/done")
    refused = as_member.post(f"/rules/{rule_id}/run", data={}, follow_redirects=True)
    as_member.post(f"/rules/{rule_id}/enable")

    damaged = as_member.post(f"/rules/{rule_id}/run", data={"data": "{"}, follow_redirects=True)
    as_member.post(f"/rules/{rule_id}/run", data={"data": '{"total": 7}'})

    assert "is off; turn it on" in refused.text
    assert "not JSON" in damaged.text
    [(_, data)] = rules.last_runs(session, now_in(session).get(Rule, rule_id), 5)
    assert data == {"total": 7}


def test_waiting_for_a_call_makes_the_hook_listen(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)

    page = as_member.post(f"/rules/{rule_id}/listen", follow_redirects=True).text
    panel = as_member.get(f"/rules/{rule_id}/trigger", headers={"HX-Request": "true"}).text

    assert now_in(session).query(Hook).one().listening_until is not None
    assert "Waiting for a call" in page
    assert "Waiting for a call" in panel
    assert "<html" not in panel


def test_a_copy_is_off_and_has_its_own_address(
    as_member: FlaskClient, session: Session, engine: Engine
) -> None:
    rule_id = started(as_member)
    with_call(as_member, rule_id)
    as_member.post(f"/rules/{rule_id}/enable")

    as_member.post(f"/rules/{rule_id}/duplicate")

    one, two = now_in(session).query(Rule).order_by(Rule.id)
    assert not two.enabled
    assert one.draft == two.draft
    assert rules.hook_url(session, engine, one) != rules.hook_url(session, engine, two)


def test_a_deleted_rule_has_no_page_and_no_address(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)

    as_member.post(f"/rules/{rule_id}/delete")

    assert as_member.get(f"/rules/{rule_id}").status_code == 404
    assert now_in(session).query(Hook).count() == 0
    assert "Big orders" not in as_member.get("/rules").text


def test_a_viewer_sees_a_rule_and_changes_nothing(
    as_member: FlaskClient, as_viewer: FlaskClient, session: Session
) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id)

    seen = as_viewer.get(f"/rules/{rule_id}")
    verbs = [
        f"/rules/{rule_id}/{verb}" for verb in ("enable", "disable", "publish", "delete", "run", "duplicate")
    ]
    answers = {
        as_viewer.post(url).status_code for url in [*verbs, path, path + "/delete", path + "/test", "/rules"]
    }

    assert seen.status_code == 200
    assert "Turn on" not in seen.text
    assert answers == {403}


def test_another_workspaces_rule_is_not_there(as_member: FlaskClient, as_stranger: FlaskClient) -> None:
    rule_id = started(as_member)
    path = with_call(as_member, rule_id)

    answers = {
        as_stranger.get(url).status_code for url in (f"/rules/{rule_id}", f"/rules/{rule_id}/trigger", path)
    }
    answers |= {
        as_stranger.post(url).status_code for url in (f"/rules/{rule_id}/enable", path, path + "/test")
    }

    assert answers == {404}


def test_a_step_cannot_use_another_workspaces_connection(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    foreign = factories.ConnectionFactory(workspace_id=world.other_workspace.id, integration="http")
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="http.request")

    answer = as_member.post(path, data={"p_url": "https://shop.example/", "connection": foreign.id})

    assert answer.status_code == 422
    assert "there is no connection" in answer.text
    assert now_in(session).get(Rule, rule_id).draft["steps"][0]["connection"] is None


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "javascript:alert(1)", '"><img src=x onerror=alert(1)>']
)
def test_markup_in_a_name_is_text(as_member: FlaskClient, name: str) -> None:
    rule_id = started(as_member, name=name)
    path = added(as_member, rule_id, kind="filter")
    as_member.post(path, data={"name": name, "field": "event.x", "op": "eq", "value": name})

    pages = [as_member.get(url).text for url in (f"/rules/{rule_id}", path, path + "/test", "/rules")]

    assert not any(
        "<script>alert" in page or "<img src=x" in page or 'href="javascript' in page for page in pages
    )


def test_a_draft_whose_integration_is_gone_still_has_its_pages(
    as_member: FlaskClient, session: Session, world: World
) -> None:
    rule = factories.RuleFactory(
        workspace_id=world.workspace.id,
        draft={
            "trigger": {"type": "gone.happened", "params": {"a": 1}, "connection": None},
            "steps": [
                {"key": "lost", "kind": "action", "action": "gone.do_it", "params": {}, "connection": "con_x"}
            ],
        },
    )

    shown = as_member.get(f"/rules/{rule.id}")
    others = [
        as_member.get(f"/rules/{rule.id}/{path}") for path in ("trigger", "steps/lost", "steps/lost/test")
    ]
    listed = as_member.get("/rules")
    tried = as_member.post(f"/rules/{rule.id}/steps/lost/test", data={"mode": "dry"})
    turned_on = as_member.post(f"/rules/{rule.id}/enable", follow_redirects=True)
    as_member.post(f"/rules/{rule.id}/steps/lost/delete")

    assert shown.status_code == listed.status_code == tried.status_code == 200
    assert {answer.status_code for answer in others} == {200}
    assert "not installed" in shown.text
    assert "not installed" in turned_on.text
    assert now_in(session).get(Rule, rule.id).draft["steps"] == []


def test_a_new_rule_needs_a_name_and_a_trigger(as_member: FlaskClient) -> None:
    nameless = as_member.post("/rules", data={"name": " ", "trigger": "webhook.received"})
    unknown = as_member.post("/rules", data={"name": "x", "trigger": "gone.happened"})

    assert nameless.status_code == unknown.status_code == 422
    assert 'id="f-name-error"' in nameless.text
    assert 'id="f-trigger-error"' in unknown.text


def test_rules_are_found_by_their_address(as_member: FlaskClient, session: Session, engine: Engine) -> None:
    rule_id = started(as_member)
    started(as_member, name="Another")
    address = rules.hook_url(session, engine, now_in(session).get(Rule, rule_id))

    page = as_member.get("/rules", query_string={"text": address}).text

    assert "Big orders" in page
    assert "Another" not in page


def test_a_refused_call_is_told_where_one_waits_for_it(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    hook = now_in(session).query(Hook).one()
    hook.refused_at, hook.refused_cause = clock.now(), "the signature does not fit"
    session.commit()

    assert "The signature does not fit." in as_member.get(f"/rules/{rule_id}/trigger").text


def test_a_step_that_lacks_a_connection_is_kept(as_member: FlaskClient, session: Session) -> None:
    rule_id = started(as_member)
    path = added(as_member, rule_id, action="smtp.send")

    mail = {"p_to": "a@example.com", "p_subject": "x", "p_text": "y"}
    answer = as_member.post(path, data=mail, follow_redirects=True)

    assert "choose a connection" in answer.text
    assert now_in(session).get(Rule, rule_id).draft["steps"][0]["params"]["to"] == ["a@example.com"]


def test_a_way_that_is_not_one_leads_nowhere(as_member: FlaskClient) -> None:
    rule_id = started(as_member)

    unknown = as_member.post(f"/rules/{rule_id}/steps", data={"action": "gone.do_it"}, follow_redirects=True)
    nobody = as_member.post(f"/rules/{rule_id}/steps/none/move", data={"direction": "up"})
    event = as_member.post(f"/rules/{rule_id}/listen", data={"event": "evt_of_nobody"})

    assert "not installed" in unknown.text or "Choose what the step shall do" in unknown.text
    assert (nobody.status_code, event.status_code) == (404, 404)
