import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.database import db
from app.models import Run, State, Task
from app.services import activity
from app.services.paging import LIMIT
from tests import factories

SQL = "' OR 1=1; DROP TABLE runs; --"
FRAGMENT = {"HX-Request": "true"}


def rows(page):
    return re.findall(r'<tr id="((?:run|tsk)_\w+)"', page.text)


def test_activity_teaches_while_nothing_has_happened(as_viewer):
    page = as_viewer.get("/activity")

    assert page.status_code == 200
    assert "Nothing has happened yet" in page.text


def test_activity_shows_runs_and_api_tasks_together_newest_first(as_viewer, happened):
    first = happened.run(State.SUCCEEDED).id
    second = happened.task(State.FAILED, cause="127.0.0.1 rejected the request").id
    third = happened.run(State.FAILED, cause="call: it was refused").id

    page = as_viewer.get("/activity")

    assert rows(page) == [third, second, first]
    assert "Call: it was refused." in page.text
    assert "task from the API" in page.text


def test_the_step_of_a_run_is_no_entry_of_its_own(as_viewer, happened):
    run = happened.run(State.SUCCEEDED)

    assert rows(as_viewer.get("/activity")) == [run.id]


def test_a_filtered_run_shows_its_badge_and_its_cause(as_viewer, happened):
    happened.filtered("event.total is 50, not greater than 100")

    page = as_viewer.get("/activity")

    assert "badge-filtered" in page.text
    assert "event.total is 50, not greater than 100" in page.text


@pytest.mark.parametrize("state", list(State))
def test_a_state_filters(as_viewer, happened, state):
    ids = {one: happened.run(one).id for one in State}

    page = as_viewer.get("/activity", query_string={"state": state})

    assert rows(page) == [ids[state]]


def test_filtered_is_a_state_to_filter_by(as_viewer, happened):
    happened.run(State.SUCCEEDED)
    filtered = happened.filtered().id
    happened.task(State.SUCCEEDED)

    assert rows(as_viewer.get("/activity?state=filtered")) == [filtered]


def test_filters_combine(as_viewer, happened):
    wanted = happened.run(State.FAILED, {"order": "A-77", "total": 1}, rule="Ship").id
    happened.run(State.SUCCEEDED, {"order": "A-77"}, rule="Ship")
    happened.run(State.FAILED, {"order": "A-78"}, rule="Ship")
    happened.run(State.FAILED, {"order": "A-77"}, rule="Big orders")
    rule_id = happened.rule("Ship").rule_id

    page = as_viewer.get("/activity", query_string={"state": "failed", "rule": rule_id, "text": "a-77"})

    assert rows(page) == [wanted]


@pytest.mark.parametrize("text", ["A-77", "Zoë", "Nightly", "no longer there", "100%"])
def test_a_text_is_found_in_event_cause_and_name(as_viewer, happened, text):
    happened.run(State.SUCCEEDED, {"order": "B-1"})
    data = {"order": "A-77", "name": "Zoë", "off": "100%"}
    wanted = happened.run(
        State.FAILED, data, rule="Nightly report", cause="call: the sheet is no longer there"
    ).id

    assert rows(as_viewer.get("/activity", query_string={"text": text})) == [wanted]


@pytest.mark.parametrize("text", ["%", "_", "A_77", "\\"])
def test_the_signs_of_a_search_pattern_mean_themselves(as_viewer, happened, text):
    happened.run(State.SUCCEEDED, {"order": "A-77"})
    happened.rule_row().name = "Plain"
    db.session.execute(sa.update(Task).values(params=None, output=None, step="x"))
    db.session.commit()

    assert rows(as_viewer.get("/activity", query_string={"text": text})) == []


@pytest.mark.parametrize("name", ["state", "rule", "text", "since", "until"])
def test_sql_in_a_filter_is_text(as_viewer, happened, name):
    happened.run(State.SUCCEEDED)

    page = as_viewer.get("/activity", query_string={name: SQL})

    assert page.status_code == 200
    assert as_viewer.get("/activity").text.count('<tr id="run_') == 1


