"""An older worker beside a newer one, as during an upgrade and on the way back from it."""

from datetime import timedelta

import pytest
import time_machine

from app import clock
from app.engine import known
from app.engine.claim import claim_suspect
from app.models import Attempt, Task
from tests.engine.conftest import step


@pytest.fixture
def older(bench):
    """What an older worker knows."""
    return known.actions(bench.engine.catalogue)


@pytest.fixture
def newer(older):
    return older | {"probe.shout"}


def of_a_newer_kind(key: str) -> dict:
    return {"key": key, "kind": "branch", "branches": []}


def test_what_an_older_worker_does_not_know_stays_queued_for_a_newer_one(bench, older, newer):
    unknown = bench.task(action="probe.shout", priority=5)
    plain = bench.task()

    assert [task.id for task in bench.claim(actions=older)] == [plain]
    assert bench.claim(actions=older) == []
    waiting = bench.row(Task, id=unknown)
    assert (waiting.state, waiting.attempt, waiting.lost, waiting.cause) == ("queued", 0, 0, None)
    assert [task.id for task in bench.claim(actions=newer)] == [unknown]


def test_unknown_tasks_do_not_take_the_places_of_others(bench, older):
    for _ in range(5):
        bench.task(action="probe.shout", priority=5)
    plain = bench.task()

    assert [task.id for task in bench.claim(1, actions=older)] == [plain]


def test_a_run_of_a_newer_rule_starts_and_waits_for_a_newer_worker(bench, older):
    receipt = bench.accept(bench.arm(of_a_newer_kind("which")))

    assert bench.claim(actions=older) == []
    task = bench.row(Task, run_id=receipt.run_id)
    assert (task.kind, task.state, task.step) == ("branch", "queued", "which")


@pytest.mark.parametrize("second", [step("two", action="probe.shout"), of_a_newer_kind("two")])
def test_a_run_goes_on_up_to_the_step_that_is_not_known(bench, older, second):
    receipt = bench.accept(bench.arm(step("one"), second))

    (first,) = bench.claim(actions=older)
    bench.execute(first)

    done, waiting = bench.rows(Task, run_id=receipt.run_id)
    assert done.state == "succeeded"
    assert (waiting.state, waiting.attempt, waiting.worker_id) == ("queued", 0, None)
    assert waiting.queue_id == done.queue_id
    assert bench.claim(actions=older) == []
    assert len(bench.provider.heard) == 1


def test_what_nobody_knows_for_a_day_fails_and_says_so(bench, older):
    task_id = bench.task(action="probe.shout")
    receipt = bench.accept(bench.arm(of_a_newer_kind("which")))

    with time_machine.travel(clock.now() + known.PATIENCE + timedelta(minutes=1), tick=False):
        for task in bench.claim(actions=older):
            bench.execute(task)

    task, step_task = bench.row(Task, id=task_id), bench.row(Task, run_id=receipt.run_id)
    assert (task.state, step_task.state, bench.run().state) == ("failed", "failed", "failed")
    assert task.cause == "the action probe.shout is not installed here; choose another one for this step"
    assert "a step of the kind branch" in step_task.cause
    assert [attempt.outcome for attempt in bench.rows(Attempt, task_id=task_id)] == ["failed"]


def test_one_that_is_to_run_alone_waits_for_a_newer_worker_too(bench, older, newer):
    bench.set(bench.row(Task, id=bench.task(action="probe.shout")), lost=2)

    assert bench.write(lambda connection: claim_suspect(connection, "wrk_old", actions=older)) == []
    assert len(bench.write(lambda connection: claim_suspect(connection, "wrk_new", actions=newer))) == 1


def test_a_key_with_a_quote_is_no_statement(bench):
    bench.task(action="it's.odd")

    assert len(bench.claim(actions=frozenset({"it's.odd"}))) == 1


def test_a_step_is_known_by_its_kind_and_action(bench):
    catalogue = bench.engine.catalogue

    assert known.knows(catalogue, "action", "probe.tell")
    assert known.knows(catalogue, "filter", None)
    assert not known.knows(catalogue, "action", "probe.shout")
    assert not known.knows(catalogue, "branch", None)
