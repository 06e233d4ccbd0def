"""Invitations: who may give which, once, for a week."""

from datetime import timedelta

import pytest
import time_machine
from sqlalchemy.orm import Session

from app import clock
from app.database import writing
from app.errors import ForbiddenError, GoneError, NotFoundError
from app.models import Role
from app.services import invitations
from tests.conftest import World
from tests.factories import UserFactory


def invite(world: World, who: str = "admin", role: Role = Role.EDITOR) -> str:
    with writing() as session:
        return invitations.create(session, world.actor(who), "new@example.com", role)[1]


def test_a_link_makes_a_member_in_its_role(world: World, session: Session):
    token, user = invite(world, role=Role.ADMIN), UserFactory(email="new@example.com")

    with writing() as writer:
        actor = invitations.accept(writer, token, user)

    assert (actor.workspace_id, actor.role) == (world.workspace.id, Role.ADMIN)


def test_a_link_works_once(world: World):
    token, user = invite(world), UserFactory()
    with writing() as session:
        invitations.accept(session, token, user)

    with pytest.raises(GoneError), writing() as session:
        invitations.accept(session, token, world.stranger)


def test_a_link_is_good_for_a_week(world: World, session: Session):
    token = invite(world)

    with time_machine.travel(clock.now() + timedelta(days=7, seconds=1)), pytest.raises(GoneError):
        invitations.find(session, token)


def test_an_admin_makes_no_owner(world: World):
    with pytest.raises(ForbiddenError, match="only an owner"):
        invite(world, role=Role.OWNER)


def test_an_editor_invites_nobody(world: World):
    with pytest.raises(ForbiddenError):
        invite(world, who="member")


def test_an_unknown_link_is_not_found(session: Session):
    with pytest.raises(NotFoundError):
        invitations.find(session, "guess")
