"""Who reaches what: found by enumerating the routes, not from a list."""

import re

import pytest

from app import clock
from app.api.problems import is_ours
from app.database import db
from app.engine import core
from app.models import BulkOrder, Role, State
from app.services import failures
from tests import factories

BODIES = {
    "v1_tasks.resolve": {"resolution": "done"},
    "v1_queues.ack": {"lease": 1},
    "v1_queues.nack": {"lease": 1},
    "v1_queues.extend": {"lease": 1},
    "v1_queues.update": {"priority": 1},
    "v1_rules.replace": {"name": "mine", "trigger": {"type": "manual.started"}, "steps": []},
    "v1_rules.update": {"name": "mine"},
    "v1_rules.test": {"step": "call"},
    "v1_connections.update": {"name": "mine"},
    "v1_failures.resolve": {"resolution": "done"},
}
OPEN = {"v1_hooks", "v1_health", "v1_openapi"}


def routes(app):
    """(endpoint, method, path, view) of every route of the API that needs a key."""
    for rule in app.url_map.iter_rules():
        if is_ours(rule.rule) and (rule.endpoint.split(".")[0] not in OPEN or rule.rule == "/metrics"):
            for method in sorted(rule.methods - {"HEAD", "OPTIONS"}):
                yield rule.endpoint, method, rule.rule, app.view_functions[rule.endpoint]


def fill(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: ids[found[1]], path)


@pytest.fixture
def theirs(world) -> dict[str, str]:
    """Ids of rows in another workspace, by the name they have in addresses."""
    other = world.other_workspace
    queue = factories.QueueFactory(workspace_id=other.id, name="theirs")
    rule = factories.RuleFactory(workspace_id=other.id)
    version = factories.RuleVersionFactory(workspace_id=other.id, rule_id=rule.id)
    event = factories.EventFactory(workspace_id=other.id)
    run = factories.RunFactory(
        workspace_id=other.id, rule_id=rule.id, version_id=version.id, event_id=event.id, state=State.FAILED
    )
    task = factories.TaskFactory(workspace_id=other.id, queue_id=queue.id, state=State.FAILED)
    connection = factories.ConnectionFactory(workspace_id=other.id, integration="webhook")
    return {
        "task_id": task.id,
        "run_id": run.id,
        "rule_id": rule.id,
        "event_id": event.id,
        "connection_id": connection.id,
        "file_id": factories.FileFactory(workspace_id=other.id).id,
        "name": queue.name,
        "alert_id": factories.AlertFactory(workspace_id=other.id).id,
        "group": failures.desk(db.session(), world.actor("stranger"), core.current()).groups[0].key,
        "order_id": _order(other.id),
    }


def _order(workspace_id: str) -> str:
    row = BulkOrder(
        id="ord_theirs", workspace_id=workspace_id, group_key="flr_x", what="retry", about="", members=[], total=0,
        made_by="usr_x", made_by_name="X", created_at=clock.now(), finished_at=clock.now(),
    )  # fmt: skip
    db.session.add(row)
    db.session.commit()
    return row.id


def test_every_route_is_marked_with_a_role_or_as_public(app):
    unmarked = [
        rule.rule
        for rule in app.url_map.iter_rules()
        if is_ours(rule.rule) and not hasattr(app.view_functions[rule.endpoint], "least_role")
    ]

    assert unmarked == []


def test_no_route_answers_without_a_key(app, client, theirs):
    ids = theirs | {"key": "http"}

    answers = {
        (method, path): client.open(fill(path, ids), method=method, json={}).status_code
        for _endpoint, method, path, _view in routes(app)
    }

    assert set(answers.values()) == {401}


def test_another_workspaces_ids_are_not_found_on_any_route(app, api, theirs):
    answers = {
        (method, path): api.open(fill(path, theirs), method=method, json=BODIES.get(endpoint)).status_code
        for endpoint, method, path, _view in routes(app)
        if "<" in path and "<key>" not in path
    }

    assert len(answers) > 25
    assert set(answers.values()) == {404}, {key: value for key, value in answers.items() if value != 404}


def test_lists_hold_nothing_of_another_workspace(app, api, theirs):
    lists = [path for _endpoint, method, path, _view in routes(app) if method == "GET" and "<" not in path]

    for path in lists:
        if path not in {"/metrics", "/api/v1/integrations"}:
            text = api.get(path).text
            assert not [value for value in theirs.values() if value in text], path


def test_a_viewer_changes_nothing(app, world):
    factories.ApiKeyFactory(workspace_id=world.workspace.id, user_id=world.viewer.id, text="bq_viewer")
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer bq_viewer"
    ids = dict.fromkeys(
        (
            "task_id",
            "run_id",
            "rule_id",
            "event_id",
            "connection_id",
            "file_id",
            "name",
            "alert_id",
            "group",
            "order_id",
        ),
        "x",
    ) | {"key": "http"}

    for _endpoint, method, path, view in routes(app):
        answer = client.open(fill(path, ids), method=method, json={})
        if view.least_role in {Role.EDITOR, Role.ADMIN}:
            assert answer.status_code == 403, (method, path)
        elif path != "/metrics":
            assert answer.status_code in {200, 404}, (method, path)


def test_a_key_that_may_only_read_changes_nothing(app, world):
    factories.ApiKeyFactory(
        workspace_id=world.workspace.id, user_id=world.owner.id, text="bq_read", scopes=("read",)
    )
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer bq_read"

    answer = client.post("/enqueue", json={"action": "http.request"})

    assert answer.status_code == 403
    assert client.get("/api/v1/tasks").status_code == 200


@pytest.mark.parametrize(
    "query", ["api_key=bq_a-key-for-tests", "key=x", "access_token=x", "x=bq_a-key-for-tests"]
)
def test_a_key_in_the_address_is_refused_even_beside_a_right_one(api, query):
    answer = api.get(f"/api/v1/tasks?{query}")

    assert answer.status_code == 401
    assert "address" in answer.json["detail"]
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "bq_a-key-for-tests", "Bearer bq_\xff"],
)
def test_what_is_no_key_is_unauthorized(client, api_key, header):
    answer = client.get("/api/v1/tasks", headers={"Authorization": header})

    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")


def test_a_browsers_session_is_no_key(as_owner):
    assert as_owner.get("/api/v1/tasks").status_code == 401


@pytest.mark.parametrize("field", ["workspace_id", "role", "state", "id", "created_by", "version"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/tasks", {"action": "http.request", "params": {"url": "https://example.com/"}}),
        ("/api/v1/queues", {"name": "mail"}),
        ("/api/v1/rules", {"name": "R", "trigger": {"type": "manual.started"}, "steps": []}),
        ("/api/v1/connections", {"integration": "webhook", "name": "C", "settings": {}}),
    ],
)
def test_fields_that_are_ours_to_set_are_refused(api, path, body, field):
    answer = api.post(path, json=body | {field: "x"})

    assert answer.status_code == 422
    assert field in {error["field"] for error in answer.json["errors"]}
