import pytest
import sqlalchemy as sa

from app.models import Hook, Task
from tests import factories
from tests.api.conftest import BIG, BIG_ORDERS, CALL


def test_a_rule_is_answered_as_its_document_with_its_address(make_rule):
    rule = make_rule()

    assert rule["id"].startswith("rul_")
    assert (rule["name"], rule["enabled"], rule["version"]) == ("Big orders", True, 1)
    assert rule["hook_url"].startswith("http://bitqueue.test/hooks/")
    assert rule["trigger"]["type"] == "webhook.received"
    assert [step["key"] for step in rule["steps"]] == ["big", "call"]


def test_a_rule_reads_back_as_it_was_made(api, make_rule):
    rule = make_rule()

    assert api.get(f"/api/v1/rules/{rule['id']}").json == rule


def test_the_address_is_kept_sealed(make_rule, session):
    rule = make_rule()

    row = session.scalar(sa.select(Hook))
    token = rule["hook_url"].rpartition("/")[2]
    assert token not in (row.token_sha256, row.token_sealed)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": ""}, "name"),
        ({"trigger": {"type": "no.such"}}, "trigger.type"),
        ({"trigger": {}}, "trigger.type"),
        ({"steps": [CALL | {"params": {"method": "GET"}}]}, "steps.0.params.url"),
        ({"steps": [CALL | {"action": "no.such"}]}, "steps.0.action"),
        (
            {"steps": [BIG | {"conditions": [{"field": "event.total", "op": "nope"}]}]},
            "steps.0.conditions.0.op",
        ),
        ({"steps": [CALL, CALL]}, "steps.1.key"),
        ({"steps": [CALL | {"kind": "code"}]}, "steps.0"),
        ({"steps": "all"}, "steps"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_rule_that_cannot_run_is_refused_by_field(api, change, field):
    answer = api.post("/api/v1/rules", json=BIG_ORDERS | change)

    assert answer.status_code == 422
    assert any(error["field"].startswith(field) for error in answer.json["errors"]), answer.json


def test_a_step_cannot_name_another_workspaces_connection(api, world):
    theirs = factories.ConnectionFactory(workspace_id=world.other_workspace.id, integration="http")

    answer = api.post("/api/v1/rules", json=BIG_ORDERS | {"steps": [CALL | {"connection": theirs.id}]})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json["errors"]] == ["steps.0.connection"]


def test_a_rule_can_be_made_off_and_turned_on(api, make_rule):
    rule = make_rule(enabled=False)

    on = api.post(f"/api/v1/rules/{rule['id']}/enable").json
    off = api.post(f"/api/v1/rules/{rule['id']}/disable").json

    assert (rule["enabled"], rule["version"]) == (False, None)
    assert (on["enabled"], on["version"], on["hook_url"]) == (True, 1, rule["hook_url"])
    assert (off["enabled"], off["version"]) == (False, 1)


def test_replacing_a_rule_makes_a_version_and_keeps_the_address(api, make_rule):
    rule = make_rule()

    changed = api.put(
        f"/api/v1/rules/{rule['id']}", json=BIG_ORDERS | {"name": "Small", "steps": [CALL]}
    ).json

    assert (changed["name"], changed["version"], changed["hook_url"]) == ("Small", 2, rule["hook_url"])
    assert [step["key"] for step in changed["steps"]] == ["call"]


def test_changing_a_part_leaves_the_rest(api, make_rule):
    rule = make_rule()

    changed = api.patch(f"/api/v1/rules/{rule['id']}", json={"name": "Renamed"}).json

    assert changed["name"] == "Renamed"
    assert (changed["steps"], changed["version"], changed["enabled"]) == (rule["steps"], 1, True)


def test_a_deleted_rule_is_not_found(api, make_rule):
    rule = make_rule()

    assert api.delete(f"/api/v1/rules/{rule['id']}").status_code == 204
    assert api.get(f"/api/v1/rules/{rule['id']}").status_code == 404


def test_rules_come_in_pages(api, make_rule):
    ids = [make_rule(name=f"Rule {number}")["id"] for number in range(3)]

    first = api.get("/api/v1/rules?limit=2").json
    rest = api.get(f"/api/v1/rules?limit=2&cursor={first['next_cursor']}").json

    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next_cursor"] is None


def test_running_by_hand_takes_data_of_ones_own(api, make_rule, session):
    rule = make_rule()

    answer = api.post(f"/api/v1/rules/{rule['id']}/run", json={"data": {"order": "B-2", "total": 7}})

    assert answer.status_code == 202
    assert api.get(f"/api/v1/events/{answer.json['event']}").json["data"] == {"order": "B-2", "total": 7}
    assert session.scalar(sa.select(Task.run_id)) == answer.json["run"]


def test_a_rule_that_is_off_cannot_be_run(api, make_rule):
    rule = make_rule(enabled=False)

    assert api.post(f"/api/v1/rules/{rule['id']}/run").status_code == 409


def test_a_dry_run_shows_what_would_be_sent(api, make_rule):
    rule = make_rule()

    answer = api.post(f"/api/v1/rules/{rule['id']}/test", json={"step": "call"}).json

    assert (answer["really"], answer["state"]) == (False, "succeeded")
    assert answer["sent"]["url"] == "https://shop.example/done"
    assert answer["sent"]["json"] == {"order": "A-1001"}


def test_an_unknown_step_cannot_be_tried(api, make_rule):
    rule = make_rule()

    assert api.post(f"/api/v1/rules/{rule['id']}/test", json={"step": "nope"}).status_code == 404
