"""What goes and what stays: by days, by number, by budget; in whatever order things happen."""

import dataclasses
import random
import threading
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine
from sqlalchemy.orm import Session

from app import clock
from app.database import write_connection
from app.engine import gauge, life, removal, retention, shrink, sweep, weights
from app.engine.batches import Stretch
from app.engine.enqueue import Arrival, store_events
from app.engine.hold import begin
from app.engine.removal import KEY_KEPT, Gone
from app.errors import ConflictError
from app.models import (
    Attempt,
    Event,
    Payload,
    Run,
    State,
    Storage,
    StorageSample,
    Task,
    Workspace,
)
from app.models.storage import API_TASKS, KEYS, OPEN
from app.sdk.declare import Occurrence
from app.sdk.errors import TemporaryError
from bench.retention import end_runs
from tests.engine.conftest import only_if, step, workspace

HEAVY = {"text": "x" * 20_000}
LARGE = {"text": "x" * 100_000}
# No database makes it smaller by itself.
DENSE = {"text": random.Random(1).randbytes(50_000).hex()}
NOTE = "removed to save space on "


@pytest.fixture
def armed(bench):
    return bench.arm(step("tell", "{{ event.text }}"))


def allow(bench, **values):
    with write_connection(bench.engine.database) as connection:
        place = Workspace.id == bench.workspace_id
        connection.execute(sa.update(Workspace).where(place).values(**values))


def weigh(bench):
    return retention.weigh(Stretch(bench.engine, 1.0))


def press(bench):
    return retention.press(bench.engine, seconds=20)


def happen(bench, armed, *, data=HEAVY, days_ago=0.0, key=None, work=True):
    """An event, and its run to the end; the ids say when."""
    with time_machine.travel(clock.now() - timedelta(days=days_ago), tick=True):
        receipt = bench.accept(armed, data, key)
        if work:
            bench.work()
    return receipt


def replay(bench, run_id, **more):
    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        return life.replay_run(session, session.get_one(Run, run_id), **more).id


def used(bench):
    return {row.subject_id: (row.count, row.bytes) for row in bench.rows(Storage)}


def budget_for(bench, part):
    """A budget of which `part` is used."""
    weigh(bench)
    total = sum(size for _, size in used(bench).values())
    allow(bench, budget_bytes=int(total / part))
    return total


# weighing


def test_a_run_is_weighed_once_when_it_has_ended(bench, armed):
    happen(bench, armed)
    waiting = bench.arm(step("later"), step("then"))
    bench.provider.answer = lambda params: (_ for _ in ()).throw(TemporaryError("busy"))
    happen(bench, waiting)

    weighed = [weigh(bench) for _ in range(2)]

    assert weighed == [1, 0]
    run = bench.row(Run, state=State.SUCCEEDED)
    assert used(bench) == {armed.rule_id: (1, run.bytes)}
    # The event, and what the step was given and gave.
    assert 60_000 < run.bytes < 76_000


def test_a_large_value_counts_where_it_lies(bench, armed):
    happen(bench, armed, data=LARGE)

    weigh(bench)

    assert 300_000 < bench.row(Run).bytes < 320_000


def test_an_event_counts_with_the_newest_of_its_own_runs(bench, armed):
    run_again = happen(bench, armed)
    happen(bench, armed)
    replay(bench, run_again.run_id)
    bench.work()

    weigh(bench)

    older, other, newer = (run.bytes for run in sorted(bench.rows(Run), key=lambda run: run.id))
    assert other == newer
    assert older < newer - 20_000


def test_a_canceled_run_waits_for_its_action_to_end_before_it_is_weighed(bench, armed):
    receipt = bench.accept(armed, HEAVY)
    (task,) = bench.claim()
    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        life.cancel_run(session, session.get_one(Run, receipt.run_id))

    assert weigh(bench) == 0
    bench.execute(task)
    assert weigh(bench) == 1


def test_a_task_of_the_api_is_weighed_and_those_of_runs_are_not(bench, armed):
    happen(bench, armed)
    bench.task({"what": "x" * 10_000})
    bench.work()

    assert weigh(bench) == 2
    assert [row.bytes is None for row in bench.rows(Task)] == [True, False]
    assert used(bench)[API_TASKS][0] == 1


