"""The people of a workspace, in a browser."""

import re

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from app.models import ApiKey, Invitation, Membership, Role, Workspace
from tests.conftest import World
from tests.factories import MembershipFactory, UserFactory


def role_of(session: Session, user) -> Role | None:
    return session.scalar(
        sa.select(Membership.role).where(Membership.user_id == user.id).order_by(Membership.id)
    )


def test_everybody_sees_who_is_there_and_no_stranger(as_viewer: FlaskClient, world: World):
    page = as_viewer.get("/team").text

    assert all(name in page for name in ("owner@example.com", "admin@example.com", "viewer@example.com"))
    assert "stranger@example.com" not in page
    assert "Make an invitation link" not in page


def test_an_invitation_is_a_link_of_our_own_address_shown_once(
    app: Flask, as_admin: FlaskClient, session: Session
):
    made = as_admin.post(
        "/team/invitations",
        data={"email": "New@example.com", "role": "editor"},
        headers={"X-Forwarded-Host": "evil.example"},
    )

    link = re.search(r"http://bitqueue\.test/invitations/([\w-]{32,})<", made.text)
    assert link
    assert link[1] not in as_admin.get("/team").text
    assert "new@example.com" in as_admin.get("/team").text
    assert session.scalars(sa.select(Invitation.token_sha256)).one() != link[1]
    assert "Join Shop" in app.test_client().get(f"/invitations/{link[1]}").text


def test_a_second_invitation_replaces_the_first(as_admin: FlaskClient, session: Session, world: World):
    for _ in range(2):
        as_admin.post("/team/invitations", data={"email": "new@example.com", "role": "viewer"})

    assert session.scalar(sa.select(sa.func.count()).select_from(Invitation)) == 1


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ({"email": "x@example.com", "role": "owner"}, 422),
        ({"email": "x@example.com", "role": "king"}, 422),
        ({"email": "nonsense", "role": "editor"}, 422),
        ({"email": "", "role": "editor"}, 422),
        ({"email": "viewer@example.com", "role": "editor"}, 409),
    ],
)
def test_an_admin_cannot_invite_just_anybody(
    as_admin: FlaskClient, session: Session, data: dict, status: int
):
    answer = as_admin.post("/team/invitations", data=data)

    assert answer.status_code == status
    assert session.scalar(sa.select(sa.func.count()).select_from(Invitation)) == 0


def test_a_withdrawn_invitation_no_longer_works(app: Flask, as_admin: FlaskClient, session: Session):
    page = as_admin.post("/team/invitations", data={"email": "new@example.com", "role": "editor"}).text
    token = re.search(r"/invitations/([\w-]{32,})<", page)[1]

    as_admin.post(f"/team/invitations/{session.scalars(sa.select(Invitation.id)).one()}/revoke")

    assert app.test_client().get(f"/invitations/{token}").status_code == 404


def test_an_invitation_of_another_workspace_is_not_found(
    as_admin: FlaskClient, as_stranger: FlaskClient, session: Session
):
    as_admin.post("/team/invitations", data={"email": "new@example.com", "role": "editor"})

    answer = as_stranger.post(f"/team/invitations/{session.scalars(sa.select(Invitation.id)).one()}/revoke")

    assert answer.status_code == 404


def test_a_role_is_changed(as_admin: FlaskClient, session: Session, world: World):
    as_admin.post(f"/team/members/{world.viewer.id}/role", data={"role": "editor", "workspace_id": "x"})

    assert role_of(session, world.viewer) is Role.EDITOR


@pytest.mark.parametrize(("who", "role"), [("owner", "viewer"), ("viewer", "owner"), ("admin", "owner")])
def test_an_admin_does_not_reach_owners(
    as_admin: FlaskClient, session: Session, world: World, who: str, role: str
):
    before = role_of(session, getattr(world, who))

    answer = as_admin.post(f"/team/members/{getattr(world, who).id}/role", data={"role": role})

    assert answer.status_code == 403
    assert role_of(session, getattr(world, who)) is before


def test_an_admin_does_not_remove_an_owner(as_admin: FlaskClient, world: World):
    assert as_admin.post(f"/team/members/{world.owner.id}/remove").status_code == 403


def test_a_role_that_does_not_exist_is_refused(as_owner: FlaskClient, world: World):
    assert as_owner.post(f"/team/members/{world.viewer.id}/role", data={"role": "king"}).status_code == 422


@pytest.mark.parametrize("path", ["/team/leave", "/team/members/{id}/remove"])
def test_the_last_owner_stays(as_owner: FlaskClient, session: Session, world: World, path: str):
    answer = as_owner.post(path.format(id=world.owner.id))

    assert answer.status_code == 409
    assert "at least one owner" in answer.text
    assert role_of(session, world.owner) is Role.OWNER


def test_the_last_owner_is_not_demoted(as_owner: FlaskClient, session: Session, world: World):
    answer = as_owner.post(f"/team/members/{world.owner.id}/role", data={"role": "editor"})

    assert answer.status_code == 409


def test_who_is_removed_is_out_at_once_and_so_are_their_keys(
    as_owner: FlaskClient, as_member: FlaskClient, session: Session, world: World
):
    as_member.post("/api-keys", data={"name": "mine", "scopes": "write"})

    as_owner.post(f"/team/members/{world.member.id}/remove")

    assert as_member.get("/team").location == "/workspaces/new"
    assert session.scalars(sa.select(ApiKey)).one().revoked_at is not None


def test_an_editor_leaves(as_member: FlaskClient, session: Session, world: World):
    as_member.post("/team/leave")

    assert role_of(session, world.member) is None


def test_a_workspace_is_made_and_entered(as_member: FlaskClient, session: Session, world: World):
    answer = as_member.post("/workspaces/new", data={"name": "Mine"})

    assert answer.location == "/"
    assert "Mine" in as_member.get("/team").text
    made = session.scalars(sa.select(Workspace).where(Workspace.name == "Mine")).one()
    assert session.scalar(sa.select(Membership.role).where(Membership.workspace_id == made.id)) is Role.OWNER


def test_a_workspace_needs_a_name(as_member: FlaskClient):
    assert as_member.post("/workspaces/new", data={"name": "\t"}).status_code == 422


def test_switching_shows_the_other_workspace(as_owner: FlaskClient, world: World):
    MembershipFactory(workspace=world.other_workspace, user=world.owner, role=Role.VIEWER)

    as_owner.post("/workspaces/switch", data={"workspace": world.other_workspace.id})

    assert "The people of Elsewhere" in as_owner.get("/team").text
    assert as_owner.get("/settings").status_code == 403


def test_nobody_switches_to_a_workspace_they_are_not_in(as_owner: FlaskClient, world: World):
    answer = as_owner.post("/workspaces/switch", data={"workspace": world.other_workspace.id})

    assert answer.status_code == 404
    assert "The people of Shop" in as_owner.get("/team").text


def test_names_are_shown_as_text(as_owner: FlaskClient, world: World):
    user = UserFactory(name="<img src=x onerror=alert(1)>")
    MembershipFactory(workspace=world.workspace, user=user, role=Role.VIEWER)

    assert "<img src=x" not in as_owner.get("/team").text
