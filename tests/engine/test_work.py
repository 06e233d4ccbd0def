import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import gevent
import pytest
import sqlalchemy as sa

from app import clock
from app.engine import record, tick
from app.engine.doorbell import DRAIN_QUEUE, Doorbell, KnownQueue, connect
from app.engine.work import Worker
from app.errors import UnavailableError
from app.models import Heartbeat, Task
from tests.engine.conftest import once, only_if, step


@pytest.fixture
def worker(bench, valkey) -> Worker:
    redis = connect(f"unix://{valkey.unix_socket_path}")
    redis.flushall()
    return Worker(replace(bench.engine, doorbell=Doorbell(redis)))


@pytest.fixture
def alone(bench) -> Worker:
    """A worker without Redis."""
    return Worker(bench.engine)


def test_a_drain_does_all_that_is_due_and_leaves(bench, worker, provider):
    armed = bench.arm(only_if("some", "event.n", "gte", 0), step("one"), step("two"))
    for n in range(20):
        bench.accept(armed, {"n": n})

    worker.drain()

    assert {state for _, state in bench.states()} == {"succeeded"}
    assert len(provider.heard) == 40
    assert worker._active == {}


def test_a_drain_without_work_leaves_soon(worker):
    began = time.monotonic()

    worker.drain()

    assert time.monotonic() - began < 2


def test_a_drain_outlives_a_database_that_is_away_between_two_looks(bench, worker, monkeypatch):
    bench.task()
    looks, look = [], worker._has_work

    def away_at_the_third() -> bool:
        looks.append(1)
        if len(looks) == 3:
            raise UnavailableError("the database cannot be read now")
        return look()

    monkeypatch.setattr(worker, "_has_work", away_at_the_third)

    worker.drain()

    assert len(looks) > 3
    assert bench.row(Task).state == "succeeded"


def test_a_second_drain_returns_at_once(bench, worker, provider):
    provider.answer = lambda params: gevent.sleep(0.3) or {}
    bench.task()
    first = gevent.spawn(worker.drain)
    gevent.sleep(0.1)
    began = time.monotonic()

    worker.drain()

    assert time.monotonic() - began < 0.1
    first.join(5)
    worker.pool.join(5)
    assert bench.row(Task).state == "succeeded"


def test_what_two_workers_died_with_runs_alone(bench, worker, provider):
    """Neither beside what is new nor beside another of its kind, and the others go on after it."""
    running: list[str] = []
    beside: dict[str, list[str]] = {}

    def answer(params):
        beside[params.what] = list(running)
        running.append(params.what)
        gevent.sleep(0.05)
        running.remove(params.what)
        return {}

    provider.answer = answer
    for name in ("a", "b", "suspect", "c", "other suspect", "d"):
        task_id = bench.task({"what": name})
        if "suspect" in name:
            bench.set(bench.row(Task, id=task_id), lost=2)

    worker.drain()
    worker.pool.join(5)

    assert {task.state for task in bench.rows(Task)} == {"succeeded"}
    assert beside["suspect"] == beside["other suspect"] == []
    assert not any("suspect" in name for names in beside.values() for name in names)


def test_another_worker_is_called_before_a_suspect_begins(bench, worker, provider):
    """This one may die of it, and what waits beside it would lie until the bell is found silent."""
    bench.set(bench.row(Task, id=bench.task({"what": "suspect"})), lost=2)
    jobs = KnownQueue(DRAIN_QUEUE, connection=worker.engine.doorbell._redis)
    called: list[int] = []
    provider.answer = lambda params: called.append(jobs.count) or {}

    worker.drain()
    worker.pool.join(5)

    assert called == [1]


def test_a_suspect_in_a_full_queue_keeps_no_other_queue_waiting(bench, worker, provider):
    full = bench.queue("full", concurrency=0)
    suspect = bench.task({"what": "suspect"}, queue_id=full)
    bench.set(bench.row(Task, id=suspect), lost=2)
    bench.task({"what": "new"})

    gevent.with_timeout(1, worker.drain, timeout_value=None)

    assert [what for _, what in provider.heard] == ["new"]


def test_more_than_the_pool_holds_is_done_in_turn(bench, worker, provider):
    worker.pool.size = 3
    worker.pool._semaphore.counter = 3
    busy, most = [0], [0]

    def answer(params):
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        gevent.sleep(0.02)
        busy[0] -= 1
        return {}

    provider.answer = answer
    for _ in range(10):
        bench.task()

    worker.drain()
    worker.pool.join(5)

    assert {row.state for row in bench.rows(Task)} == {"succeeded"}
    assert most[0] <= 3