def test_what_goes_on_is_counted_too(bench, armed):
    for _ in range(3):
        bench.accept(armed, HEAVY)
    bench.task({})

    gauge.look(bench.engine, clock.now())

    count, size = used(bench)[OPEN]
    assert count == 4
    assert 60_000 < size < 76_000
    assert bench.row(StorageSample).bytes == size


# by days and by number


def test_what_ended_before_the_days_goes_and_the_rest_stays(bench, armed):
    old = happen(bench, armed, days_ago=31)
    young = happen(bench, armed, days_ago=29)

    press(bench)

    assert [row.id for row in bench.rows(Run)] == [young.run_id]
    assert bench.rows(Event, id=old.event_id) == []
    assert {row.task_id for row in bench.rows(Attempt)} == {row.id for row in bench.rows(Task)}


def test_a_run_that_waits_is_kept_however_old(bench, armed):
    receipt = happen(bench, armed, days_ago=400, work=False)

    press(bench)

    assert bench.row(Run).id == receipt.run_id


def test_days_may_be_unlimited(bench, armed):
    allow(bench, keep_days=None)
    happen(bench, armed, days_ago=900)

    assert press(bench).rows == 0


def test_of_more_runs_than_are_wanted_the_oldest_go(bench, armed):
    receipts = [happen(bench, armed) for _ in range(5)]
    allow(bench, keep_runs=2)

    press(bench)

    assert [row.id for row in bench.rows(Run)] == [receipt.run_id for receipt in receipts[3:]]


def test_another_workspace_keeps_its_own(bench, armed, engine, provider):
    other = workspace(engine, provider)
    theirs = happen(other, other.arm(step("tell")), days_ago=5)
    happen(bench, armed, days_ago=5)
    allow(bench, keep_days=1)

    press(bench)

    assert [row.id for row in bench.rows(Run)] == [theirs.run_id]


# the budget


def test_at_nine_tenths_the_data_of_the_oldest_go_and_the_records_stay(bench, armed):
    for _ in range(20):
        happen(bench, armed, data=LARGE)
    budget_for(bench, 0.91)

    done = press(bench)

    runs = bench.rows(Run)
    stripped = [run.removed_at is not None for run in runs]
    assert done.deleted.rows == 0
    assert stripped == [True] * done.stripped.rows + [False] * (20 - done.stripped.rows)
    assert 1 <= done.stripped.rows <= 4
    first = bench.row(Event, id=runs[0].event_id)
    assert first.data.startswith(NOTE)
    assert first.payload_id is None
    (task,) = bench.rows(Task, run_id=runs[0].id)
    assert task.params.startswith(NOTE)
    assert task.output.startswith(NOTE)
    assert task.state is State.SUCCEEDED
    assert sum(size for _, size in used(bench).values()) == sum(run.bytes for run in runs)


def test_under_nine_tenths_nothing_goes(bench, armed):
    happen(bench, armed, data=LARGE)
    budget_for(bench, 0.89)

    assert press(bench).rows == 0


def test_where_the_data_are_light_records_go_only_above_the_budget(bench, armed):
    for _ in range(20):
        happen(bench, armed, data={"text": "x"})
    budget_for(bench, 0.95)
    assert press(bench).rows == 0

    budget_for(bench, 1.2)
    done = press(bench)

    # An event's key stays, so the first run frees less than it took.
    assert done.stripped.rows == 0
    assert 4 <= done.deleted.rows <= 12
    assert sum(size for _, size in used(bench).values()) <= bench.row(Workspace).budget_bytes
    assert used(bench)[KEYS] == (done.deleted.rows, done.deleted.rows * weights.EVENT_BYTES)


def test_work_goes_on_with_a_budget_that_is_far_too_small(bench, armed):
    allow(bench, budget_bytes=1)
    standing = bench.accept(bench.arm(step("stays"), kind="manual"), HEAVY)
    for _ in range(3):
        happen(bench, armed, work=False)
        press(bench)

    assert {row.state for row in bench.rows(Run)} == {State.QUEUED}
    bench.work()
    press(bench)
    assert bench.rows(Run) == []
    assert standing.event_id in {row.id for row in bench.rows(Event)}


