from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.engine import enqueue
from app.engine.commit import GroupCommit
from app.engine.enqueue import NewTask
from app.errors import ConflictError
from app.models import Event, Payload, Run, Task
from app.sdk.declare import Occurrence
from tests.engine.conftest import only_if, step


def test_an_event_its_run_and_its_first_task_are_on_disk_when_accept_returns(bench):
    receipt = bench.accept(bench.arm(step("one"), step("two")), {"total": 120}, "k1")

    assert bench.row(Event, id=receipt.event_id).data == {"total": 120}
    assert bench.row(Run, id=receipt.run_id).state == "queued"
    assert bench.states() == [("one", "queued")]


def test_a_duplicate_delivery_creates_no_second_run(bench):
    armed = bench.arm(step("one"))
    first = bench.accept(armed, {"total": 1}, "k1")

    second = bench.accept(armed, {"total": 2}, "k1")

    assert (second.event_id, second.run_id, second.duplicate) == (first.event_id, first.run_id, True)
    assert bench.row(Event).duplicates == 1
    assert len(bench.rows(Run)) == 1


def test_the_same_event_a_hundred_times_at_once_is_one_event(bench):
    armed = bench.arm(step("one"))
    # Two writers stand for two web processes.
    engines = [replace(bench.engine, writer=GroupCommit(bench.engine.database)) for _ in range(2)]

    with ThreadPoolExecutor(20) as pool:
        receipts = list(
            pool.map(
                lambda n: enqueue.accept(engines[n % 2], armed, Occurrence("same", {"n": n})), range(100)
            )
        )

    assert sum(not receipt.duplicate for receipt in receipts) == 1
    assert len({receipt.run_id for receipt in receipts}) == 1
    assert bench.row(Event).duplicates == 99
    assert len(bench.rows(Task)) == 1


def test_events_that_come_together_are_told_apart_from_those_that_came_before(bench):
    armed = bench.arm(step("one"))
    before = bench.accept(armed, {}, "old")
    keys = ["new", "old", None, "new", None]

    receipts = enqueue.accept_all(bench.engine, armed, [Occurrence(key, {}) for key in keys])

    assert [receipt.duplicate for receipt in receipts] == [False, True, False, True, False]
    assert receipts[1].run_id == before.run_id
    assert (receipts[3].event_id, receipts[3].run_id) == (receipts[0].event_id, receipts[0].run_id)
    assert [task.run_id for task in bench.rows(Task)] == [run.id for run in bench.rows(Run)]
    assert len(bench.rows(Run)) == 4


def test_a_repeated_large_event_leaves_nothing_behind(bench):
    armed = bench.arm(step("one"))
    for _ in range(3):
        bench.accept(armed, {"text": "x" * 100_000}, "k1")

    assert [payload.id for payload in bench.rows(Payload)] == [bench.row(Event).payload_id]


def test_an_event_is_kept_whole_however_much_its_text_grows_in_json(bench, provider):
    armed = bench.arm(only_if("some", "event.total", "eq", 7), step("tell", "{{ event.total }}"))

    bench.accept(armed, {"text": "\x01" * 5_000_000, "total": 7})
    bench.work()

    assert [what for _, what in provider.heard] == [7]


def test_events_without_a_key_are_never_duplicates(bench):
    armed = bench.arm(step("one"))

    receipts = [bench.accept(armed, {"same": True}) for _ in range(3)]

    assert not any(receipt.duplicate for receipt in receipts)
    assert len(bench.rows(Run)) == 3


def test_the_same_key_from_another_trigger_is_another_event(bench):
    one, other = bench.arm(step("one")), bench.arm(step("one"))

    receipts = [bench.accept(one, {}, "k"), bench.accept(other, {}, "k")]

    assert [receipt.duplicate for receipt in receipts] == [False, False]


def test_a_large_payload_lives_beside_its_event(bench, provider):
    armed = bench.arm(step("one", "{{ event.text }}"))

    receipt = bench.accept(armed, {"text": "x" * 70_000}, "big")

    event = bench.row(Event, id=receipt.event_id)
    assert event.data is None
    assert bench.row(Payload, id=event.payload_id).bytes > 70_000
    bench.work()
    assert provider.heard[0][1] == "x" * 70_000


def test_a_rule_without_steps_succeeds_at_once(bench):
    receipt = bench.accept(bench.arm(), {})

    run = bench.row(Run, id=receipt.run_id)
    assert (run.state, run.started_at, run.finished_at) == ("succeeded", run.created_at, run.created_at)


def test_a_rule_that_is_off_keeps_the_event_as_a_sample(bench):
    armed = replace(bench.arm(step("one")), version_id=None)

    receipt = bench.accept(armed, {"total": 1})

    assert receipt.run_id is None
    assert len(bench.rows(Event)) == 1
    assert bench.rows(Run) == []


@pytest.mark.parametrize(("depth", "state"), [(9, "queued"), (10, "failed"), (11, "failed")])
def test_a_rule_that_starts_itself_is_stopped_at_depth_ten(bench, depth, state):
    bench.accept(bench.arm(step("one")), {}, depth=depth)

    run = bench.run()
    assert run.state == state
    assert ("started itself" in (run.cause or "")) == (state == "failed")
    assert len(bench.rows(Task)) == (state == "queued")


def test_a_step_goes_to_the_queue_it_names_and_to_the_default_one_when_that_is_gone(bench):
    slow = bench.queue("slow")

    bench.accept(bench.arm(step("one", queue="slow")))
    bench.accept(bench.arm(step("one", queue="gone")))

    assert [task.queue_id for task in bench.rows(Task)] == [slow, bench.queue_id]


def new(bench, **values) -> NewTask:
    given = {"action": "probe.tell", "connection_id": None, "params": {"what": 1}} | values
    return NewTask(workspace_id=bench.workspace_id, queue_id=bench.queue_id, **given)


def test_the_same_request_with_the_same_key_is_one_task(bench):
    first = enqueue.enqueue_task(bench.engine, new(bench, idempotency_key="k", request_sha256="a"))

    again = enqueue.enqueue_task(bench.engine, new(bench, idempotency_key="k", request_sha256="a"))

    assert (again.task_id, again.repeated) == (first.task_id, True)


def test_the_same_key_with_another_request_is_a_conflict(bench):
    enqueue.enqueue_task(bench.engine, new(bench, idempotency_key="k", request_sha256="a"))

    with pytest.raises(ConflictError):
        enqueue.enqueue_task(bench.engine, new(bench, idempotency_key="k", request_sha256="b"))


def test_the_same_request_at_once_in_two_processes_is_one_task(bench):
    engines = [replace(bench.engine, writer=GroupCommit(bench.engine.database)) for _ in range(2)]
    wanted = new(bench, idempotency_key="k", request_sha256="a")

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: enqueue.enqueue_task(engines[n % 2], wanted), range(40)))

    assert len({each.task_id for each in found}) == 1
    assert sum(not each.repeated for each in found) == 1


def test_a_task_for_later_waits_until_its_time(bench):
    due_at = clock.now() + timedelta(hours=1)

    bench.task(run_at=due_at)
    bench.task(run_at=clock.now() - timedelta(hours=1))

    assert [task.state for task in bench.rows(Task)] == ["waiting", "queued"]
    assert bench.rows(Task)[0].due_at == due_at


def test_ids_of_rows_are_those_in_the_database(bench):
    task_id = bench.task()

    with bench.engine.database.connect() as connection:
        assert connection.scalar(sa.select(Task.id)) == task_id
