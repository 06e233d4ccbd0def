import re

import pytest
import sqlalchemy as sa

from app.database import db
from app.models import AuditEntry, BulkOrder, Connection, Run, State, Task
from tests import factories

FRAGMENT = {"HX-Request": "true"}
REFUSED = "call: shop.example rejected order {} (404)"


def fail(happened, count=1, cause=REFUSED, **more):
    """Runs that failed alike: each cause names another order."""
    return [happened.run(State.FAILED, cause=cause.format(1000 + number), **more) for number in range(count)]


def groups(page):
    return re.findall(r'<section class="card" id="(flr_\w+)"', page.text)


def key(client):
    [found] = groups(client.get("/failures"))
    return found


def act(client, **form):
    return client.post(f"/failures/{form.pop('group', None) or key(client)}", data=form)


def said(client, answer):
    assert answer.status_code == 302, answer.text
    return client.get(answer.location).text


def replays():
    return [row.replay_of for row in db.session.scalars(sa.select(Run).where(Run.replay_of.is_not(None)))]


def test_the_page_teaches_while_nothing_has_failed(as_viewer, happened):
    happened.run(State.SUCCEEDED)

    page = as_viewer.get("/failures")

    assert "Nothing has failed" in page.text
    assert groups(page) == []


def test_what_failed_alike_stands_together_in_plain_words(as_viewer, happened):
    fail(happened, 3)
    fail(happened, 1, cause="call: the token was refused")
    fail(happened, 1, rule="Ship")

    page = as_viewer.get("/failures")

    assert len(groups(page)) == 3
    assert "3 failed" in page.text
    assert "Call: shop.example rejected order … (404)." in page.text
    assert "Ship: Send a request" in page.text


def test_tasks_of_the_api_and_questions_stand_there_too(as_member, happened):
    happened.task(State.FAILED, cause="the shop is closed")
    happened.run(State.UNCERTAIN, cause="was it done?")

    page = as_member.get("/failures")

    assert len(groups(page)) == 2
    assert "Tasks from the API" in page.text
    assert "It was done" in page.text


def test_a_viewer_sees_it_without_buttons(as_viewer, happened):
    fail(happened, 2)

    page = as_viewer.get("/failures")

    assert "2 failed" in page.text
    assert 'name="what"' not in page.text
    assert act(as_viewer, what="retry").status_code == 403


def test_all_alike_are_begun_again_with_one_click(as_member, happened):
    runs = [run.id for run in fail(happened, 3)]

    text = said(as_member, act(as_member, what="retry"))

    assert "3 are begun again from where it stopped" in text
    assert sorted(replays()) == sorted(runs)
    assert groups(as_member.get("/failures")) == []
    assert "3 of 3 begun again from where it stopped" in text


def test_a_second_click_begins_nothing_again_whoever_clicks(as_member, as_owner, happened):
    fail(happened, 2)
    group = key(as_member)
    act(as_member, group=group, what="retry")

    text = said(as_owner, act(as_owner, group=group, what="retry"))

    assert "ordered before by Member; nothing is done twice" in text
    assert len(replays()) == 2
    assert db.session.scalar(sa.select(sa.func.count()).select_from(BulkOrder)) == 1


def test_an_order_takes_what_was_seen_and_no_more(as_member, happened):
    seen = fail(happened, 2)[-1].id
    group = key(as_member)
    fail(happened, 1)

    act(as_member, group=group, what="retry", upto=seen)

    assert len(replays()) == 2
    assert groups(as_member.get("/failures")) == [group]


def test_what_failed_again_stands_there_once(as_member, happened):
    [run] = fail(happened, 1)
    act(as_member, what="replay")
    again = db.session.get_one(Run, run.id).replayed_by
    db.session.execute(sa.update(Run).where(Run.id == again).values(state=State.FAILED, cause="call: no"))
    db.session.commit()

    page = as_member.get("/failures")

    assert len(groups(page)) == 1
    assert f'id="{again}"' in page.text
    assert f'id="{run.id}"' not in page.text


def test_what_is_dismissed_leaves_the_page_and_home(as_member, happened):
    fail(happened, 2)
    assert "Big orders failed 2 times" in as_member.get("/").text

    text = said(as_member, act(as_member, what="dismiss"))

    assert "2 are dismissed" in text
    assert groups(as_member.get("/failures")) == []
    assert "Big orders failed" not in as_member.get("/").text


