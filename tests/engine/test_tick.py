from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa
import time_machine

from app import clock
from app.engine import record, tick
from app.engine.claim import claim_suspect
from app.models import Attempt, Heartbeat, Run, Task
from app.models.heartbeat import TICK_ID
from tests.engine.conftest import WORKER, once, step


@pytest.fixture(autouse=True)
def steady_clock():
    tick.clock_watch.__init__()


def lose(bench, task, *, begun=False) -> None:
    """As a worker that is killed leaves it."""
    if begun:
        bench.write(
            lambda connection: record.begin(
                connection, [record.Beginning(task, record.Trace(clock.now(), announced=True))]
            )
        )
    bench.end_lease(task.id)


# --- waiting tasks


def test_a_waiting_task_is_queued_when_it_is_due(bench):
    bench.accept(bench.arm(step("one")))
    bench.set(bench.row(Task), state="waiting", due_at=clock.now() - timedelta(seconds=1))
    bench.set(bench.run(), state="waiting", cause="away")

    tick.run(bench.engine)

    assert (bench.row(Task).state, bench.run().state) == ("queued", "queued")


def test_a_waiting_task_stays_until_it_is_due(bench):
    bench.task(run_at=clock.now() + timedelta(minutes=1))

    tick.run(bench.engine)

    assert bench.row(Task).state == "waiting"


def test_many_ticks_at_once_queue_a_waiting_task_once(bench):
    for _ in range(10):
        bench.task(run_at=clock.now() + timedelta(minutes=1))
    with bench.engine.database.begin() as connection:
        connection.execute(sa.update(Task).values(due_at=clock.now() - timedelta(seconds=1)))

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda _: bench.write(tick.queue_due), range(6)))

    assert sum(counts) == 10


# --- leases


def test_a_lease_that_stands_is_left_alone(bench):
    bench.task()
    bench.claim()

    assert bench.end_leases() == 0
    assert bench.row(Task).state == "running"


def test_a_lost_repeatable_task_is_queued_under_a_new_fence(bench):
    bench.accept(bench.arm(step("one")))
    (task,) = bench.claim()
    lose(bench, task)

    bench.end_leases()

    row = bench.row(Task)
    assert (row.state, row.fence, row.lost, row.worker_id, row.lease_until) == ("queued", 2, 1, None, None)
    assert bench.attempts(task.id) == [(1, "lost")]
    assert bench.run().state == "queued"


def test_a_lost_task_whose_action_had_begun_is_uncertain(bench):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()
    lose(bench, task, begun=True)

    bench.end_leases()

    row = bench.row(Task)
    assert (row.state, bench.run().state) == ("uncertain", "uncertain")
    assert "was it done?" in row.cause
    assert bench.attempts(task.id) == [(1, "uncertain")]


def test_three_lost_workers_are_a_failure(bench):
    bench.accept(bench.arm(step("one")))
    # The third time it is given to a worker that has nothing else.
    for claims in (
        bench.claim,
        bench.claim,
        lambda: bench.write(partial(claim_suspect, worker_id=WORKER, actions=frozenset({"probe.tell"}))),
    ):
        (task,) = claims()
        lose(bench, task)
        bench.end_leases()

    row = bench.row(Task)
    assert (row.state, row.lost, row.lease_until) == ("failed", 3, None)
    assert "3 times" in row.cause
    assert (bench.run().state, bench.run().cause) == ("failed", f"one: {row.cause}")
    assert bench.attempts(row.id) == [(1, "lost"), (2, "lost"), (3, "lost")]


def test_a_program_that_takes_from_an_external_queue_may_go_away_any_number_of_times(bench):
    external = bench.queue("external", external=True)
    bench.task(queue_id=external)
    for _ in range(5):
        (task,) = bench.claim(queue_id=external)
        lose(bench, task)
        bench.end_leases()

    assert bench.row(Task).state == "queued"


def test_a_worker_that_wakes_up_after_its_lease_changes_nothing(bench):
    bench.accept(bench.arm(step("one"), step("two")))
    (task,) = bench.claim()
    lose(bench, task)
    bench.end_leases()

    bench.execute(task)

    assert bench.states() == [("one", "queued")]
    assert bench.attempts(task.id) == [(1, "lost")]


def test_many_ticks_at_once_end_a_lease_once(bench):
    for _ in range(5):
        bench.task()
    for task in bench.claim():
        lose(bench, task)

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(lambda _: bench.end_leases(), range(6)))

    assert sum(counts) == 5
    assert {row.lost for row in bench.rows(Task)} == {1}


