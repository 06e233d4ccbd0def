"""API keys, in a browser."""

import re

import sqlalchemy as sa
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.models import ApiKey
from app.services import api_keys
from tests.conftest import World


def make(client: FlaskClient, **more: str) -> str:
    page = client.post("/api-keys", data={"name": "import", "scopes": "write", **more}).text
    return re.search(r"bq_[\w-]{30,}", page)[0]


def test_a_key_is_shown_once_and_works(as_member: FlaskClient, session: Session, world: World):
    text = make(as_member)

    page = as_member.get("/api-keys").text
    actor = api_keys.authenticate(session, text)
    assert text not in page
    assert text[:9] in page
    assert "http://bitqueue.test/api/v1" in page
    assert (actor.user_id, actor.workspace_id) == (world.member.id, world.workspace.id)


def test_a_key_that_only_reads_says_so(as_member: FlaskClient, session: Session):
    actor = api_keys.authenticate(session, make(as_member, scopes="read", workspace_id="x"))

    assert actor.scopes == {"read"}


def test_a_key_needs_a_name(as_member: FlaskClient, session: Session):
    answer = as_member.post("/api-keys", data={"name": " ", "scopes": "write"})

    assert answer.status_code == 422
    assert session.scalars(sa.select(ApiKey)).all() == []


def test_a_revoked_key_no_longer_works(as_member: FlaskClient, session: Session):
    text = make(as_member)

    as_member.post(f"/api-keys/{session.scalars(sa.select(ApiKey.id)).one()}/revoke")

    assert api_keys.authenticate(session, text) is None


def test_an_editor_does_not_revoke_the_key_of_another(
    as_owner: FlaskClient, as_member: FlaskClient, session: Session
):
    make(as_owner)

    answer = as_member.post(f"/api-keys/{session.scalars(sa.select(ApiKey.id)).one()}/revoke")

    assert answer.status_code == 403


def test_an_admin_does(as_admin: FlaskClient, as_member: FlaskClient, session: Session):
    make(as_member)

    as_admin.post(f"/api-keys/{session.scalars(sa.select(ApiKey.id)).one()}/revoke")

    assert session.scalars(sa.select(ApiKey.revoked_at)).one()


def test_a_key_of_another_workspace_is_not_found(
    as_owner: FlaskClient, as_stranger: FlaskClient, session: Session
):
    make(as_owner)

    answer = as_stranger.post(f"/api-keys/{session.scalars(sa.select(ApiKey.id)).one()}/revoke")

    assert answer.status_code == 404