def test_an_event_that_is_run_again_keeps_its_data_until_that_has_ended(bench, armed):
    receipt = happen(bench, armed, data=LARGE)
    again = replay(bench, receipt.run_id)
    allow(bench, budget_bytes=1)

    press(bench)

    assert [row.id for row in bench.rows(Run)] == [again]
    assert bench.row(Event).payload_id == bench.row(Payload).id
    bench.work()
    assert bench.provider.heard[-1][1] == LARGE["text"]


def test_what_a_run_took_over_from_an_earlier_one_outlives_that(bench):
    bench.provider.answer = lambda params: LARGE if params.what == "first" else {}
    armed = bench.arm(step("first"), step("second"))
    receipt = happen(bench, armed, data={})
    again = replay(bench, receipt.run_id, from_step="second")
    shared = bench.row(Payload).id
    allow(bench, budget_bytes=1)

    press(bench)

    assert bench.row(Payload).id == shared
    bench.work()
    press(bench)
    assert bench.rows(Payload) == []
    assert again not in {row.id for row in bench.rows(Run)}


def test_a_run_without_its_data_is_not_run_again(bench, armed):
    receipt = happen(bench, armed, data=LARGE)
    budget_for(bench, 0.95)
    press(bench)

    with write_connection(bench.engine.database) as connection, pytest.raises(ConflictError, match="removed"):
        removal.require_run_data(connection, receipt.run_id, kept_steps=False)


def test_a_filters_answer_stays_with_the_record(bench):
    happen(bench, bench.arm(only_if("big", "event.total", "gt", 100)), data={"total": 5, **LARGE})
    budget_for(bench, 0.95)

    press(bench)

    assert bench.row(Run).removed_at is not None
    assert bench.row(Task).output["passed"] is False


def test_tasks_of_the_api_lose_their_data_and_then_their_record(bench):
    task_id = bench.task({"what": "x" * 50_000})
    bench.work()
    budget_for(bench, 0.95)
    press(bench)
    assert bench.row(Task).params.startswith(NOTE)
    with write_connection(bench.engine.database) as connection, pytest.raises(ConflictError, match="removed"):
        removal.require_task_data(connection, task_id)

    allow(bench, budget_bytes=1)
    press(bench)

    assert bench.rows(Task) == []
    assert used(bench)[API_TASKS] == (0, 0)


def test_a_server_over_its_own_limit_takes_from_each_workspace(bench, armed):
    for _ in range(20):
        happen(bench, armed, data=LARGE)
    config = bench.engine.config.model_copy(update={"storage_limit_mb": 5})

    done = retention.press(dataclasses.replace(bench.engine, config=config), seconds=20)

    assert done.stripped.rows >= 4
    assert sum(size for _, size in used(bench).values()) < 0.9 * 5 * 1024**2


def test_a_restored_server_removes_nothing_before_somebody_looked(bench, armed):
    happen(bench, armed, days_ago=100)
    with write_connection(bench.engine.database) as connection:
        begin(connection, backup_at=clock.now())

    assert press(bench).rows == 0


# keys


def test_a_repetition_is_recognised_after_its_run_is_gone(bench, armed):
    receipt = happen(bench, armed, key="A-1")
    allow(bench, budget_bytes=1)
    press(bench)
    assert bench.rows(Run) == []

    again = bench.accept(armed, HEAVY, "A-1")

    assert again.duplicate
    assert again.event_id == receipt.event_id
    assert bench.rows(Run) == []
    assert bench.row(Event).data.startswith(NOTE)


def test_a_key_outlives_days_that_are_fewer(bench, armed):
    allow(bench, keep_days=1)
    happen(bench, armed, key="A-1", days_ago=3)

    press(bench)

    assert bench.rows(Run) == []
    assert bench.accept(armed, HEAVY, "A-1").duplicate


def test_a_key_goes_when_its_time_is_over(bench, armed):
    happen(bench, armed, key="A-1")
    allow(bench, budget_bytes=1)
    press(bench)

    with time_machine.travel(clock.now() + KEY_KEPT - timedelta(minutes=1), tick=True):
        assert press(bench).keys == 0
    with time_machine.travel(clock.now() + KEY_KEPT + timedelta(minutes=1), tick=True):
        assert press(bench).keys == 1

    assert bench.rows(Event) == []
    assert used(bench)[KEYS] == (0, 0)


