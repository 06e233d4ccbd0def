"""Asking the provider itself: what it can tell is settled, what it cannot tell stays for a person."""

from dataclasses import replace
from datetime import timedelta

import gevent
import pytest
import sqlalchemy as sa

from app import clock
from app.database import writing
from app.engine import confirm, life
from app.models import Attempt, State, Task
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests import factories
from tests.engine.conftest import once, step

LATER = confirm.SETTLED + timedelta(seconds=1)


class Told:
    """What the provider says when it is asked."""

    def __init__(self):
        self.answer = None
        self.asked = []

    def __call__(self, ctx, connection, params, since):
        self.asked.append((ctx.idempotency_key, params.what, since))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def told(bench):
    """The probe's action can be asked about."""
    told = Told()
    probe = bench.engine.catalogue.integrations["probe"]
    probe.actions["tell"] = replace(probe.actions["tell"], confirm=told)
    return told


def lose(params):
    raise TemporaryError("the line broke")


@pytest.fixture
def lost(bench, told):
    """A run of which nobody knows whether its first step was done."""
    bench.provider.answer = lose
    run_id = bench.accept(
        bench.arm(once("one", what="{{ event.order }}"), step("two")), {"order": "A-1"}
    ).run_id
    bench.work()
    bench.provider.answer = lambda params: {"heard": params.what}
    assert bench.run().state is State.UNCERTAIN
    return run_id


def asked(bench, *, after=None):
    """As the tick does it; `after` that much time since the attempt began."""
    if after is not None:
        began = sa.update(Attempt).values(started_at=clock.now() - after)
        bench.write(lambda connection: connection.execute(began))
    begun = confirm.look(bench.engine)
    gevent.wait(timeout=10)
    return begun


def first(bench):
    return next(row for row in bench.rows(Task) if row.path == "0")


def due_again(bench):
    bench.set(first(bench), ask_at=clock.now() - timedelta(seconds=1))


def test_what_was_done_is_settled_with_what_the_provider_tells(bench, told, lost):
    told.answer = {"heard": "A-1", "id": 7}

    asked(bench)
    bench.work()

    assert [(row.state, row.output) for row in bench.rows(Task)] == [
        ("succeeded", {"heard": "A-1", "id": 7}),
        ("succeeded", {"heard": "two"}),
    ]
    assert first(bench).cause == "Probe was asked: it was done"
    assert bench.run().state is State.SUCCEEDED


def test_the_provider_is_asked_with_the_key_and_the_params_of_the_attempt(bench, told, lost):
    began_at = bench.row(Attempt).started_at

    asked(bench)

    ((key, what, since),) = told.asked
    assert key == bench.provider.keys[0]
    assert what == "A-1"
    assert began_at - timedelta(seconds=5) <= since <= began_at


def test_what_surely_was_not_done_is_done_again_once_nobody_can_be_at_it(bench, told, lost):
    asked(bench)
    assert first(bench).state is State.UNCERTAIN
    due_again(bench)

    asked(bench, after=LATER)

    assert first(bench).state is State.QUEUED
    bench.work()
    assert bench.run().state is State.SUCCEEDED
    assert len([what for _, what in bench.provider.heard if what == "A-1"]) == 2


def test_not_there_yet_is_no_failure_to_tell(bench, told, lost):
    asked(bench)

    row = first(bench)
    assert (row.state, row.asked) == (State.UNCERTAIN, 0)
    assert row.ask_at == bench.row(Attempt).started_at + confirm.SETTLED
    assert asked(bench) == 0


@pytest.mark.parametrize(
    "error",
    [TemporaryError("too much was written"), AuthError("no right"), RejectedError("x"), KeyError("bug")],
)
def test_after_three_asks_in_vain_it_stays_for_a_person(bench, told, lost, error):
    told.answer = error

    for _ in range(5):
        asked(bench, after=LATER)
        due_again(bench)

    assert len(told.asked) == 3
    row = first(bench)
    assert row.state is State.UNCERTAIN
    assert not confirm.is_asked(bench.engine, row)
    assert "Probe was asked and could not tell" in row.cause
    assert bench.run().cause == row.cause


def test_who_asks_keeps_others_from_asking(bench, told, lost):
    begun = [confirm.look(bench.engine) for _ in range(2)]
    gevent.wait(timeout=10)

    assert (begun, len(told.asked)) == ([1, 0], 1)


def test_a_person_who_answers_meanwhile_is_first(bench, told, lost, app):
    row = first(bench)
    told.answer = {"heard": "late"}
    with app.app_context(), writing() as session:
        life.resolve_task(session, session.get_one(Task, row.id), "skip", "Ada")

    confirm.ask(bench.engine, row)

    assert (first(bench).state, first(bench).cause) == (State.CANCELED, "skipped by Ada")


def test_an_answer_to_an_earlier_question_does_not_settle_the_next(bench, told, lost, app):
    row = first(bench)
    with app.app_context(), writing() as session:
        life.resolve_task(session, session.get_one(Task, row.id), "again", "Ada")
    bench.provider.answer = lose
    bench.work()
    told.answer = {"heard": "the first"}

    confirm.ask(bench.engine, row)

    assert first(bench).state is State.UNCERTAIN


def test_a_task_of_the_api_is_asked_about_too(bench, told):
    bench.provider.answer = lose
    task_id = bench.task({"what": "x", "safe": False, "token": "secret-1"})
    bench.work()
    told.answer = {"heard": "x"}

    asked(bench)

    assert told.asked[0][:2] == (task_id, "x")
    assert bench.row(Task).state is State.SUCCEEDED


def test_what_was_not_done_time_and_again_stays_for_a_person(bench, told):
    bench.provider.answer = lose
    bench.task({"what": "x", "safe": False}, max_attempts=1)
    bench.work()

    asked(bench, after=LATER)

    assert bench.row(Task).state is State.UNCERTAIN
    assert bench.row(Task).asked == 1


def test_a_broken_connection_puts_the_question_off(bench, told):
    bench.provider.answer = lose
    account = bench.add(
        factories.ConnectionFactory, integration="probe", healthy=False, health_cause="refused"
    )
    bench.task({"what": "x", "safe": False})
    bench.work()
    bench.set(bench.row(Task), connection_id=account)

    asked(bench)

    row = bench.row(Task)
    assert told.asked == []
    assert (row.asked, row.ask_at > clock.now()) == (0, True)


def test_an_action_that_cannot_be_asked_about_is_left_alone(bench):
    bench.provider.answer = lose
    bench.task({"what": "x", "safe": False})
    bench.work()

    assert asked(bench) == 0
