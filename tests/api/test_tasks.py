from datetime import timedelta

import pytest

from app import clock
from app.models import State
from tests import factories

HTTP = {"action": "http.request", "params": {"method": "GET", "url": "https://example.com/"}}


def test_an_enqueued_task_is_answered_with_its_address(api):
    answer = api.post("/api/v1/tasks", json=HTTP)

    assert answer.status_code == 202
    task_id = answer.json["id"]
    assert answer.json == {
        "id": task_id,
        "state": "queued",
        "status_url": f"http://bitqueue.test/status/{task_id}",
    }


def test_the_two_short_names_do_the_same(api):
    answer = api.post("/enqueue", json=HTTP)

    shown = api.get(f"/status/{answer.json['id']}").json
    assert shown == api.get(f"/api/v1/tasks/{answer.json['id']}").json
    assert shown["state"] == "queued"
    assert shown["queue"] == "default"
    assert shown["params"] == HTTP["params"]
    assert shown["attempt_log"] == []


def test_a_task_for_later_waits(api):
    run_at = clock.rfc3339(clock.now() + timedelta(hours=1))

    answer = api.post("/enqueue", json=HTTP | {"run_at": run_at})

    assert answer.json["state"] == "waiting"
    assert api.get(f"/status/{answer.json['id']}").json["due_at"] == run_at


def test_secrets_in_params_are_shown_as_dots(api):
    params = {"method": "GET", "url": "https://example.com/?token=very-secret"}

    answer = api.post("/enqueue", json={"action": "http.request", "params": params})

    shown = api.get(f"/status/{answer.json['id']}")
    assert "very-secret" not in shown.text
    assert shown.json["params"]["url"].startswith("https://example.com/?token=")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"action": "no.such"}, "action"),
        ({"queue": "nowhere"}, "queue"),
        ({"params": {"method": "GET"}}, "params.url"),
        ({"connection": "con_unknown"}, "connection"),
        ({"action": "smtp.send", "params": {}}, "params.to"),
        ({"priority": 10**30}, "priority"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"run_at": "2026-11-21T09:00:00"}, "run_at"),
        ({"run_at": "tomorrow"}, "run_at"),
        ({"params": []}, "params"),
        ({"state": "succeeded"}, "state"),
        ({"workspace_id": "wsp_other"}, "workspace_id"),
        ({"queue": "a\0b"}, "queue"),
    ],
)
def test_what_cannot_be_done_is_refused_by_field(api, change, field):
    answer = api.post("/api/v1/tasks", json=HTTP | change)

    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert field in {error["field"] for error in answer.json["errors"]}


def test_a_connection_of_another_workspace_is_refused(api, world):
    theirs = factories.ConnectionFactory(workspace_id=world.other_workspace.id)
    body = {
        "action": "smtp.send",
        "connection": theirs.id,
        "params": {"to": "a@example.com", "subject": "s", "text": "t"},
    }

    answer = api.post("/api/v1/tasks", json=body)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["connection"]


def test_a_template_in_params_is_text(api):
    params = HTTP["params"] | {"text": "{{ event.total }}"}

    answer = api.post("/enqueue", json=HTTP | {"params": params})

    assert api.get(f"/status/{answer.json['id']}").json["params"]["text"] == "{{ event.total }}"


def test_the_same_key_and_body_give_the_same_answer(api):
    first = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})
    again = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})

    assert (again.status_code, again.json) == (first.status_code, first.json)
    assert len(api.get("/api/v1/tasks").json["items"]) == 1


def test_the_same_answer_comes_when_the_task_is_over(api, session):
    first = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})
    api.post(f"/api/v1/tasks/{first.json['id']}/cancel")

    again = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})

    assert again.json == first.json


def test_the_same_key_with_another_body_is_a_conflict(api):
    api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})

    answer = api.post("/enqueue", json=HTTP | {"priority": 5}, headers={"Idempotency-Key": "order-1"})

    assert answer.status_code == 409
    assert "Idempotency-Key" in answer.json["detail"]


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there", "ü" * 201])
def test_a_bad_idempotency_key_is_refused(api, key):
    answer = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": key})

    assert answer.status_code == 422


def test_a_key_is_a_workspaces_own(api, app, world):
    factories.ApiKeyFactory(
        workspace_id=world.other_workspace.id, user_id=world.stranger.id, text="bq_stranger"
    )
    mine = api.post("/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1"})

    theirs = app.test_client().post(
        "/enqueue", json=HTTP, headers={"Idempotency-Key": "order-1", "Authorization": "Bearer bq_stranger"}
    )

    assert theirs.status_code == 202
    assert theirs.json["id"] != mine.json["id"]


def test_a_waiting_task_can_be_canceled_once(api):
    task_id = api.post("/enqueue", json=HTTP).json["id"]

    first, second = api.post(f"/api/v1/tasks/{task_id}/cancel"), api.post(f"/api/v1/tasks/{task_id}/cancel")

    assert first.json["state"] == "canceled"
    assert second.status_code == 409


def test_a_failed_task_is_retried_as_one_new_task(api, world):
    failed = factories.TaskFactory(
        workspace_id=world.workspace.id, queue_id=world.queue.id, state=State.FAILED
    )

    first, second = (api.post(f"/api/v1/tasks/{failed.id}/retry") for _ in range(2))

    assert first.status_code == 202
    assert first.json["id"] == second.json["id"] != failed.id
    assert first.json["retry_of"] == failed.id
    assert api.get(f"/api/v1/tasks/{failed.id}").json["state"] == "failed"


@pytest.mark.parametrize(
    ("resolution", "state"), [("done", "succeeded"), ("again", "queued"), ("skip", "canceled")]
)
def test_an_uncertain_task_is_resolved(api, world, resolution, state):
    task = factories.TaskFactory(
        workspace_id=world.workspace.id, queue_id=world.queue.id, state=State.UNCERTAIN
    )

    answer = api.post(f"/api/v1/tasks/{task.id}/resolve", json={"resolution": resolution})

    assert answer.json["state"] == state


def test_lists_are_filtered_and_paged(api):
    ids = [api.post("/enqueue", json=HTTP | {"priority": number}).json["id"] for number in range(5)]

    first = api.get(
        "/api/v1/tasks?limit=2&state=queued&action=http.request&queue=default&text=example.com"
    ).json
    rest = api.get(f"/api/v1/tasks?limit=10&cursor={first['next_cursor']}").json

    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None
    assert api.get("/api/v1/tasks?text=nothing-says-this").json["items"] == []
    assert api.get("/api/v1/tasks?text=%25").json["items"] == []


@pytest.mark.parametrize(
    "query",
    ["cursor=bad", "cursor=%00", "limit=0", "limit=201", "limit=ten", "state=done", "unknown=1", "since=yesterday",
     "limit=1&limit=2", "text=%00", "since=0001-01-01T00:00:00Z", "cursor=' OR 1=1 --"],
)  # fmt: skip
def test_a_bad_query_is_unreadable(api, query):
    answer = api.get(f"/api/v1/tasks?{query}")

    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