def test_a_time_is_meant_in_the_readers_zone(as_viewer, happened, world):
    world.viewer.zone = "Asia/Tokyo"
    run = happened.run(State.SUCCEEDED)
    db.session.execute(sa.update(Run).values(created_at=clock.now() - timedelta(hours=2)))
    db.session.commit()
    in_tokyo = (clock.now() + timedelta(hours=9)).replace(tzinfo=None)

    def seen(**hours):
        query = {name: f"{in_tokyo + timedelta(hours=by):%Y-%m-%dT%H:%M}" for name, by in hours.items()}
        return rows(as_viewer.get("/activity", query_string=query))

    assert seen(since=-3, until=-1) == [run.id]
    assert seen(since=-1) == []
    assert seen(until=-3) == []


def test_a_fragment_holds_the_rows_and_nothing_else(as_viewer, happened):
    run = happened.run(State.SUCCEEDED)

    page = as_viewer.get("/activity", headers=FRAGMENT)

    assert rows(page) == [run.id]
    assert "<html" not in page.text
    assert "<form" not in page.text


def test_the_page_asks_for_itself_with_the_same_filters(as_viewer, happened):
    happened.run(State.SUCCEEDED)

    page = as_viewer.get("/activity?state=succeeded&text=12")

    assert 'hx-get="/activity?state=succeeded&amp;text=12" hx-trigger="every 2s"' in page.text


def test_pages_follow_one_another_without_gap_or_repetition(as_viewer, happened):
    made = [(happened.run() if number % 2 else happened.task()).id for number in range(LIMIT + 3)]

    first = as_viewer.get("/activity?state=queued")
    older = re.search(r'rel="next" href="([^"]+)"', first.text).group(1).replace("&amp;", "&")
    second = as_viewer.get(older)

    assert rows(first) + rows(second) == made[::-1]
    assert "The newest" in second.text
    assert "hx-trigger" not in second.text


def test_a_text_is_looked_for_in_steps_of_bounded_size(as_viewer, happened, monkeypatch):
    monkeypatch.setattr(activity, "SEARCHED", 3)
    wanted = happened.run(data={"order": "needle"}).id
    for _ in range(4):
        happened.run(data={"order": "hay"})

    first = as_viewer.get("/activity?text=needle")
    older = re.search(r'rel="next" href="([^"]+)"', first.text).group(1).replace("&amp;", "&")

    assert rows(first) == []
    assert rows(as_viewer.get(older)) == [wanted]


def test_a_cursor_that_is_not_ours_is_refused_in_words(as_viewer):
    page = as_viewer.get("/activity?cursor=nonsense")

    assert page.status_code == 400
    assert "cursor" in page.text


def test_another_workspace_sees_nothing_of_it(as_stranger, happened):
    happened.run(State.SUCCEEDED)
    happened.task()

    assert rows(as_stranger.get("/activity")) == []


def test_a_run_shows_every_step_with_what_went_in_and_why_it_failed(as_viewer, happened):
    run = happened.run(State.FAILED, cause="call: shop.example refused it (404)")

    page = as_viewer.get(f"/runs/{run.id}")

    assert "event.total is greater than 100" in page.text
    assert "Why it failed" in page.text
    assert "Call: shop.example refused it (404)." in page.text
    assert "https://shop.example/done" in page.text
    assert "1 attempt" in page.text
    assert "not reached" in page.text
    assert "version 1" in page.text


@pytest.mark.parametrize("newer", [{"kind": "branch"}, {"action": "slack.sing"}])
def test_a_step_that_waits_for_a_newer_worker_says_so(as_viewer, happened, newer):
    run = happened.run()
    said = "Waits for a newer worker"
    assert said not in as_viewer.get(f"/runs/{run.id}").text

    kind = {"kind": "action"} | newer
    db.session.execute(sa.update(Task).where(Task.run_id == run.id).values(**kind))
    db.session.commit()

    assert said in as_viewer.get(f"/runs/{run.id}").text


