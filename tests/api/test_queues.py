from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.models import Queue, Task
from tests.api.conftest import BIG, CALL

HTTP = {"action": "http.request", "params": {"method": "GET", "url": "https://example.com/"}}


@pytest.fixture
def external(api) -> str:
    """An external queue with one task in it; gives the task's id."""
    api.post("/api/v1/queues", json={"name": "mine", "external": True})
    body = {"action": "resize-image", "params": {"file": "a.png", "token": "very-secret"}, "queue": "mine"}
    return api.post("/enqueue", json=body).json["id"]


def lease(api, **body):
    return api.post("/api/v1/queues/mine/lease", json=body).json["items"]


def test_a_queue_is_made_changed_and_deleted(api):
    made = api.post(
        "/api/v1/queues", json={"name": "mail", "priority": 5, "rate_count": 10, "rate_period_s": 60}
    )
    changed = api.patch("/api/v1/queues/mail", json={"name": "post", "concurrency": 2, "priority": 1})
    deleted = api.delete("/api/v1/queues/post")

    assert (made.status_code, made.json["priority"], made.json["rate_count"]) == (201, 5, 10)
    assert (changed.json["name"], changed.json["concurrency"], changed.json["rate_count"]) == ("post", 2, 10)
    assert deleted.status_code == 204
    assert [queue["name"] for queue in api.get("/api/v1/queues").json["items"]] == ["default"]


def test_a_limit_is_lifted_with_null(api):
    api.post("/api/v1/queues", json={"name": "mail", "concurrency": 2, "rate_count": 1, "rate_period_s": 1})

    lifted = api.patch(
        "/api/v1/queues/mail", json={"concurrency": None, "rate_count": None, "rate_period_s": None}
    )

    assert (lifted.json["concurrency"], lifted.json["rate_count"]) == (None, None)


def test_a_queue_shows_how_it_stands(api):
    api.post("/enqueue", json=HTTP)
    api.post("/enqueue", json=HTTP | {"run_at": clock.rfc3339(clock.now() + timedelta(hours=1))})

    queue = api.get("/api/v1/queues/default").json

    assert (queue["waiting"], queue["later"], queue["running"], queue["done_per_minute"]) == (1, 1, 0, 0)
    assert queue["oldest_at"].endswith("Z")


def test_a_queue_pauses_and_resumes(api):
    paused = api.post("/api/v1/queues/default/pause").json["paused"]
    resumed = api.post("/api/v1/queues/default/resume").json["paused"]

    assert (paused, resumed) == (True, False)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "default"}, 409),
        ({"name": "Mail Queue"}, 422),
        ({"name": "x" * 51}, 422),
        ({"name": "mail", "rate_count": 3}, 422),
        ({"name": "mail", "concurrency": 0}, 422),
        ({"name": "mail", "concurrency": 10**12}, 422),
        ({"name": "mail", "tokens": 100}, 422),
    ],
)
def test_a_queue_that_cannot_be_is_refused(api, body, status):
    assert api.post("/api/v1/queues", json=body).status_code == status


def test_the_default_queue_stays(api):
    assert api.delete("/api/v1/queues/default").status_code == 409
    assert api.patch("/api/v1/queues/default", json={"name": "other"}).status_code == 409


def test_a_queue_with_work_is_not_deleted(api, external):
    answer = api.delete("/api/v1/queues/mine")

    assert answer.status_code == 409
    assert "1 unfinished" in answer.json["detail"]


def test_finished_tasks_outlive_their_queue(api, external):
    api.post(f"/api/v1/tasks/{external}/cancel")

    assert api.delete("/api/v1/queues/mine").status_code == 204
    assert api.get(f"/status/{external}").json["queue"] == "default"


def test_a_leased_task_comes_whole_and_to_one_only(api, external):
    first, second = lease(api, limit=10), lease(api, limit=10)

    assert [task["id"] for task in first] == [external]
    assert first[0]["params"] == {"file": "a.png", "token": "very-secret"}
    assert (first[0]["action"], first[0]["attempt"]) == ("resize-image", 1)
    assert second == []
    assert "very-secret" not in api.get(f"/status/{external}").text


