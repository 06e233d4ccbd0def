import pytest

from app.engine import material
from app.engine.claim import claim
from app.engine.execute import execute_chain
from app.models import State
from tests import factories
from tests.api.conftest import BIG, CALL

# Refused before a byte is sent: it fails at once and needs no network.
PRIVATE = CALL | {"params": {"method": "GET", "url": "http://127.0.0.1:9/"}}


@pytest.fixture
def work(engine):
    """Does what is queued, as a worker does."""

    def drain() -> None:
        while tasks := engine.writer.submit(
            lambda connection: claim(connection, "wrk_tests", 10, actions=None)
        ):
            for task in tasks:
                with engine.database.connect() as connection:
                    run = material.load(connection, [task]).get(task.run_id)
                execute_chain(engine, task, run, lambda _following: None)

    return drain


@pytest.fixture
def failed_run(client, api, make_rule, work) -> str:
    rule = make_rule(steps=[BIG, PRIVATE])
    client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json={"total": 150})
    work()
    return api.get("/api/v1/runs").json["items"][0]["id"]


def test_a_run_tells_what_each_step_did(api, failed_run):
    run = api.get(f"/api/v1/runs/{failed_run}").json

    assert (run["state"], run["version"], run["filtered_by"]) == ("failed", 1, None)
    assert [(task["step"], task["state"], task["attempts"]) for task in run["tasks"]] == [
        ("big", "succeeded", 1), ("call", "failed", 1),
    ]  # fmt: skip
    assert set(run["tasks"][1]) == {"id", "step", "action", "state", "attempts", "params", "output", "cause"}
    assert run["tasks"][1]["params"]["url"] == "http://127.0.0.1:9/"
    assert run["tasks"][1]["cause"]
    assert run["started_at"] <= run["finished_at"]


def test_a_filtered_run_says_so(client, api, hook, work):
    client.post(hook, json={"total": 50})
    work()

    (run,) = api.get("/api/v1/runs?state=filtered").json["items"]
    assert (run["state"], run["filtered_by"]) == ("succeeded", "big")
    assert "50" in run["cause"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=failed", True),
        ("state=succeeded", False),
        ("state=filtered", False),
        ("text=150", True),
        ("text=BIG ORDERS", True),
        ("text=_50", False),
        ("text='; DROP TABLE runs --", False),
        ("rule=rul_other", False),
        ("since=2020-01-01T00:00:00Z", True),
        ("until=2020-01-01T00:00:00%2B02:00", False),
    ],
)
def test_runs_are_filtered(api, failed_run, query, found):
    items = api.get(f"/api/v1/runs?{query}").json["items"]

    assert bool(items) is found


def test_a_replay_is_one_new_run(api, failed_run):
    first, second = (api.post(f"/api/v1/runs/{failed_run}/replay") for _ in range(2))

    assert first.status_code == 202
    assert first.json["id"] == second.json["id"] != failed_run
    assert first.json["replay_of"] == failed_run
    assert api.get(f"/api/v1/runs/{failed_run}").json["state"] == "failed"


def test_a_replay_from_a_step_keeps_what_came_before(api, failed_run):
    run = api.post(f"/api/v1/runs/{failed_run}/replay", json={"from_step": "call"}).json

    assert [(task["step"], task["state"]) for task in run["tasks"]] == [
        ("big", "succeeded"),
        ("call", "queued"),
    ]


def test_an_unknown_step_cannot_be_replayed(api, failed_run):
    answer = api.post(f"/api/v1/runs/{failed_run}/replay", json={"from_step": "nope"})

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "from_step")


def test_a_waiting_run_is_canceled_once(api, client, hook):
    client.post(hook, json={"total": 150})
    run_id = api.get("/api/v1/runs").json["items"][0]["id"]

    first, second = api.post(f"/api/v1/runs/{run_id}/cancel"), api.post(f"/api/v1/runs/{run_id}/cancel")

    assert first.json["state"] == "canceled"
    assert [task["state"] for task in first.json["tasks"]] == ["canceled"]
    assert second.status_code == 409


def test_a_large_event_is_shown_whole(api, client, hook):
    answer = client.post(hook, json={"total": 150, "text": "x" * 100_000})

    assert answer.status_code == 202
    assert len(api.get(f"/api/v1/events/{answer.json['event']}").json["data"]["text"]) == 100_000
    assert api.get("/api/v1/events").json["items"][0]["data"] is None


def test_events_name_their_rule_and_runs(api, client, make_rule):
    rule = make_rule()
    event_id = client.post(rule["hook_url"].removeprefix("http://bitqueue.test"), json={"total": 1}).json[
        "event"
    ]

    event = api.get(f"/api/v1/events/{event_id}").json

    assert (event["rule"], event["type"], event["duplicates"]) == (rule["id"], "webhook.received", 0)
    assert event["runs"] == [api.get("/api/v1/runs").json["items"][0]["id"]]
    assert api.get(f"/api/v1/events?rule={rule['id']}&text=total").json["items"] == [event]


def test_text_in_other_alphabets_is_found(api, client, hook):
    client.post(hook, json={"city": "Zürich"})

    assert len(api.get("/api/v1/events?text=zürich").json["items"]) in {0, 1}
    assert len(api.get("/api/v1/events?text=Zürich").json["items"]) == 1


def test_a_stranger_made_run_state_is_only_data(api, world):
    assert api.get("/api/v1/runs?state=nonsense").status_code == 400


def test_a_task_of_a_run_points_to_it(api, client, hook):
    client.post(hook, json={"total": 150})
    run_id = api.get("/api/v1/runs").json["items"][0]["id"]

    (task,) = api.get(f"/api/v1/tasks?run={run_id}").json["items"]

    assert (task["run"], task["step"], task["state"]) == (run_id, "big", State.QUEUED)


def test_a_run_without_its_event_is_still_shown(api, world):
    other = factories.RuleFactory(workspace_id=world.workspace.id)
    version = factories.RuleVersionFactory(workspace_id=world.workspace.id, rule_id=other.id)
    event = factories.EventFactory(workspace_id=world.workspace.id)
    run = factories.RunFactory(
        workspace_id=world.workspace.id, rule_id=other.id, version_id=version.id, event_id=event.id
    )

    assert api.get(f"/api/v1/runs/{run.id}").json["tasks"] == []
