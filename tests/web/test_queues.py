import pytest
import sqlalchemy as sa

from app.database import db
from app.models import Queue, State
from tests import factories


@pytest.fixture
def mail(world):
    return factories.QueueFactory(workspace_id=world.workspace.id, name="mail")


def queue(name):
    return db.session.scalar(
        sa.select(Queue).where(Queue.name == name).execution_options(populate_existing=True)
    )


def form(**given):
    return {f"p_{name}": value for name, value in given.items()}


def test_queues_show_how_they_stand(as_viewer, happened, mail):
    happened.task()
    happened.task()
    happened.task(State.RUNNING)
    mail.rate_count, mail.rate_period_s, mail.concurrency = 30, 60, 5
    db.session.commit()

    page = as_viewer.get("/queues")

    assert 'data-label="Waiting">2<' in page.text
    assert 'data-label="Running">1<' in page.text
    assert "5 at once, 30 per minute" in page.text


def test_the_rows_come_alone(as_viewer, mail):
    page = as_viewer.get("/queues", headers={"HX-Request": "true"})

    assert "mail" in page.text
    assert "<html" not in page.text
    assert "<h1" not in page.text


def test_a_queue_is_made_with_its_limits(as_member):
    given = form(
        name="mail", priority="5", concurrency="2", rate_count="30", rate_period_s="60", external="1"
    )

    answer = as_member.post("/queues", data=given)

    assert answer.status_code == 302
    made = queue("mail")
    assert (made.priority, made.concurrency, made.rate_count, made.rate_period_s) == (5, 2, 30, 60)
    assert made.external


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"name": ""}, "is needed"),
        ({"name": "Größe 1"}, "small letters"),
        ({"name": "'; DROP TABLE queues; --"}, "small letters"),
        ({"name": "default"}, "there is a queue default already"),
        ({"name": "ok", "priority": "high"}, "must be a whole number"),
        ({"name": "ok", "concurrency": "0"}, "greater than or equal to 1"),
        ({"name": "ok", "rate_count": "5"}, "a rate needs its period"),
    ],
)
def test_what_does_not_fit_is_said_beside_the_form(as_member, given, sentence):
    answer = as_member.post("/queues", data=form(**given))

    assert answer.status_code == 422
    assert sentence in answer.text.replace("&#39;", "'")
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Queue).where(Queue.name == "ok")) == 0


def test_a_queue_is_changed_and_renamed(as_member, mail):
    assert 'value="mail"' in as_member.get(f"/queues?edit={mail.id}").text

    answer = as_member.post(f"/queues/{mail.id}", data=form(name="post", priority="7"))

    assert answer.status_code == 302
    assert queue("post").priority == 7


def test_the_default_queue_keeps_its_name(as_member, world):
    page = as_member.get(f"/queues?edit={world.queue.id}")
    assert 'name="p_name"' not in page.text
    assert "Delete this queue" not in page.text

    as_member.post(f"/queues/{world.queue.id}", data=form(name="other", priority="3"))

    row = db.session.get_one(Queue, world.queue.id, populate_existing=True)
    assert (row.name, row.priority) == ("default", 3)


def test_pausing_and_resuming(as_member, mail):
    queue_id = mail.id

    as_member.post(f"/queues/{queue_id}/pause")
    assert queue("mail").paused
    assert "badge-paused" in as_member.get("/queues").text

    as_member.post(f"/queues/{queue_id}/resume")
    assert not queue("mail").paused


def test_an_empty_queue_is_deleted(as_member, mail):
    as_member.post(f"/queues/{mail.id}/delete")

    assert queue("mail") is None


def test_a_queue_in_use_is_not_deleted_and_the_page_says_why(as_member, happened, mail):
    happened.task(queue_id=mail.id)

    page = as_member.post(f"/queues/{mail.id}/delete", follow_redirects=True)

    assert "1 unfinished task" in page.text
    assert queue("mail") is not None


def test_the_default_queue_cannot_be_deleted(as_member, world):
    page = as_member.post(f"/queues/{world.queue.id}/delete", follow_redirects=True)

    assert "cannot be deleted" in page.text
    assert queue("default") is not None


@pytest.mark.parametrize("verb", ["", "/pause", "/resume", "/delete"])
def test_a_viewer_and_a_stranger_change_no_queue(as_viewer, as_stranger, mail, verb):
    assert as_viewer.post(f"/queues/{mail.id}{verb}", data=form(name="mine")).status_code == 403
    assert as_stranger.post(f"/queues/{mail.id}{verb}", data=form(name="mine")).status_code == 404
    assert queue("mail") is not None


def test_a_viewer_makes_none_and_sees_no_form(as_viewer):
    assert as_viewer.post("/queues", data=form(name="mine")).status_code == 403
    assert 'action="/queues"' not in as_viewer.get("/queues?edit=new").text


def test_another_workspaces_queue_is_not_edited(as_stranger, mail):
    assert as_stranger.get(f"/queues?edit={mail.id}").status_code == 404