def test_the_key_of_a_request_is_not_forgotten_with_its_task(bench):
    bench.task({"what": "x" * 50_000}, idempotency_key="K-1", request_sha256="1")
    bench.work()
    allow(bench, budget_bytes=1)

    press(bench)

    assert bench.row(Task).params.startswith(NOTE)
    with time_machine.travel(clock.now() + KEY_KEPT + timedelta(minutes=1), tick=True):
        press(bench)
    assert bench.rows(Task) == []


def test_events_that_started_nothing_go_with_the_days(bench, armed):
    sample = dataclasses.replace(armed, version_id=None)
    happen(bench, sample, days_ago=31)
    young = happen(bench, sample, days_ago=29)
    used_one = happen(bench, armed, days_ago=31, work=False)

    gone = [
        bench.write(lambda connection: retention.sweep_samples(connection, clock.now())) for _ in range(2)
    ]

    assert gone == [1, 0]
    assert {row.id for row in bench.events()} == {young.event_id, used_one.event_id}


# much at once


def file_bytes(engine):
    return Path(engine.database.url.database).stat().st_size


def files_bytes(engine):
    """Of PostgreSQL."""
    with engine.database.connect() as connection:
        return connection.scalar(sa.text("SELECT pg_database_size(current_database())"))


def test_many_runs_stay_within_a_small_budget_and_the_file_becomes_smaller(bench, armed):
    allow(bench, budget_bytes=2_000_000)
    for first in range(0, 200, 50):
        arrivals = [Arrival(armed, Occurrence(f"A-{first + number}", LARGE)) for number in range(50)]
        receipts = bench.write(lambda connection, some=arrivals: store_events(connection, some))
        bench.write(lambda connection, some=receipts: end_runs(connection, [each.run_id for each in some]))
    on_sqlite = bench.engine.database.dialect.name == "sqlite"
    peak = file_bytes(bench.engine) if on_sqlite else 0

    for _ in range(5):
        press(bench)

    assert sum(size for _, size in used(bench).values()) <= 0.9 * 2_000_000
    assert len(bench.rows(Run)) == 200
    assert bench.accept(armed, LARGE, "A-0").duplicate
    if on_sqlite:
        assert file_bytes(bench.engine) < peak - 10_000_000


def test_the_room_of_removed_rows_is_given_back_in_small_steps(bench, armed):
    if bench.engine.database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's files stay as they are")
    for _ in range(20):
        happen(bench, armed, data=LARGE)
    allow(bench, budget_bytes=1)
    before = file_bytes(bench.engine)

    done = press(bench)

    assert done.pages > 500
    assert file_bytes(bench.engine) < before
    with bench.engine.database.connect() as connection:
        free = connection.exec_driver_sql("PRAGMA freelist_count").scalar_one()
        whole = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    assert free <= max(64, whole * 0.06)


def test_no_room_is_given_back_while_more_is_to_be_made(bench, armed, monkeypatch):
    for _ in range(5):
        happen(bench, armed)
    allow(bench, budget_bytes=1)
    weigh(bench)
    asked = []
    monkeypatch.setattr(shrink, "give_back", lambda *_: asked.append("room") or 0)
    # A second that is over after the first batch of what is removed.
    monkeypatch.setattr(
        retention, "_take", lambda stretch, *_, **__: setattr(stretch, "is_cut_short", True) or Gone()
    )

    done = retention.press(bench.engine, seconds=1)

    assert done.is_behind
    assert asked == []
    monkeypatch.undo()
    monkeypatch.setattr(shrink, "give_back", lambda *_: asked.append("room") or 0)
    assert not press(bench).is_behind
    assert asked == ["room"]


def vacuums(bench):
    """How often the large values were vacuumed."""
    with bench.engine.database.connect() as connection:
        return connection.scalar(
            sa.text("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'payloads'")
        )


def until_vacuumed(bench, times):
    """A connection tells what it left dead at its next statement, but once a second at most."""
    database, until = bench.engine.database, time.monotonic() + 15
    while vacuums(bench) < times and time.monotonic() < until:
        time.sleep(0.3)
        with ExitStack() as all_of_them:
            for _ in range(database.pool.checkedin()):
                all_of_them.enter_context(database.connect()).execute(sa.text("SELECT 1"))
        shrink.reuse(database)


