"""Workspaces and roles."""

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.database import writing
from app.errors import ConflictError, ForbiddenError, NotFoundError
from app.models import AuditEntry, Membership, Role
from app.services import team
from tests.conftest import World
from tests.factories import MembershipFactory


def test_somebody_acts_in_the_workspace_they_chose(world: World, session: Session):
    MembershipFactory(workspace=world.other_workspace, user=world.owner, role=Role.VIEWER)

    chosen = team.actor_for(session, world.owner.id, world.other_workspace.id)

    assert (chosen.workspace_id, chosen.role) == (world.other_workspace.id, Role.VIEWER)


def test_somebody_acts_in_their_oldest_workspace_otherwise(world: World, session: Session):
    actor = team.actor_for(session, world.owner.id, "wsp_not_theirs")

    assert actor.workspace_id == world.workspace.id


def test_a_second_membership_is_refused(world: World):
    with pytest.raises(ConflictError), writing() as session:
        team.join(session, world.viewer, world.workspace.id, Role.OWNER)


def test_an_owner_may_go_when_another_stays(world: World, session: Session):
    MembershipFactory(workspace=world.workspace, user=world.stranger, role=Role.OWNER)

    with writing() as writer:
        team.leave(writer, world.actor("owner"))

    assert team.actor_for(session, world.owner.id, None) is None


@pytest.mark.parametrize("who", ["member", "viewer"])
def test_only_admins_change_roles(world: World, who: str):
    with pytest.raises(ForbiddenError), writing() as session:
        team.change_role(session, world.actor(who), world.viewer.id, Role.EDITOR)


def test_a_person_elsewhere_is_not_found(world: World):
    with pytest.raises(NotFoundError), writing() as session:
        team.remove(session, world.actor("owner"), world.stranger.id)


def test_a_changed_role_is_written_down(world: World, session: Session):
    with writing() as writer:
        team.change_role(writer, world.actor("owner"), world.viewer.id, Role.ADMIN)

    entry = session.scalars(sa.select(AuditEntry)).one()
    assert (entry.verb, entry.subject, entry.detail) == (
        "changed role",
        "viewer@example.com",
        {"from": "viewer", "to": "admin"},
    )
    assert (
        session.scalar(sa.select(Membership.role).where(Membership.user_id == world.viewer.id)) is Role.ADMIN
    )
