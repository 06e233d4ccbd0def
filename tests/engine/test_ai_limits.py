"""Money through the whole engine: tasks of an AI service, executed by a worker, billed by a stand-in."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa

from app import clock, ids
from app.database import write_connection
from app.engine import secrets
from app.engine.work import Worker
from app.models import Kept, Pace, Task, Usage
from app.sdk.addresses import AddressGuard
from app.sdk.http import HttpClient
from tests import factories
from tests.providers import openai as provider


@pytest.fixture
def service():
    with provider.openai_server() as (stand_in, bill):
        yield stand_in, bill


@pytest.fixture
def bill(service):
    return service[1]


@pytest.fixture
def bench(bench, service):
    guard = AddressGuard(allow_private=True)
    config = bench.engine.config.model_copy(update={"provider_base_urls": {"openai": service[0].url}})
    bench.engine = replace(bench.engine, config=config, guard=guard, http=HttpClient(guard))
    yield bench
    bench.engine.http.close()


def account(bench, **limits):
    connection_id = ids.new("con")
    return bench.add(
        factories.ConnectionFactory,
        id=connection_id,
        integration="openai",
        name="OpenAI",
        settings=limits,
        sealed=secrets.seal(bench.engine.keyring, {"api_key": provider.KEY}, bound_to=connection_id),
    )


def enqueue(bench, connection_id, count=1, **params):
    return [
        bench.task({"prompt": f"hello {n}"} | params, action="openai.ask", connection_id=connection_id)
        for n in range(count)
    ]


def make_due(bench):
    with write_connection(bench.engine.database) as connection:
        connection.execute(
            sa.update(Task).where(Task.state == "waiting").values(state="queued", due_at=clock.now())
        )
        connection.execute(sa.update(Pace).values(rests_until=None))


@pytest.mark.slow
def test_a_loop_of_a_thousand_tasks_stops_at_a_limit_of_a_hundred_calls(bench, bill):
    enqueue(bench, account(bench, calls_a_day=100), 1000)

    worker = Worker(bench.engine)
    worker.drain()
    worker.pool.join(60)

    rows = bench.rows(Task)
    assert Counter(row.state for row in rows) == {"succeeded": 100, "failed": 900}
    assert len(bill.billed) == 100
    assert {row.cause for row in rows if row.state == "failed"} == {
        "the limit of 100 calls a day of this connection is reached; "
        "raise it in the connection or wait until the day ends (UTC)"
    }
    outputs = [row.output for row in rows if row.state == "succeeded"]
    assert sum("warning" in output for output in outputs) == 21
    assert bench.row(Usage).calls == 100


def test_the_limit_of_a_rule_holds_for_the_rule(bench, bill):
    step = {
        "key": "ai",
        "kind": "action",
        "action": "openai.ask",
        "connection": account(bench),
        "params": {"prompt": "{{ event.n }}", "calls_a_day": 2},
    }
    armed = bench.arm(step)
    for n in range(3):
        bench.accept(armed, {"n": n})

    bench.work()

    assert sorted(state for _, state in bench.states()) == ["failed", "succeeded", "succeeded"]
    assert len(bill.billed) == 2


def test_a_provider_that_fails_and_a_task_that_is_retried_are_billed_once(bench, bill):
    bill.faults = [provider.BROKEN, provider.RATE_LIMITED]
    enqueue(bench, account(bench))

    for _ in range(3):
        bench.work()
        make_due(bench)

    row = bench.row(Task)
    # Of the refusals only the first used up an attempt: too many requests are nobody's fault.
    assert (row.state, row.attempt) == ("succeeded", 2)
    assert len(bill.billed) == 1
    assert [(use.calls, use.tokens) for use in bench.rows(Usage)] == [(1, 1100)]
    assert row.output["cost_usd"] == 0.00015


def test_a_worker_that_dies_after_the_answer_does_not_make_it_paid_for_twice(bench, bill):
    """The answer is kept before anything else: what the dead worker could not record is found by the next one."""
    (task_id,) = enqueue(bench, account(bench))
    bench.work()
    with write_connection(bench.engine.database) as connection:
        lost = {"state": "queued", "output": None, "finished_at": None, "due_at": clock.now()}
        connection.execute(sa.update(Task).where(Task.id == task_id).values(**lost))

    bench.work()

    assert bench.row(Task).state == "succeeded"
    assert bench.row(Task).output["text"] == "Hello!"
    assert len(bill.billed) == 1
    assert [(use.calls, use.tokens) for use in bench.rows(Usage)] == [(1, 1100)]


def test_a_run_that_is_cut_off_between_two_questions_asks_the_second_one_only(bench, bill):
    schema = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
    bill.answers = ["no json", '{"n": 1}']
    (task_id,) = enqueue(bench, account(bench), answer_schema=schema)

    def break_the_second(body):
        bill.faults = []
        return '{"n": 1}'

    bill.answers = [lambda body: (bill.faults.append(provider.OVERLOADED), "no json")[1], break_the_second]
    bench.work()
    make_due(bench)
    bench.work()

    assert bench.row(Task, id=task_id).output["data"] == {"n": 1}
    assert len(bill.billed) == 2


def test_an_account_without_credit_holds_its_tasks_until_somebody_mends_it(bench, bill):
    bill.faults = [provider.NO_CREDIT]
    enqueue(bench, account(bench))

    bench.work()

    row = bench.row(Task)
    assert row.state == "waiting"
    assert "no credit left" in row.cause


def test_what_is_kept_holds_no_key(bench):
    enqueue(bench, account(bench))

    bench.work()

    assert provider.KEY not in json.dumps([row.value for row in bench.rows(Kept)])