@pytest.fixture
def soon_vacuumed(bench, monkeypatch):
    if bench.engine.database.dialect.name == "sqlite":
        pytest.skip("SQLite uses freed room at once")
    monkeypatch.setattr(shrink, "_DEAD_BYTES", 1_000_000)
    allow(bench, budget_bytes=1)
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.text("SELECT pg_stat_reset_single_table_counters('payloads'::regclass)"))


@pytest.mark.usefixtures("soon_vacuumed")
def test_the_room_of_removed_rows_is_used_again(bench, armed, monkeypatch):
    monkeypatch.setattr(shrink, "REUSE_EVERY_S", 0)
    sizes = []
    for times in (1, 2):
        for _ in range(20):
            happen(bench, armed, data=DENSE)
        press(bench)
        until_vacuumed(bench, times)
        sizes.append(files_bytes(bench.engine))

    assert vacuums(bench) >= 2
    assert sizes[1] - sizes[0] < 2_000_000


@pytest.mark.usefixtures("soon_vacuumed")
def test_a_vacuum_is_not_repeated_where_it_could_not_do_much(bench, armed, monkeypatch):
    monkeypatch.setattr(shrink, "REUSE_EVERY_S", 0)
    with bench.engine.database.connect() as onlooker:
        # As a backup does: what was there when it began stays for it.
        onlooker.execute(sa.text("SET idle_in_transaction_session_timeout = 0"))
        onlooker.commit()
        onlooker.execution_options(isolation_level="REPEATABLE READ").execute(sa.select(Run.id)).all()
        for _ in range(20):
            happen(bench, armed, data=DENSE)
        press(bench)

        until_vacuumed(bench, 1)
        shrink.reuse(bench.engine.database)

    assert vacuums(bench) == 1


def test_a_batch_grows_while_it_is_quick_and_shrinks_when_it_is_not(bench):
    stretch = Stretch(bench.engine, 60)
    sizes = []

    def unit(_connection, size):
        sizes.append(size)
        time.sleep(0.3 if len(sizes) == 4 else 0)
        return 0

    for _ in range(6):
        stretch.write(unit)

    assert sizes[:4] == [50, 100, 200, 400]
    assert sizes[4] < 300


def test_a_batch_on_postgresql_keeps_nobodys_commit_waiting(bench):
    if bench.engine.database.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")

    def waits(_connection, _size):
        other = threading.Thread(target=bench.engine.writer.flush, daemon=True)
        other.start()
        other.join(5)
        return other.is_alive()

    assert not Stretch(bench.engine, 60).write(waits)


def test_sqlite_is_left_to_others_for_as_long_as_a_batch_held_it(bench, monkeypatch):
    rests, held_s = [], 0.03

    def unit(_connection, _size):
        until = time.monotonic() + held_s
        while time.monotonic() < until:
            pass

    stretch = Stretch(bench.engine, 60)
    monkeypatch.setattr(time, "sleep", rests.append)
    stretch.write(unit)

    assert (rests[-1] >= held_s) is (bench.engine.database.dialect.name == "sqlite")


def test_a_stretch_is_cut_short_where_something_was_being_done(bench):
    busy = Stretch(bench.engine, 0.02)
    rows = busy.repeat(lambda _connection, _size: time.sleep(0.01) or 7)
    idle = Stretch(bench.engine, 0.02)
    idle.repeat(lambda _connection, _size: time.sleep(0.03) or 0)
    idle.repeat(lambda _connection, _size: pytest.fail("its time was over"))

    assert rows
    assert busy.is_cut_short
    assert not idle.is_cut_short


def test_while_a_round_is_behind_the_next_follows_at_once(bench, monkeypatch):
    rounds = [
        retention.Round(keys=1, is_behind=True),
        retention.Round(keys=2, is_behind=True),
        retention.Round(keys=4),
    ]
    monkeypatch.setattr(retention, "press", lambda _engine, seconds: rounds.pop(0))

    assert sweep.press(bench.engine) == 7
    assert rounds == []
