import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
import time_machine

from app import clock
from app.engine import schedule, tick
from app.engine.commit import GroupCommit
from app.models import Event, Run, Task, Trigger, TriggerKind
from tests.engine.conftest import step

MINUTELY = {"expression": "* * * * *", "zone": "Asia/Kathmandu"}


def scheduled(bench, *, ago: timedelta = timedelta(0), **params):
    """A rule whose next slot was or is at the beginning of this minute, or so long before."""
    slot = clock.now().replace(second=0, microsecond=0) - ago
    return bench.arm(
        step("one"),
        kind=TriggerKind.SCHEDULE,
        type="schedule.cron",
        params=MINUTELY | params,
        next_due_at=slot,
    )


def test_a_due_slot_makes_one_event_with_its_local_time(bench):
    scheduled(bench)

    assert schedule.fire_due(bench.engine) == 1

    (event,) = bench.events()
    slot = clock.now().replace(second=0, microsecond=0)
    assert event.data["scheduled_at"] == clock.rfc3339(slot) == event.key
    assert event.data["local_time"].endswith("+05:45")
    assert event.data["zone"] == "Asia/Kathmandu"
    assert bench.row(Trigger).next_due_at > clock.now()
    assert bench.row(Trigger).last_fired_at == slot
    assert len(bench.rows(Task)) == 1


def test_nothing_fires_before_its_time(bench):
    scheduled(bench, ago=timedelta(minutes=-2))

    assert schedule.fire_due(bench.engine) == 0
    assert bench.events() == []


def test_the_same_slot_a_hundred_times_at_once_is_one_event(bench):
    scheduled(bench)
    engines = [replace(bench.engine, writer=GroupCommit(bench.engine.database)) for _ in range(5)]

    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda n: schedule.fire_due(engines[n % 5]), range(100)))

    assert sum(made) == 1
    assert len(bench.events()) == 1
    assert len(bench.rows(Run)) == 1


def test_ticks_that_saw_the_same_slot_fire_it_once(bench):
    armed = scheduled(bench)
    row = bench.row(Trigger)

    made = [schedule._fire(bench.engine, row) for _ in range(3)]

    assert made == [1, 0, 0]
    assert [(event.source, event.duplicates) for event in bench.events()] == [(armed.trigger_id, 0)]


def test_a_tick_that_saw_a_slot_before_the_rule_was_turned_off_fires_nothing(bench):
    scheduled(bench)
    seen = bench.row(Trigger)
    bench.set(seen, next_due_at=None, version_id=None)

    assert schedule._fire(bench.engine, seen) == 0

    assert bench.events() == []
    assert bench.row(Trigger).next_due_at is None


def test_a_slot_set_back_by_hand_makes_no_second_event(bench):
    scheduled(bench)
    before = bench.row(Trigger).next_due_at
    schedule.fire_due(bench.engine)
    bench.set(bench.row(Trigger), next_due_at=before)

    assert schedule.fire_due(bench.engine) == 0
    assert bench.row(Event).duplicates == 1


@pytest.mark.parametrize(
    ("policy", "late_s", "count"),
    [("once", 0, 1), ("once", 90, 1), ("all", 0, 6), ("skip", 90, 0), ("skip", 30, 1)],
)
def test_missed_slots_follow_the_policy(bench, policy, late_s, count):
    newest = clock.now().replace(minute=0, second=0, microsecond=0)
    every = timedelta(minutes=10)
    expression = {"expression": "*/10 * * * *", "missed": policy, "zone": "UTC"}
    scheduled(bench, **expression)
    bench.set(bench.row(Trigger), next_due_at=newest - 5 * every)

    with time_machine.travel(newest + timedelta(seconds=late_s), tick=False):
        made = schedule.fire_due(bench.engine)

    assert made == count
    assert bench.row(Trigger).next_due_at == newest + every
    assert [event.key for event in bench.events()][-1:] == [clock.rfc3339(newest)][:count]


@pytest.mark.parametrize("missed", [1, 2, 59, 60, 61, 1000, 10_081])
def test_the_policy_once_fires_the_newest_of_the_missed(bench, missed):
    newest = clock.now().replace(second=0, microsecond=0)
    scheduled(bench, ago=timedelta(minutes=missed))

    with time_machine.travel(newest + timedelta(seconds=20), tick=False):
        schedule.fire_due(bench.engine)

    assert bench.row(Event).key == clock.rfc3339(newest)
    assert bench.row(Trigger).next_due_at == newest + timedelta(minutes=1)


def test_the_policy_all_makes_up_for_every_slot_in_parts(bench):
    newest = clock.now().replace(second=0, microsecond=0)
    scheduled(bench, ago=timedelta(minutes=149), missed="all")

    with time_machine.travel(newest + timedelta(seconds=20), tick=False):
        made = [schedule.fire_due(bench.engine) for _ in range(3)]

    assert made == [100, 50, 0]


@pytest.mark.parametrize(
    "broken",
    [
        {"params": {"expression": "no cron", "zone": "UTC"}},
        {"params": {"expression": "* * * * *", "zone": "Nowhere/Land"}},
        {"params": {"expression": "* * * * *", "zone": ["UTC"]}},
        {"params": {}},
        {"params": {"zone": "Nowhere/Land"}, "type": "gone.away"},
        {"params": MINUTELY, "type": "gone.away"},
    ],
)
def test_a_schedule_that_cannot_be_read_stops_alone_and_says_so(bench, broken):
    scheduled(bench)
    bench.set(bench.row(Trigger), **broken)
    sound = scheduled(bench)

    assert schedule.fire_due(bench.engine) == 1

    stopped, other = bench.row(Trigger, last_fired_at=None), bench.row(Trigger, id=sound.trigger_id)
    assert stopped.next_due_at is None
    assert "turn it on" in stopped.last_error
    assert other.next_due_at is not None


def test_a_rule_that_is_off_has_no_slot(bench):
    bench.arm(step("one"), kind=TriggerKind.SCHEDULE, type="schedule.cron", params=MINUTELY, next_due_at=None)

    assert schedule.fire_due(bench.engine) == 0
    assert schedule.soonest(bench.engine, 1e6) is None


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_set_fires_no_slot_twice(bench, hours):
    scheduled(bench)
    schedule.fire_due(bench.engine)

    with time_machine.travel(clock.now() + timedelta(hours=hours)):
        schedule.fire_due(bench.engine)
    schedule.fire_due(bench.engine)

    keys = [event.key for event in bench.events()]
    assert len(keys) == len(set(keys))


def test_a_slot_within_the_next_second_fires_on_time(bench):
    due_at = clock.now() + timedelta(seconds=0.5)
    scheduled(bench)
    bench.set(bench.row(Trigger), next_due_at=due_at)

    began = time.monotonic()
    tick.run(bench.engine)

    (event,) = bench.events()
    assert timedelta(0) <= event.received_at - due_at < timedelta(milliseconds=150)
    assert time.monotonic() - began < 3


def test_a_tick_with_nothing_due_does_not_stay(bench):
    began = time.monotonic()

    tick.run(bench.engine)

    assert time.monotonic() - began < 0.9


def test_the_next_slots_are_shown_without_being_fired(bench):
    slots = schedule.upcoming(bench.engine.catalogue, "schedule.cron", MINUTELY)

    assert len(slots) == 5
    assert {later - sooner for sooner, later in pairwise(slots)} == {timedelta(minutes=1)}
    assert schedule.upcoming(bench.engine.catalogue, "gone.away", {}) == []
