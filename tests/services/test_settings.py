"""The workspace's name and its last changes."""

import pytest
from sqlalchemy.orm import Session

from app.database import writing
from app.errors import ForbiddenError, InvalidError
from app.services import settings
from app.services.access import audit
from tests.conftest import World


def test_the_last_fifty_changes_are_shown_newest_first(world: World, session: Session):
    with writing() as writer:
        for number in range(60):
            audit(writer, world.actor("owner"), "did", str(number))
        audit(writer, world.actor("stranger"), "did", "elsewhere")

    deeds = settings.recent_deeds(session, world.actor("admin"))

    assert len(deeds) == 50
    assert {deed.email for deed in deeds} == {"owner@example.com"}
    assert "elsewhere" not in {deed.entry.subject for deed in deeds}


def test_an_editor_renames_nothing(world: World):
    with pytest.raises(ForbiddenError), writing() as session:
        settings.rename(session, world.actor("member"), "Mine")


def test_a_workspace_needs_a_name(world: World):
    with pytest.raises(InvalidError), writing() as session:
        settings.rename(session, world.actor("owner"), " ")