def test_one_alone_can_be_retried(as_member, happened):
    first, second = (run.id for run in fail(happened, 2))

    act(as_member, what="retry", only=first)

    assert replays() == [first]
    assert f'id="{second}"' in as_member.get("/failures").text


def test_questions_are_answered_all_at_once(as_member, happened):
    runs = [happened.run(State.UNCERTAIN, cause="was it done?").id for _ in range(2)]

    text = said(as_member, act(as_member, what="done"))

    assert "2 are noted as done" in text
    tasks = db.session.scalars(sa.select(Task).where(Task.run_id.in_(runs), Task.path == "1")).all()
    assert {task.cause for task in tasks} == {"Member said that it was done"}


def test_tasks_of_the_api_are_retried(as_member, happened):
    old = [happened.task(State.FAILED, cause="the shop is closed").id for _ in range(2)]

    act(as_member, what="retry")

    made = db.session.scalars(sa.select(Task.retry_of).where(Task.retry_of.is_not(None))).all()
    assert sorted(made) == sorted(old)


def test_what_cannot_be_done_to_it_is_refused(as_member, happened):
    fail(happened, 1)

    assert act(as_member, what="done").status_code == 422
    assert act(as_member, what="nonsense").status_code == 422


def test_a_broken_connection_is_mended_first(as_member, happened, world):
    account = factories.ConnectionFactory(
        workspace_id=world.workspace.id, name="CRM", integration="http", healthy=False
    )
    [run] = fail(happened, 1)
    happened.step(run).connection_id = account.id
    db.session.commit()

    page = as_member.get("/failures").text

    assert "Reconnect CRM" in page
    assert f"/connections/{account.id}" in page


def test_a_newer_version_is_offered(as_member, happened):
    [run] = fail(happened, 1)
    assert "newest version" not in as_member.get("/failures").text
    rule = happened.rule_row()
    newer = factories.RuleVersionFactory(
        workspace_id=rule.workspace_id, rule_id=rule.id, number=2, definition=rule.draft
    ).id
    rule = happened.rule_row()
    rule.published = 2
    db.session.commit()

    act(as_member, what="newest")

    again = db.session.get_one(Run, run.id, populate_existing=True).replayed_by
    assert db.session.get_one(Run, again).version_id == newer


def test_the_step_can_be_edited_where_it_still_stands(as_member, happened):
    [run] = fail(happened, 1)
    assert f"/rules/{run.rule_id}/steps/call" in as_member.get("/failures").text

    rule = happened.rule_row()
    rule.draft = {**rule.draft, "steps": []}
    db.session.commit()

    assert "/steps/call" not in as_member.get("/failures").text


def test_each_order_is_in_the_audit(as_member, happened, world):
    fail(happened, 2)

    act(as_member, what="retry")

    entry = db.session.scalars(sa.select(AuditEntry).order_by(AuditEntry.id.desc())).first()
    assert (entry.user_id, entry.verb, entry.detail["count"]) == (
        world.member.id, "retried failures alike", 2,
    )  # fmt: skip


def test_nothing_of_another_workspace_stands_there(as_stranger, happened):
    fail(happened, 1)

    assert groups(as_stranger.get("/failures")) == []


def test_a_fragment_holds_the_groups_and_nothing_else(as_viewer, happened):
    fail(happened, 1)

    page = as_viewer.get("/failures", headers=FRAGMENT)

    assert len(groups(page)) == 1
    assert "<html" not in page.text


@pytest.mark.parametrize("path", ["/", "/activity"])
def test_home_and_activity_lead_there(as_viewer, happened, path):
    fail(happened, 1)

    assert 'href="/failures"' in as_viewer.get(path).text


def test_what_strangers_wrote_is_text(as_viewer, happened):
    fail(
        happened,
        1,
        cause="call: <script>alert(1)</script> \ud800 was refused".encode("utf-8", "replace").decode(),
    )

    page = as_viewer.get("/failures")

    assert "<script>alert(1)" not in page.text
    assert page.status_code == 200


def test_the_account_is_named(as_member, happened, world):
    account = factories.ConnectionFactory(
        workspace_id=world.workspace.id, name="The shop", integration="http"
    )
    happened.task(State.FAILED, cause="no", connection_id=account.id)

    assert "The shop" in as_member.get("/failures").text
    assert db.session.get_one(Connection, account.id).healthy
