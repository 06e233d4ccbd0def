"""Housekeeping: each kind of row goes when its time is over, and no sooner."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine

from app import clock, ids
from app.database import write_connection
from app.engine import sweep
from app.models import AuditEntry, Heartbeat, Invitation, SignIn, StorageSample, Usage
from app.models.heartbeat import TICK_ID
from tests import factories

DAY = timedelta(days=1)


def old_rows(place, age):
    """One row of each kind, of that age."""
    at = clock.now() - age
    with time_machine.travel(at, tick=False):
        audit_id = ids.new("aud")
    beat = {"kind": "worker", "host": "h", "pid": 1, "started_at": at, "seen_at": at}
    return {
        AuditEntry: {"id": audit_id, "workspace_id": place, "verb": "did", "subject": "x", "at": at},
        SignIn: {"id": "s", "workspace_id": place, "user_id": "u", "sealed": "s", "expires_at": at},
        Heartbeat: {"id": "wrk_1"} | beat,
        StorageSample: {"workspace_id": place, "at": at, "bytes": 1},
        Usage: {"workspace_id": place, "subject_id": "con_1", "day": at.date().isoformat()},
    }


KEPT = {
    AuditEntry: sweep.AUDIT_KEPT,
    SignIn: timedelta(0),
    Heartbeat: DAY,
    StorageSample: 8 * DAY,
    Usage: sweep.USAGE_KEPT + DAY,
}


@pytest.fixture
def whole_hour():
    """What is done seldom is done then."""
    with time_machine.travel(clock.now().replace(minute=0, second=30) + timedelta(hours=1), tick=True):
        yield


@pytest.mark.parametrize("model", list(KEPT), ids=lambda model: model.__tablename__)
def test_a_row_goes_when_its_time_is_over_and_no_sooner(bench, whole_hour, model):
    def left_of(age):
        with write_connection(bench.engine.database) as connection:
            connection.execute(sa.delete(model).where(model.__table__.primary_key.columns[0] != ""))
            connection.execute(sa.insert(model), old_rows(bench.workspace_id, age)[model])
        sweep.run(bench.engine)
        with bench.engine.database.connect() as connection:
            # The sweep itself notes what the workspace takes in this hour.
            recent = model is StorageSample
            return connection.scalar(sa.select(sa.func.count()).select_from(model)) - recent

    assert left_of(KEPT[model] + timedelta(hours=26)) == 0
    assert left_of(KEPT[model] - timedelta(hours=26)) == 1


def test_the_ticks_own_row_is_never_swept(bench, whole_hour):
    at = clock.now() - 30 * DAY
    row = {"id": TICK_ID, "kind": "tick", "host": "h", "pid": 1, "started_at": at, "seen_at": at}
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.insert(Heartbeat), row)

    sweep.run(bench.engine)

    assert [beat.id for beat in bench.rows(Heartbeat)] == [TICK_ID]


def test_an_invitation_that_lapsed_a_month_ago_goes(bench, whole_hour):
    for days in (31, 29):
        token = f"{days}"
        bench.add(
            factories.InvitationFactory, token=token, invited_by="u", expires_at=clock.now() - days * DAY
        )

    sweep.run(bench.engine)

    assert len(bench.rows(Invitation)) == 1


def test_a_sweep_with_nothing_to_do_changes_nothing(bench):
    sweep.run(bench.engine)

    assert sweep.run(bench.engine) == 0
