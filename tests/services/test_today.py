from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine

from app import clock, ids
from app.database import db
from app.engine.core import Engine
from app.models import Run, State
from app.services import today
from app.services.moments import since
from tests.conftest import World
from tests.happened import Happened


@pytest.fixture
def happened(engine: Engine, world: World) -> Happened:
    return Happened(engine, world)


def at(happened, instant, state=State.SUCCEEDED):
    with time_machine.travel(instant, tick=False):
        return happened.run(state).id


@pytest.mark.parametrize(
    ("zone", "labels"),
    [
        ("UTC", {"01:00": 1}),
        ("Asia/Tokyo", {"07:00": 1, "10:00": 1}),
        ("Asia/Kolkata", {"04:00": 1, "07:00": 1}),
        ("America/New_York", {"17:00": 1, "20:00": 1}),
    ],
)
def test_the_day_is_the_readers(session, happened, world, zone, labels):
    at(happened, datetime(2026, 11, 20, 22, 30, tzinfo=UTC))
    at(happened, datetime(2026, 11, 21, 1, 30, tzinfo=UTC))

    with time_machine.travel(datetime(2026, 11, 21, 2, tzinfo=UTC), tick=False):
        found = today.today(session, world.actor(), ZoneInfo(zone))

    assert {hour.label: hour.succeeded for hour in found.hours if hour.succeeded} == labels


def test_on_the_day_of_the_change_an_hour_that_comes_twice_is_one(session, happened, world):
    at(happened, datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    at(happened, datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    at(happened, datetime(2026, 10, 25, 2, 30, tzinfo=UTC))

    with time_machine.travel(datetime(2026, 10, 25, 12, tzinfo=UTC), tick=False):
        found = today.today(session, world.actor(), ZoneInfo("Europe/Berlin"))

    assert {hour.label: hour.succeeded for hour in found.hours if hour.succeeded} == {"02:00": 2, "03:00": 1}


def test_a_busy_day_says_that_not_all_is_counted(session, happened, world, monkeypatch):
    monkeypatch.setattr(today, "COUNTED", 2)
    for _ in range(3):
        happened.run(State.SUCCEEDED)

    found = today.today(session, world.actor(), UTC)

    assert not found.complete
    assert found.counts[State.SUCCEEDED] == 2


def test_ids_made_later_sort_after_the_least_of_a_moment(session, happened):
    now = clock.now()

    assert (
        ids.least("run", now - timedelta(seconds=1))
        <= ids.new("run")
        < ids.least("run", now + timedelta(hours=1))
    )
    run = happened.run()
    assert db.session.query(Run).where(since(Run, "run", now)).one() is run
    assert db.session.query(Run).where(since(Run, "run", now + timedelta(hours=1))).first() is None
