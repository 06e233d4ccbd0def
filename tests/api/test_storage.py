from app.models import Workspace
from tests import factories


def test_a_program_reads_and_changes_what_is_kept(api, session, world):
    before = api.get("/api/v1/storage").json

    answer = api.patch("/api/v1/storage", json={"keep_runs": 1000, "budget_mb": 200})

    row = session.get_one(Workspace, world.workspace.id)
    assert (before["keep_days"], before["keep_runs"], before["pressure"]) == (30, None, "none")
    assert answer.json["budget_bytes"] == 200 * 1024**2
    assert (row.keep_days, row.keep_runs) == (30, 1000)


def test_what_does_not_fit_is_named(api):
    answer = api.patch("/api/v1/storage", json={"budget_mb": 1})

    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "budget_mb"


def test_an_editors_key_changes_nothing_of_it(app, world):
    factories.ApiKeyFactory(workspace_id=world.workspace.id, user_id=world.member.id, text="bq_member")
    client = app.test_client()

    answer = client.patch(
        "/api/v1/storage", json={"keep_runs": 1}, headers={"Authorization": "Bearer bq_member"}
    )

    assert answer.status_code == 403