def test_an_acked_task_has_succeeded(api, external):
    (task,) = lease(api)

    done = api.post(
        f"/api/v1/tasks/{external}/ack", json={"lease": task["lease"], "output": {"size": 3}}
    ).json

    assert (done["state"], done["output"]) == ("succeeded", {"size": 3})
    assert [attempt["outcome"] for attempt in done["attempt_log"]] == ["succeeded"]


def test_a_nacked_task_waits_and_then_fails(api, external, session):
    (task,) = lease(api)
    waiting = api.post(
        f"/api/v1/tasks/{external}/nack", json={"lease": task["lease"], "cause": "busy", "after_s": 5}
    )
    session.execute(sa.update(Task).values(state="queued"))
    session.commit()

    (again,) = lease(api)
    failed = api.post(
        f"/api/v1/tasks/{external}/nack", json={"lease": again["lease"], "cause": "no", "final": True}
    )

    assert (waiting.json["state"], waiting.json["cause"]) == ("waiting", "busy")
    assert again["attempt"] == 2
    assert (failed.json["state"], failed.json["cause"]) == ("failed", "no")


def test_a_lease_is_extended(api, external):
    (task,) = lease(api, lease_s=1)

    extended = api.post(f"/api/v1/tasks/{external}/extend", json={"lease": task["lease"], "lease_s": 600})

    assert extended.json["lease_until"] > task["lease_until"]


@pytest.mark.parametrize("verb", ["ack", "nack", "extend"])
def test_a_stale_lease_is_a_conflict(api, external, session, verb):
    (task,) = lease(api)
    wrong = api.post(f"/api/v1/tasks/{external}/{verb}", json={"lease": task["lease"] + 1})
    session.execute(sa.update(Task).values(lease_until=clock.now() - timedelta(seconds=1)))
    session.commit()

    late = api.post(f"/api/v1/tasks/{external}/{verb}", json={"lease": task["lease"]})

    assert (wrong.status_code, late.status_code) == (409, 409)


def test_a_task_of_our_workers_is_not_leased_nor_acked(api, session):
    task_id = api.post("/enqueue", json=HTTP).json["id"]
    session.execute(
        sa.update(Task).values(state="running", fence=1, lease_until=clock.now() + timedelta(hours=1))
    )
    session.commit()

    assert api.post("/api/v1/queues/default/lease", json={}).status_code == 409
    assert api.post(f"/api/v1/tasks/{task_id}/ack", json={"lease": 1}).status_code == 409


def test_a_step_for_an_external_queue_is_rendered_and_the_run_goes_on(api, client, make_rule, session):
    api.post("/api/v1/queues", json={"name": "mine", "external": True})
    rule = make_rule(steps=[CALL | {"queue": "mine"}, BIG])
    client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json={"order": "A-1", "total": 150})

    (task,) = lease(api)
    api.post(f"/api/v1/tasks/{task['id']}/ack", json={"lease": task["lease"], "output": {"status": 200}})

    assert task["params"]["json"] == {"order": "A-1"}
    run = api.get(f"/api/v1/runs/{task['run']}").json
    assert [(each["step"], each["state"]) for each in run["tasks"]] == [
        ("call", "succeeded"),
        ("big", "queued"),
    ]
    names = session.scalars(
        sa.select(Queue.name).join(Task, Task.queue_id == Queue.id).order_by(Task.path)
    ).all()
    assert names == ["mine", "default"]


def test_params_that_cannot_be_rendered_fail_the_task(api, client, make_rule):
    api.post("/api/v1/queues", json={"name": "mine", "external": True})
    rule = make_rule(steps=[CALL | {"queue": "mine"}])
    client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json={"total": 150})

    assert lease(api) == []

    (run,) = api.get("/api/v1/runs").json["items"]
    assert run["state"] == "failed"
    assert "order" in run["cause"]


def test_a_paused_queue_gives_nothing(api, external):
    api.post("/api/v1/queues/mine/pause")

    assert lease(api) == []