def test_markup_in_an_event_is_text(as_viewer, happened):
    run = happened.run(State.SUCCEEDED, {"<script>alert(1)</script>": '"><img src=x onerror=alert(1)>'})

    for address in (f"/runs/{run.id}", f"/events/{run.event_id}", "/activity", "/"):
        page = as_viewer.get(address)
        assert "<script>alert" not in page.text
        assert "<img src=x" not in page.text
    assert "&lt;script&gt;alert(1)" in as_viewer.get(f"/runs/{run.id}").text


def test_data_that_is_no_utf8_is_shown_all_the_same(as_viewer, happened):
    run = happened.run(State.SUCCEEDED, {"bad": "\ud800", "nul": "\x00", "list": ["\udfff"]})

    event = f"/events/{run.event_id}"
    for address in (f"/runs/{run.id}", event, f"{event}/data.json", "/activity", "/"):
        assert as_viewer.get(address).status_code == 200


def test_a_run_is_live_until_it_has_ended(as_viewer, happened):
    going, over = happened.run(State.WAITING), happened.run(State.SUCCEEDED)

    assert f'hx-get="/runs/{going.id}" hx-trigger="every 2s"' in as_viewer.get(f"/runs/{going.id}").text
    assert "hx-trigger" not in as_viewer.get(f"/runs/{over.id}").text


def test_the_fragment_of_a_run_is_its_live_part(as_viewer, happened):
    run = happened.run(State.WAITING)

    page = as_viewer.get(f"/runs/{run.id}", headers=FRAGMENT)

    assert page.text.lstrip().startswith('<div class="stack" id="run"')
    assert "<html" not in page.text


def test_a_waiting_step_tells_when_it_is_tried_again(as_viewer, happened):
    run = happened.run(State.WAITING, cause="shop.example is busy (503)")
    happened.step(run).due_at = clock.now() + timedelta(minutes=5, seconds=30)
    db.session.commit()

    page = as_viewer.get(f"/runs/{run.id}")

    assert "Shop.example is busy (503)." in page.text
    assert "Attempt 2 of 8" in page.text
    assert "in 5 min" in page.text


def test_an_uncertain_step_says_what_was_being_sent_where_and_when(as_member, happened, world):
    run = happened.run(State.UNCERTAIN, cause="the line broke")
    account = factories.ConnectionFactory(
        workspace_id=world.workspace.id, name="The shop", integration="http"
    )
    step = happened.step(run)
    step.connection_id, step.params = (
        account.id,
        {"method": "POST", "url": "https://shop.example/orders", "json": ""},
    )
    step.started_at = clock.now() - timedelta(hours=1)
    db.session.commit()

    text = " ".join(re.sub(r"<[^>]+>", " ", as_member.get(f"/runs/{run.id}").text).split()).replace(" ,", ",")

    assert "Was it done? The line broke. What was being done Send a request, through The shop When" in text
    assert "Method POST" in text
    assert "https://shop.example/orders" in text
    assert "Look on the other side" in text


def test_an_uncertain_step_says_that_its_provider_is_being_asked(as_viewer, happened):
    run = happened.run(State.UNCERTAIN, cause="the line broke")
    step = happened.step(run)
    step.action, step.params = "slack_app.post", {"channel": "C0123456789", "text": "order A-1"}
    db.session.commit()

    page = as_viewer.get(f"/runs/{run.id}").text

    assert "BitQueue asks Slack app by itself" in page
    assert "It was done" not in page


def test_an_uncertain_step_asks_with_three_answers(as_member, happened):
    run = happened.run(State.UNCERTAIN, cause="the worker died while sending; was it done?")

    page = as_member.get(f"/runs/{run.id}")

    for answer in ("It was done", "Do it again", "Skip it"):
        assert answer in page.text


