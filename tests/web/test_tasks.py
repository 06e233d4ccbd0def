from datetime import timedelta

import pytest

from app import clock
from app.database import db, write_connection
from app.engine import payloads
from app.models import State, Task
from tests import factories


def reread(task_id: str) -> Task:
    return db.session.get_one(Task, task_id, populate_existing=True)


@pytest.mark.parametrize("state", list(State))
def test_a_task_is_shown_in_every_state(as_viewer, happened, state):
    task = happened.task(state, cause="shop.example said no")

    page = as_viewer.get(f"/tasks/{task.id}")

    assert page.status_code == 200
    assert "https://shop.example/one" in page.text


def test_a_task_is_live_until_it_has_ended(as_viewer, happened):
    going, over = happened.task(State.QUEUED), happened.task(State.FAILED)

    assert "every 2s" in as_viewer.get(f"/tasks/{going.id}").text
    assert "hx-trigger" not in as_viewer.get(f"/tasks/{over.id}").text


def test_a_fragment_is_the_live_part(as_viewer, happened):
    page = as_viewer.get(f"/tasks/{happened.task().id}", headers={"HX-Request": "true"})

    assert page.text.lstrip().startswith('<div class="stack" id="task"')
    assert "<html" not in page.text


def test_a_task_for_later_tells_when_it_begins(as_viewer, happened):
    task = happened.task(State.WAITING, due_at=clock.now() + timedelta(hours=3, minutes=1))

    assert "in 3 h" in as_viewer.get(f"/tasks/{task.id}").text


def test_a_held_task_leads_to_its_connection(as_member, happened, world):
    connection = factories.ConnectionFactory(workspace_id=world.workspace.id, healthy=False)
    task = happened.task(
        State.WAITING,
        connection_id=connection.id,
        cause="held: the connection Mail is broken; connect it again",
    )

    page = as_member.get(f"/tasks/{task.id}")

    assert f'href="/connections/{connection.id}"' in page.text
    assert "The connection Mail is broken; connect it again." in page.text


def test_a_large_output_is_shown_in_part_and_kept_whole(as_viewer, happened, engine, world):
    task_id = happened.task(State.SUCCEEDED).id
    large = {"rows": [{"number": number, "text": "x" * 40} for number in range(3000)]}
    with write_connection(engine.database) as connection:
        _, payload_id = payloads.store(connection, world.workspace.id, large)
    db.session.rollback()
    reread(task_id).payload_id = payload_id
    db.session.commit()

    page, whole = as_viewer.get(f"/tasks/{task_id}"), as_viewer.get(f"/tasks/{task_id}/output.json")

    assert "Only a part is shown of what came out" in page.text
    assert len(page.data) < 300_000
    assert whole.json == large
    assert whole.headers["Content-Disposition"].startswith("attachment")


def test_what_a_task_never_gave_cannot_be_downloaded(as_viewer, happened):
    assert as_viewer.get(f"/tasks/{happened.task().id}/output.json").status_code == 404


def test_retrying_makes_a_new_task_once(as_member, happened):
    task_id = happened.task(State.FAILED, cause="no").id

    first, second = (as_member.post(f"/tasks/{task_id}/retry").location for _ in range(2))

    assert first == second != f"/tasks/{task_id}"
    assert f'href="{first}"' in as_member.get(f"/tasks/{task_id}").text
    assert f'href="/tasks/{task_id}"' in as_member.get(first).text


def test_retrying_a_step_runs_its_rule_again_from_there(as_member, happened):
    run = happened.run(State.FAILED, cause="call: no")

    answer = as_member.post(f"/tasks/{happened.step(run).id}/retry")

    assert answer.location.startswith("/runs/run_")


@pytest.mark.parametrize(
    ("answer", "state"), [("done", State.SUCCEEDED), ("again", State.QUEUED), ("skip", State.CANCELED)]
)
def test_an_answer_settles_an_uncertain_task(as_member, happened, answer, state):
    task_id = happened.task(State.UNCERTAIN, cause="was it done?").id

    page = as_member.post(f"/tasks/{task_id}/resolve", data={"answer": answer}, follow_redirects=True)

    assert page.status_code == 200
    assert reread(task_id).state is state


def test_the_answer_about_a_step_leads_back_to_its_run(as_member, happened):
    run = happened.run(State.UNCERTAIN, cause="was it done?")

    answer = as_member.post(f"/tasks/{happened.step(run).id}/resolve", data={"answer": "done"})

    assert answer.location == f"/runs/{run.id}"


def test_any_other_answer_is_refused(as_member, happened):
    task_id = happened.task(State.UNCERTAIN).id

    assert as_member.post(f"/tasks/{task_id}/resolve", data={"answer": "maybe"}).status_code == 422
    assert reread(task_id).state is State.UNCERTAIN


def test_canceling_takes_a_task_out_of_its_queue(as_member, happened):
    task_id = happened.task(State.QUEUED).id

    as_member.post(f"/tasks/{task_id}/cancel")

    assert reread(task_id).state is State.CANCELED


@pytest.mark.parametrize("verb", ["retry", "cancel", "resolve"])
def test_a_viewer_and_a_stranger_decide_nothing(as_viewer, as_stranger, happened, verb):
    task_id = happened.task(State.UNCERTAIN).id

    assert as_viewer.post(f"/tasks/{task_id}/{verb}", data={"answer": "done"}).status_code == 403
    assert as_stranger.post(f"/tasks/{task_id}/{verb}", data={"answer": "done"}).status_code == 404
    assert reread(task_id).state is State.UNCERTAIN


def test_another_workspaces_task_is_not_there(as_stranger, happened):
    task = happened.task(State.SUCCEEDED)

    assert as_stranger.get(f"/tasks/{task.id}").status_code == 404
    assert as_stranger.get(f"/tasks/{task.id}/params.json").status_code == 404
