"""The hold of a restored server, for those who may look at it and those who may end it."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.database import writing
from app.engine import hold
from app.errors import ForbiddenError
from app.models import AuditEntry, Workspace
from app.services import holds
from tests import factories


@pytest.fixture
def held(session, world):
    with writing():
        hold.begin(session.connection(), backup_at=clock.now() - timedelta(hours=2))
    return world


def alone(session, world) -> None:
    """The only workspace of the server."""
    session.execute(sa.delete(Workspace).where(Workspace.id == world.other_workspace.id))
    session.commit()


def test_where_nothing_is_held_there_is_nothing_to_show(session, world):
    assert holds.standing(session, world.actor()) is None


def test_an_operator_sees_what_waits_on_the_whole_server(session, held):
    factories.TaskFactory(workspace_id=held.workspace.id, queue_id=held.queue.id, state="queued")
    factories.TaskFactory(workspace_id=held.other_workspace.id, queue_id=held.queue.id, state="waiting")
    factories.TaskFactory(workspace_id=held.workspace.id, queue_id=held.queue.id, state="uncertain")
    factories.TaskFactory(workspace_id=held.workspace.id, queue_id=held.queue.id, state="succeeded")

    shown = holds.standing(session, held.actor())

    assert (shown.tasks, shown.uncertain, shown.schedules) == (2, 1, 0)


def test_others_see_what_waits_in_their_workspace(session, held):
    factories.TaskFactory(workspace_id=held.workspace.id, queue_id=held.queue.id, state="queued")

    assert holds.standing(session, held.actor("member")).tasks == 1
    assert holds.standing(session, held.actor("stranger")).tasks == 0


def test_an_operator_lets_it_go_on(session, held):
    with writing():
        assert holds.release(session, held.actor())

    assert holds.standing(session, held.actor()) is None
    assert session.scalar(sa.select(AuditEntry.verb)) == "let outgoing work go on"
    with writing():
        assert not holds.release(session, held.actor())


@pytest.mark.parametrize("who", ["admin", "member", "viewer", "stranger"])
def test_nobody_else_does(session, held, who):
    with pytest.raises(ForbiddenError), writing():
        holds.release(session, held.actor(who))

    assert not holds.standing(session, held.actor(who)).may_release


def test_an_owner_does_where_there_is_no_other_workspace(session, held):
    stranger = held.actor("stranger")
    session.execute(sa.delete(Workspace).where(Workspace.id == held.workspace.id))
    session.commit()

    with writing():
        assert holds.release(session, stranger)


def test_an_admin_does_not_there_either(session, held):
    alone(session, held)

    with pytest.raises(ForbiddenError), writing():
        holds.release(session, held.actor("admin"))