def test_a_drain_stays_for_a_queue_whose_limit_keeps_it_back(bench, worker, provider):
    rated = bench.queue("rated", rate_count=2, rate_period_s=1)
    for _ in range(3):
        bench.task(queue_id=rated)

    worker.drain()

    assert {row.state for row in bench.rows(Task)} == {"succeeded"}


def test_leases_of_what_runs_here_are_renewed_and_no_others(bench, worker, provider):
    started = gevent.event.Event()

    def answer(params):
        started.set()
        gevent.sleep(0.3)
        return {}

    provider.answer = answer
    mine, other = bench.task(), None
    drain = gevent.spawn(worker.drain)
    started.wait(5)
    other = bench.task(queue_id=bench.queue("other", paused=True))
    soon = clock.now() + timedelta(seconds=1)
    bench.set(bench.row(Task, id=mine), lease_until=soon)
    bench.set(bench.row(Task, id=other), state="running", worker_id=worker.id, lease_until=soon)

    worker.renew()

    assert bench.row(Task, id=mine).lease_until > soon
    assert bench.row(Task, id=other).lease_until == soon
    worker.stopping = True
    drain.join(5)


def test_a_worker_that_stops_gives_back_what_it_had_not_begun(bench, alone):
    bench.accept(bench.arm(step("one")))
    bench.claim(worker=alone.id)

    alone.finish(0.1)

    row = bench.row(Task)
    assert (row.state, row.attempt, row.fence, row.worker_id, row.lease_until) == ("queued", 0, 2, None, None)
    assert bench.run().state == "queued"


def test_what_a_stopped_worker_had_begun_to_send_is_asked_about(bench, alone):
    tick.clock_watch.__init__()
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim(worker=alone.id)
    bench.write(
        lambda connection: record.begin(
            connection, [record.Beginning(task, record.Trace(clock.now(), announced=True))]
        )
    )

    alone.finish(0.1)
    tick.run(bench.engine)

    assert (bench.row(Task).state, bench.run().state) == ("uncertain", "uncertain")


def test_what_ends_in_time_is_not_given_back(bench, alone, provider):
    provider.answer = lambda params: gevent.sleep(0.3) or {}
    bench.task()
    drain = gevent.spawn(alone.drain)
    gevent.sleep(0.15)

    alone.finish(5)
    drain.join(5)

    assert bench.row(Task).state == "succeeded"


def test_leases_are_kept_while_a_worker_waits_for_its_end(bench, alone, provider):
    provider.answer = lambda params: gevent.sleep(0.4) or {}
    task_id = bench.task()
    drain = gevent.spawn(alone.drain)
    gevent.sleep(0.15)
    bench.set(bench.row(Task, id=task_id), lease_until=clock.now())

    stopping = gevent.spawn(alone.finish, 5)
    stopping.join(6)
    drain.join(5)

    assert (bench.row(Task).state, bench.row(Task).lost) == ("succeeded", 0)


def test_other_workers_tasks_are_not_given_back(bench, alone):
    bench.task()
    bench.claim(worker="wrk_other")

    alone.finish(0.1)

    assert bench.row(Task).worker_id == "wrk_other"


def test_without_redis_a_worker_ticks_and_drains_by_itself(bench, alone, provider):
    due_at = clock.now() + timedelta(minutes=1)
    task_id = bench.task(run_at=due_at)
    bench.set(bench.row(Task, id=task_id), due_at=clock.now())

    alone.look_after_time()
    gevent.sleep(0.3)
    alone.pool.join(5)

    assert bench.row(Task).state == "succeeded"
    assert tick.age_s(bench.engine) < 5


def test_with_redis_a_worker_puts_the_ticks_entry_back(bench, worker):
    worker.look_after_time()

    assert not worker.engine.doorbell.ensure_tick()


def test_a_clock_that_died_is_stood_in_for(bench, worker):
    tick.run(bench.engine)
    with bench.engine.database.begin() as connection:
        connection.execute(sa.update(Heartbeat).values(seen_at=clock.now() - timedelta(seconds=21)))

    worker.look_after_time()

    assert tick.age_s(bench.engine) < 5


def test_many_drains_in_many_threads_do_each_task_once(bench, provider):
    for _ in range(40):
        bench.task()
    lock = threading.Lock()
    seen = []

    def answer(params):
        with lock:
            seen.append(1)
        return {}

    provider.answer = answer
    workers = [Worker(bench.engine) for _ in range(3)]

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda worker: (worker.drain(), worker.pool.join(5)), workers))

    assert len(seen) == 40
    assert {row.attempt for row in bench.rows(Task)} == {1}
