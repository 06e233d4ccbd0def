"""One click for many failures: each once, whoever clicks, and the database is held for moments only."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
import sqlalchemy as sa

from app import clock, ids
from app.database import write_connection
from app.engine import bulk_orders
from app.engine.commit import GroupCommit
from app.models import BulkOrder, Run, State, Task
from app.sdk.errors import RejectedError, TemporaryError
from tests.engine.conftest import once, step, workspace

MANY = 1000


def refuse(params):
    raise RejectedError("the shop is closed")


def order(bench, what, members, *, key="flr_1"):
    row = {
        "id": ids.new("ord"), "workspace_id": bench.workspace_id, "group_key": key, "what": what, "about": "Probe",
        "members": members, "total": len(members), "done": 0, "skipped": 0, "made_by": "usr_ada",
        "made_by_name": "Ada", "created_at": clock.now(),
    }  # fmt: skip
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.insert(BulkOrder), row)
    return row["id"]


def finish(bench, order_id):
    for _ in range(200):
        bulk_orders.work(bench.engine, order_id=order_id)
        row = bench.row(BulkOrder, id=order_id)
        if row.finished_at:
            return row
    raise AssertionError("the order does not end")


def failed_runs(bench, count, *steps):
    bench.provider.answer = refuse
    armed = bench.arm(*(steps or (step("one"),)))
    runs = [bench.accept(armed).run_id for _ in range(count)]
    bench.work()
    return runs


def test_an_order_retries_each_run_from_where_it_stopped(bench):
    armed = bench.arm(step("one"), step("two"))
    bench.provider.answer = lambda params: refuse(params) if params.what == "two" else {}
    runs = [bench.accept(armed).run_id for _ in range(3)]
    bench.work()
    bench.provider.answer = lambda params: {}
    bench.provider.heard.clear()

    done = finish(bench, order(bench, "retry", runs))
    bench.work()

    assert (done.done, done.skipped) == (3, 0)
    assert [what for _, what in bench.provider.heard] == ["two"] * 3
    assert {row.replay_of for row in bench.rows(Run) if row.replay_of} == set(runs)


def test_an_order_runs_the_whole_again(bench):
    runs = failed_runs(bench, 2, step("one"), step("two"))
    bench.provider.answer = lambda params: {}
    bench.provider.heard.clear()

    finish(bench, order(bench, "replay", runs))
    bench.work()

    assert sorted(what for _, what in bench.provider.heard) == ["one", "one", "two", "two"]


def test_an_order_retries_tasks_of_the_api(bench):
    bench.provider.answer = refuse
    tasks = [bench.task({"what": number}) for number in range(3)]
    bench.work()

    finish(bench, order(bench, "retry", tasks))

    assert [row.retry_of for row in bench.rows(Task) if row.retry_of] == tasks


def test_what_cannot_be_done_is_counted_with_its_cause_and_does_not_stop_the_others(bench):
    runs = failed_runs(bench, 2)
    going = bench.accept(bench.arm(step("one"))).run_id

    done = finish(bench, order(bench, "replay", [runs[0], going, "run_gone", runs[1]]))

    assert (done.done, done.skipped, done.cause) == (4, 2, "it was removed meanwhile")
    assert len([row for row in bench.rows(Run) if row.replay_of]) == 2


def test_what_another_workspace_has_is_not_touched(bench, engine, provider):
    runs = failed_runs(bench, 1)
    stranger = workspace(engine, provider)

    done = finish(stranger, order(stranger, "replay", runs))

    assert done.skipped == 1
    assert bench.run().replayed_by is None


def test_an_order_puts_failures_aside(bench):
    runs = failed_runs(bench, 2)
    going = bench.accept(bench.arm(step("one"))).run_id

    done = finish(bench, order(bench, "dismiss", [*runs, going]))

    dismissed = {row.id for row in bench.rows(Run) if row.dismissed_at}
    assert (dismissed, done.skipped) == (set(runs), 1)


@pytest.mark.parametrize(
    ("what", "state"), [("done", "succeeded"), ("again", "queued"), ("skip", "succeeded")]
)
def test_an_order_answers_the_questions_of_what_is_uncertain(bench, what, state):
    def lose(params):
        raise TemporaryError("the line broke")

    bench.provider.answer = lose
    armed = bench.arm(once("one"))
    runs = [bench.accept(armed).run_id for _ in range(2)]
    bench.work()

    done = finish(bench, order(bench, what, runs))

    assert (done.skipped, {row.state for row in bench.rows(Run)}) == (0, {State(state)})


def test_a_failure_that_fails_again_is_not_done_again_by_the_same_order(bench):
    runs = failed_runs(bench, 2)
    order_id = order(bench, "replay", runs)

    finish(bench, order_id)
    bench.work()
    bulk_orders.work(bench.engine)

    assert len(bench.rows(Run)) == 4


def test_f27_a_thousand_failures_replayed_by_two_people_at_once_while_the_provider_still_fails(bench):
    runs = failed_runs(bench, MANY)
    heard = len(bench.provider.heard)
    orders = [order(bench, what, runs, key=what) for what in ("replay", "retry")]
    writers = [bench.engine, replace(bench.engine, writer=GroupCommit(bench.engine.database, linger_s=0))]
    together, waits = Barrier(3), []

    def click(engine, order_id):
        together.wait()
        while not bench.row(BulkOrder, id=order_id).finished_at:
            bulk_orders.work(engine, order_id=order_id)

    with ThreadPoolExecutor(3) as pool:
        clicks = [
            pool.submit(click, engine, order_id) for engine, order_id in zip(writers, orders, strict=True)
        ]
        together.wait()
        while not all(each.done() for each in clicks):
            began_at = time.monotonic()
            bench.task({"what": "meanwhile"})
            waits.append(time.monotonic() - began_at)
            time.sleep(0.02)
        for each in clicks:
            each.result()
    bench.work()

    again = [row for row in bench.rows(Run) if row.replay_of]
    assert sorted(row.replay_of for row in again) == sorted(runs)
    assert {row.state for row in again} == {State.FAILED}
    assert len([what for _, what in bench.provider.heard[heard:] if what != "meanwhile"]) == MANY
    # Others write meanwhile: no batch keeps them waiting long.
    assert sorted(waits)[len(waits) // 2] < 0.5
