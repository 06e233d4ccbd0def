"""A restored server sends nothing until somebody says so, and loses nothing meanwhile."""

from datetime import datetime, timedelta

import pytest
import time_machine

from app import clock
from app.engine import hold, record, schedule, tick
from app.engine.poll import Poller
from app.engine.work import Worker
from app.models import Event, Heartbeat, Task, Trigger, TriggerKind
from tests.engine.conftest import Bench, once, step


@pytest.fixture(autouse=True)
def steady_clock():
    tick.clock_watch.__init__()


@pytest.fixture
def held(bench: Bench) -> Bench:
    bench.write(lambda connection: hold.begin(connection, backup_at=clock.now() - timedelta(hours=1)))
    return bench


def release(bench: Bench) -> None:
    assert bench.write(hold.end)


def scheduled(bench: Bench, *, at: datetime, **params: str) -> None:
    """A rule whose next slot is or was then."""
    given = {"expression": "* * * * *", "zone": "UTC"} | params
    bench.arm(step("one"), kind=TriggerKind.SCHEDULE, type="schedule.cron", params=given, next_due_at=at)


def test_a_hold_is_seen_at_once_and_its_end_too(bench):
    with bench.engine.database.connect() as connection:
        assert not hold.held(connection)
        connection.rollback()
        bench.write(lambda writing: hold.begin(writing, backup_at=clock.now()))
        assert hold.held(connection)
        connection.rollback()
        release(bench)
        assert not hold.held(connection)


def test_a_second_hold_replaces_the_first(held):
    later = clock.now().replace(microsecond=0)

    held.write(lambda connection: hold.begin(connection, backup_at=later))

    with held.engine.database.connect() as connection:
        assert hold.standing(connection).backup_at == later


def test_nothing_is_claimed_while_held(held):
    held.task()

    assert held.claim() == []
    release(held)
    assert len(held.claim()) == 1


def test_a_users_program_gets_nothing_while_held(held):
    external = held.queue("external", external=True)
    held.task(queue_id=external)

    assert held.claim(queue_id=external) == []


def test_a_drain_leaves_at_once_while_held(held, provider):
    held.task()
    worker = Worker(held.engine)

    assert not worker._has_work()
    assert provider.heard == []


def test_nothing_is_looked_for_while_held(held):
    held.arm(step("one"), kind=TriggerKind.POLL, type="rss.item", next_due_at=clock.now())

    assert Poller(held.engine).look_due() == 0
    assert held.row(Trigger).next_due_at <= clock.now()


def test_events_are_taken_while_held(held):
    receipt = held.accept(held.arm(step("one")), {"n": 1})

    assert (held.row(Event).id, held.row(Task).state) == (receipt.event_id, "queued")


def test_no_schedule_fires_while_held(held):
    scheduled(held, at=clock.now() - timedelta(minutes=1))

    tick.run(held.engine)

    assert held.rows(Event) == []
    assert held.row(Heartbeat).kind == "tick"


@pytest.mark.parametrize(("missed", "count"), [("once", 1), ("all", 3), ("skip", 0)])
def test_missed_slots_follow_their_setting_exactly_once(bench, missed, count):
    with time_machine.travel("2026-11-21T08:30:00Z", tick=False):
        bench.write(lambda connection: hold.begin(connection, backup_at=clock.now()))
        scheduled(bench, at=clock.now() + timedelta(minutes=30), expression="0 * * * *", missed=missed)
    with time_machine.travel("2026-11-21T11:30:00Z", tick=False):
        bench.write(hold.end)

        fired = [schedule.fire_due(bench.engine) for _ in range(3)]

    assert fired == [count, 0, 0]
    assert len(bench.rows(Event)) == count


def test_what_was_being_sent_at_the_backup_becomes_uncertain_while_held(bench, provider):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()
    bench.write(
        lambda connection: record.begin(
            connection, [record.Beginning(task, record.Trace(clock.now(), announced=True))]
        )
    )
    bench.end_lease(task.id)
    bench.write(lambda connection: hold.begin(connection, backup_at=clock.now()))

    tick.run(bench.engine)
    release(bench)
    tick.run(bench.engine)
    bench.work()

    assert (bench.row(Task).state, bench.run().state) == ("uncertain", "uncertain")
    assert provider.heard == []


def test_what_had_not_begun_to_send_waits_and_is_done_after_the_release(bench, provider):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()
    bench.end_lease(task.id)
    bench.write(lambda connection: hold.begin(connection, backup_at=clock.now()))

    tick.run(bench.engine)
    held_back = bench.work()
    release(bench)
    bench.work()

    assert held_back == 0
    assert bench.row(Task).state == "succeeded"
    assert len(provider.heard) == 1


def test_what_was_done_at_the_backup_is_not_done_again(bench, provider):
    bench.accept(bench.arm(once("one")))
    bench.work()
    bench.write(lambda connection: hold.begin(connection, backup_at=clock.now()))

    tick.run(bench.engine)
    release(bench)
    tick.run(bench.engine)

    assert bench.work() == 0
    assert len(provider.heard) == 1
