"""How fast a connection may be used, set and read over the API."""

from datetime import timedelta

import pytest

from app import clock
from app.database import writing
from app.models import Connection, State
from tests import factories
from tests.api.test_connections import SHOP


@pytest.fixture
def path(api) -> str:
    return f"/api/v1/connections/{api.post('/api/v1/connections', json=SHOP).json['id']}/pace"


def test_a_connection_is_free_until_somebody_limits_it(api, path):
    assert api.get(path).json == {
        "per_minute": None, "learnt_per_minute": None, "rests_until": None, "cause": None, "waiting": 0, "until": None,
    }  # fmt: skip

    assert api.put(path, json={"per_minute": 60}).json["per_minute"] == 60
    assert api.get(path).json["per_minute"] == 60
    assert api.put(path, json={"per_minute": None}).json["per_minute"] is None


@pytest.mark.parametrize("value", [0, -1, 10**9, "x", []])
def test_what_is_no_limit_is_refused(api, path, value):
    assert api.put(path, json={"per_minute": value}).status_code == 422
    assert api.get(path).json["per_minute"] is None


def test_what_waits_for_a_connection_is_counted_and_comes_again_when_the_limit_changes(
    api, path, session, world
):
    api.put(path, json={"per_minute": 1})
    connection = session.get_one(Connection, path.split("/")[-2])
    later = clock.now() + timedelta(minutes=3)
    with writing():
        for _ in range(2):
            factories.TaskFactory(
                workspace_id=connection.workspace_id, connection_id=connection.id, state=State.WAITING,
                cause="paced: waits for Shop", due_at=later, turn_at=later,
                queue_id=world.queue.id,
            )  # fmt: skip

    before = api.get(path).json
    after = api.put(path, json={"per_minute": 10}).json

    assert (before["waiting"], before["until"]) == (2, clock.rfc3339(later))
    assert after["until"] < before["until"]


def test_a_viewer_sees_a_pace_and_does_not_set_it(app, world, api, path):
    factories.ApiKeyFactory(workspace_id=world.workspace.id, user_id=world.viewer.id, text="bq_viewer")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer bq_viewer"

    assert client.get(path).status_code == 200
    assert client.put(path, json={"per_minute": 5}).status_code == 403
    assert api.get(path).json["per_minute"] is None