def test_a_viewer_is_offered_nothing_that_changes(as_viewer, happened):
    for state in (State.FAILED, State.UNCERTAIN, State.WAITING):
        page = as_viewer.get(f"/runs/{happened.run(state).id}")
        assert 'action="/runs' not in page.text
        assert 'action="/tasks' not in page.text


@pytest.mark.parametrize("verb", ["replay", "retry", "cancel"])
def test_a_viewer_changes_nothing(as_viewer, happened, verb):
    run = happened.run(State.FAILED)

    answer = as_viewer.post(f"/runs/{run.id}/{verb}")

    assert answer.status_code == 403
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Run)) == 1


@pytest.mark.parametrize("verb", ["replay", "retry", "cancel"])
def test_another_workspaces_run_is_not_there(as_stranger, happened, verb):
    run = happened.run(State.FAILED)

    assert as_stranger.get(f"/runs/{run.id}").status_code == 404
    assert as_stranger.post(f"/runs/{run.id}/{verb}").status_code == 404


def test_running_again_makes_a_new_run_linked_both_ways(as_member, happened):
    run = happened.run(State.SUCCEEDED)

    answer = as_member.post(f"/runs/{run.id}/replay")
    new = answer.location.rpartition("/")[2]

    assert new != run.id
    assert f'href="/runs/{new}"' in as_member.get(f"/runs/{run.id}").text
    assert f'href="/runs/{run.id}"' in as_member.get(f"/runs/{new}").text


def test_two_clicks_make_one_run(as_member, happened):
    run = happened.run(State.SUCCEEDED)

    first, second = (as_member.post(f"/runs/{run.id}/replay").location for _ in range(2))

    assert first == second


def test_retrying_keeps_what_the_earlier_steps_gave(as_member, happened):
    run = happened.run(State.FAILED, cause="call: no")

    new = as_member.post(f"/runs/{run.id}/retry").location.rpartition("/")[2]
    page = as_member.get(f"/runs/{new}")

    assert "Taken over from the run that this one repeats" in page.text
    steps = db.session.scalars(sa.select(Task.step).where(Task.run_id == new).order_by(Task.path)).all()
    assert steps == ["big", "call"]


def test_one_may_go_on_from_any_step_that_was_reached(as_member, happened):
    run = happened.run(State.SUCCEEDED)
    assert as_member.get(f"/runs/{run.id}").text.count('name="from_step"') == 2

    answer = as_member.post(f"/runs/{run.id}/replay", data={"from_step": "call"})

    assert answer.status_code == 302


def test_a_step_that_is_not_there_is_refused_in_words(as_member, happened):
    run = happened.run(State.SUCCEEDED)

    answer = as_member.post(f"/runs/{run.id}/replay", data={"from_step": "nowhere"})

    assert answer.status_code == 422
    assert "not in this version" in answer.text


def test_the_newest_version_is_offered_once_there_is_one(as_member, happened):
    run = happened.run(State.SUCCEEDED)
    assert "newest version" not in as_member.get(f"/runs/{run.id}").text
    armed = happened.rule()
    newer = factories.RuleVersionFactory(
        workspace_id=armed.workspace_id, rule_id=armed.rule_id, number=2, definition=happened.rule_row().draft
    )
    assert "newest version" in as_member.get(f"/runs/{run.id}").text

    new = as_member.post(f"/runs/{run.id}/replay", data={"version": "newest"}).location.rpartition("/")[2]

    assert db.session.get_one(Run, new).version_id == newer.id


def test_canceling_stops_a_run_that_waits(as_member, happened):
    run_id = happened.run(State.WAITING).id

    answer = as_member.post(f"/runs/{run_id}/cancel", follow_redirects=True)

    assert "The run is canceled." in answer.text
    assert db.session.get_one(Run, run_id, populate_existing=True).state is State.CANCELED


def test_a_run_that_has_ended_is_not_canceled(as_member, happened):
    run = happened.run(State.SUCCEEDED)

    assert as_member.post(f"/runs/{run.id}/cancel").status_code == 409