def test_a_lost_task_of_a_run_canceled_meanwhile_ends_with_it(bench):
    bench.accept(bench.arm(step("one")))
    (task,) = bench.claim()
    bench.set(bench.run(), state="canceled", finished_at=clock.now())
    lose(bench, task)

    bench.end_leases()

    assert bench.row(Task).state == "canceled"


# --- a clock that is set


@pytest.mark.parametrize("step_s", [3600, -3600, -10])
def test_leases_do_not_end_when_the_clock_is_set(bench, step_s):
    bench.task()
    tick.run(bench.engine)
    bench.claim()

    with time_machine.travel(clock.now() + timedelta(seconds=step_s)):
        tick.run(bench.engine)

        assert bench.row(Task).state == "running"


def test_leases_do_not_end_when_the_clock_is_set_while_a_tick_is_on_its_way(bench, monkeypatch):
    bench.task()
    bench.claim()
    looked = tick.clock_watch.steady_now

    with time_machine.travel(clock.now()) as time_of_day:

        def look_and_be_set():
            now = looked()
            time_of_day.shift(timedelta(hours=1))
            return now

        monkeypatch.setattr(tick.clock_watch, "steady_now", look_and_be_set)
        tick.run(bench.engine)

    assert bench.row(Task).state == "running"


def test_a_lease_from_before_the_clock_was_set_back_ends_all_the_same(bench):
    bench.task()
    bench.claim()

    with time_machine.travel(clock.now() - timedelta(hours=1)):
        bench.end_leases()

    assert bench.row(Task).state == "queued"


def test_a_clock_that_runs_on_is_steady():
    watch = tick.ClockWatch()

    assert all(watch.steady_now() for _ in range(3))


# --- processes


def test_a_process_that_was_not_seen_is_gone_and_later_forgotten(bench):
    with time_machine.travel(clock.now() - timedelta(seconds=40)):
        tick.seen(bench.engine, "wrk_old", "worker")
    tick.seen(bench.engine, "wrk_new", "worker")

    bench.write(tick.mark_gone)

    gone = {row.id: row.gone_at is not None for row in bench.rows(Heartbeat)}
    assert gone == {"wrk_old": True, "wrk_new": False}
    with time_machine.travel(clock.now() + timedelta(days=2)):
        bench.write(tick.mark_gone)
    assert [row.id for row in bench.rows(Heartbeat)] == ["wrk_new"]


def test_a_process_that_is_seen_again_is_not_gone(bench):
    tick.seen(bench.engine, "wrk", "worker")
    with bench.engine.database.begin() as connection:
        connection.execute(sa.update(Heartbeat).values(gone_at=clock.now()))

    tick.seen(bench.engine, "wrk", "worker")

    assert bench.row(Heartbeat).gone_at is None


def test_the_tick_says_when_it_last_was(bench):
    assert tick.age_s(bench.engine) == float("inf")

    tick.run(bench.engine)

    assert tick.age_s(bench.engine) < 2
    assert bench.row(Heartbeat).id == TICK_ID


# --- the bell


def test_work_that_no_ring_brought_to_a_worker_is_found(bench):
    bench.task()
    assert not tick._is_stale_work(bench.engine)

    bench.set(bench.row(Task), due_at=clock.now() - timedelta(seconds=10))

    assert tick._is_stale_work(bench.engine)


@pytest.mark.parametrize("limits", [{"paused": True}, {"external": True}])
def test_work_that_no_worker_may_take_is_not_rung_for(bench, limits):
    bench.task(queue_id=bench.queue("still", **limits))
    bench.set(bench.row(Task), due_at=clock.now() - timedelta(seconds=10))

    assert not tick._is_stale_work(bench.engine)


def test_a_run_that_ended_is_not_queued_again(bench):
    bench.accept(bench.arm(step("one")))
    bench.set(bench.row(Task), state="waiting", due_at=clock.now())
    bench.set(bench.run(), state="failed", finished_at=clock.now())

    bench.write(tick.queue_due)

    assert bench.row(Run).state == "failed"


def test_an_attempt_that_ended_is_not_asked_about(bench):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()
    lose(bench, task, begun=True)
    with bench.engine.database.begin() as connection:
        connection.execute(sa.update(Attempt).values(finished_at=clock.now(), outcome="retried"))
        connection.execute(sa.update(Attempt).values(fence=0))

    bench.end_leases()

    assert bench.row(Task).state == "queued"
