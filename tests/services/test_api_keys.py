"""API keys: whom they act for, and when they no longer do."""

import pytest
import sqlalchemy as sa
import time_machine
from sqlalchemy.orm import Session

from app import clock
from app.database import writing
from app.errors import ForbiddenError
from app.models import ApiKey, Role
from app.services import api_keys, team
from tests.conftest import World


def test_a_key_acts_for_its_person_with_their_role(api_key: str, world: World, session: Session):
    actor = api_keys.authenticate(session, api_key)

    assert (actor.user_id, actor.workspace_id, actor.role) == (world.owner.id, world.workspace.id, Role.OWNER)
    assert actor.scopes == {"read", "write"}


@pytest.mark.parametrize("text", ["", "bq_", "bq_guess", "Bearer bq_x", "bq_\ud800", "bq_\0"])
def test_anything_else_is_nobody(api_key: str, session: Session, text: str):
    assert api_keys.authenticate(session, text) is None


def test_a_key_does_no_more_than_its_person_may_today(api_key: str, world: World, session: Session):
    with writing() as writer:
        team.join(writer, world.stranger, world.workspace.id, Role.OWNER)
        team.change_role(writer, world.actor("owner"), world.owner.id, Role.VIEWER)

    assert api_keys.authenticate(session, api_key).role is Role.VIEWER


def test_the_use_of_a_key_is_noted_once_a_minute(api_key: str, session: Session):
    start = clock.now().replace(microsecond=0)
    seen = []
    for seconds in (0, 59, 61):
        with time_machine.travel(start.timestamp() + seconds, tick=False):
            api_keys.authenticate(session, api_key)
        session.rollback()
        seen.append((session.scalar(sa.select(ApiKey.last_used_at)) - start).total_seconds())

    assert seen == [0, 0, 61]


def test_a_key_is_kept_as_a_hash(world: World, session: Session):
    with writing() as writer:
        row, text = api_keys.create(writer, world.actor("member"), "mine", read_only=False)
        stored = vars(row)

    assert len(text) >= len("bq_") + 22
    assert text not in str(stored)


def test_a_viewer_makes_no_key(world: World):
    with pytest.raises(ForbiddenError), writing() as session:
        api_keys.create(session, world.actor("viewer"), "mine", read_only=True)
