"""The workspace's settings, in a browser."""

from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.models import Workspace
from tests.conftest import World


def test_a_workspace_is_renamed_and_the_page_says_who_did_it(
    as_admin: FlaskClient, session: Session, world: World
):
    answer = as_admin.post("/settings", data={"section": "workspace", "name": "Bakery", "id": "x"})

    page = as_admin.get("/settings").text
    assert answer.location == "/settings"
    assert session.get(Workspace, world.workspace.id).name == "Bakery"
    assert "renamed the workspace" in page
    assert "admin@example.com" in page


def test_a_name_that_does_not_fit_is_refused_beside_the_field(as_admin: FlaskClient):
    answer = as_admin.post("/settings", data={"section": "workspace", "name": "x" * 101})

    assert answer.status_code == 422
    assert "may have at most 100 characters" in answer.text


def test_an_editor_does_not_see_the_settings(as_member: FlaskClient):
    assert as_member.get("/settings").status_code == 403
