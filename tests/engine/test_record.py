"""What many tasks that end together leave behind, when some of them are no longer ours."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app import clock
from app.engine import record
from app.engine.claim import Claimed
from app.engine.commit import GroupCommit
from app.engine.flow import at
from app.engine.following import follow, go_on
from app.engine.material import load
from app.models import Attempt, Run, State, Task
from tests.engine.conftest import step


def success(task: Claimed, following: Any = None) -> record.Success:
    return record.Success(task, record.Trace(clock.now()), {"heard": task.id}, following)


def ended_together(bench: Any, successes: list[record.Success]) -> list[Any]:
    """What each was told; all were written by one call, or one by one after that failed."""
    writer = GroupCommit(bench.engine.database, linger_s=0.1)

    def end(each: record.Success) -> Any:
        try:
            return writer.submit_to(record.succeed, each)
        except record.StaleError as error:
            return error

    with ThreadPoolExecutor(len(successes)) as pool:
        return list(pool.map(end, successes))


def test_tasks_that_end_together_are_each_recorded_once(bench):
    for n in range(8):
        bench.task({"what": n})

    told = ended_together(bench, [success(task) for task in bench.claim()])

    assert told == [False] * 8
    assert [task.output for task in bench.rows(Task)] == [{"heard": task.id} for task in bench.rows(Task)]
    assert {task.state for task in bench.rows(Task)} == {"succeeded"}
    assert [attempt.outcome for attempt in bench.rows(Attempt)] == ["succeeded"] * 8


def test_of_tasks_that_end_together_only_the_stale_one_is_refused(bench):
    for n in range(5):
        bench.task({"what": n})
    tasks = bench.claim()
    bench.set(bench.row(Task, id=tasks[2].id), fence=tasks[2].fence + 1)

    told = ended_together(bench, [success(task) for task in tasks])

    assert isinstance(told.pop(2), record.StaleError)
    assert told == [False] * 4
    assert bench.row(Task, id=tasks[2].id).state == "running"
    assert sorted(attempt.task_id for attempt in bench.rows(Attempt)) == sorted(
        task.id for task in tasks if task is not tasks[2]
    )


def test_beginnings_that_come_together_are_refused_for_the_stale_one(bench):
    for n in range(3):
        bench.task({"what": n})
    tasks = bench.claim()
    bench.set(bench.row(Task, id=tasks[1].id), fence=tasks[1].fence + 1)
    beginnings = [record.Beginning(task, record.Trace(clock.now())) for task in tasks]

    with pytest.raises(record.StaleError):
        bench.write(lambda connection: record.begin(connection, beginnings))

    assert bench.rows(Attempt) == []


def test_of_runs_that_go_on_together_a_canceled_one_gets_no_step(bench):
    armed = bench.arm(step("one"), step("two"))
    for n in range(3):
        bench.accept(armed, {"n": n})
    tasks = bench.claim()
    canceled = bench.row(Run, id=tasks[1].run_id)
    bench.set(canceled, state=State.CANCELED, finished_at=clock.now())
    with bench.engine.database.connect() as connection:
        definition = load(connection, tasks)[str(tasks[0].run_id)].definition
    followings = [follow(task, at(definition, "1")) for task in tasks]

    going_on = bench.write(lambda connection: go_on(connection, followings))

    assert going_on == {tasks[0].run_id, tasks[2].run_id}
    assert len(bench.rows(Task, step="two")) == 2
    assert bench.rows(Task, run_id=canceled.id, step="two") == []
