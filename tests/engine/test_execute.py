import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from app import clock, ids
from app.database import writing
from app.engine import life, secrets
from app.engine.execute import said
from app.models import Attempt, Connection, Run, Task
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests import factories
from tests.engine.conftest import once, only_if, step, workspace


def raises(error):
    def answer(params):
        raise error

    return answer


def account(bench, **values) -> str:
    connection_id = ids.new("con")
    given = {
        "id": connection_id,
        "integration": "probe",
        "name": "Probe account",
        "settings": {"user": "ada"},
        "sealed": secrets.seal(bench.engine.keyring, {"password": "s3cret!!"}, bound_to=connection_id),
    }
    return bench.add(factories.ConnectionFactory, **given | values)


# --- the way it should go


def test_a_run_goes_through_its_steps_and_succeeds(bench, provider):
    bench.accept(
        bench.arm(step("one", "{{ event.total }}"), step("two", "{{ steps.one.heard }}")), {"total": 7}
    )

    bench.work()

    assert [what for _, what in provider.heard] == [7, 7]
    assert bench.states() == [("one", "succeeded"), ("two", "succeeded")]
    assert (bench.run().state, bench.run().cause) == ("succeeded", None)
    assert bench.run().finished_at is not None
    assert [bench.attempts(task.id) for task in bench.rows(Task)] == [[(1, "succeeded")]] * 2


def test_a_filter_that_does_not_match_ends_the_run_and_says_why(bench, provider):
    bench.accept(bench.arm(only_if("big", "event.total", "gt", 100), step("tell")), {"total": 50})

    bench.work()

    assert provider.heard == []
    assert (bench.run().state, bench.run().filtered_by) == ("succeeded", "big")
    assert "50" in bench.run().cause
    assert bench.states() == [("big", "succeeded")]


def test_a_filter_that_matches_lets_the_run_go_on(bench, provider):
    bench.accept(bench.arm(only_if("big", "event.total", "gt", 100), step("tell")), {"total": 150})

    bench.work()

    assert bench.states() == [("big", "succeeded"), ("tell", "succeeded")]
    assert bench.run().filtered_by is None


def test_a_filter_says_why_even_of_text_that_a_database_refuses(bench):
    bench.accept(bench.arm(only_if("big", "event.name", "eq", "x")), {"name": "a\x00b\ud800"})

    bench.work()

    assert (bench.run().state, bench.run().filtered_by) == ("succeeded", "big")


def test_a_step_that_names_another_queue_waits_there(bench, provider):
    slow = bench.queue("slow", paused=True)
    bench.accept(bench.arm(step("one"), step("two", queue="slow")))

    bench.work()

    assert bench.states() == [("one", "succeeded"), ("two", "queued")]
    assert bench.rows(Task)[1].queue_id == slow
    assert len(provider.heard) == 1


def test_a_step_after_a_wait_sees_what_came_before(bench, provider):
    provider.answer = lambda params: {"number": 42}
    bench.accept(bench.arm(step("one"), step("two", "{{ steps.one.number }}", queue="slow")))
    bench.queue("slow")

    assert bench.work() == 2

    assert provider.heard[1][1] == 42


def test_a_large_output_is_seen_by_the_steps_after_a_wait(bench, provider):
    provider.answer = lambda params: {"text": "y" * 70_000}
    bench.queue("slow")
    bench.accept(bench.arm(step("one"), step("two", "{{ steps.one.text }}", queue="slow")))

    bench.work()

    assert provider.heard[1][1] == "y" * 70_000
    assert bench.rows(Task)[0].output is None


def test_params_are_stored_with_their_secrets_masked(bench):
    bench.accept(bench.arm(step("one", params={"token": "{{ event.key }}"})), {"key": "tok_very_secret"})

    bench.work()

    assert "tok_very_secret" not in str(bench.row(Task).params)


def test_a_task_from_the_api_is_given_its_sealed_params(bench, provider):
    task_id = ids.new("tsk")
    sealed = secrets.seal(bench.engine.keyring, {"params": {"what": "whole"}}, bound_to=task_id)
    bench.task({"what": "••••••"}, params_sealed=sealed, task_id=task_id)

    bench.work()

    assert provider.heard == [(task_id, "whole")]
    assert bench.row(Task).params == {"what": "••••••"}


def test_templates_in_a_task_from_the_api_are_plain_text(bench, provider):
    bench.task({"what": "{{ event.total }}"})

    bench.work()

    assert provider.heard[0][1] == "{{ event.total }}"


def test_an_account_is_opened_for_the_step_that_names_it(bench):
    bench.accept(bench.arm(step("one", connection=account(bench))))

    bench.work()

    assert bench.run().state == "succeeded"


# --- outputs that cannot be kept


@pytest.mark.parametrize(
    "output",
    [b"bytes", {"at": datetime(2026, 1, 1, tzinfo=UTC)}, {"n": float("nan")}, {"s": {1, 2}}],
    ids=["bytes", "datetime", "nan", "set"],
)
def test_an_output_without_a_json_form_does_not_undo_what_was_done(bench, provider, output):
    provider.answer = lambda params: output
    bench.accept(bench.arm(once("one"), step("two")))

    bench.work()

    assert bench.states() == [("one", "succeeded"), ("two", "succeeded")]
    assert len(provider.heard) == 2


def test_an_output_that_holds_itself_does_not_undo_what_was_done(bench, provider):
    endless: dict = {}
    endless["again"] = endless
    provider.answer = lambda params: endless
    bench.task()

    bench.work()

    assert bench.row(Task).state == "succeeded"


def test_an_output_with_nul_and_lone_surrogates_is_kept(bench, provider):
    provider.answer = lambda params: {"text": "a\x00b\ud800"}
    bench.task()

    bench.work()

    assert bench.row(Task).output == {"text": "a\x00b\ud800"}


# --- failures


def test_a_template_that_misses_fails_the_run_and_names_the_step(bench, provider):
    bench.accept(bench.arm(step("one", "{{ event.missing }}")))

    bench.work()

    assert provider.heard == []
    assert bench.states() == [("one", "failed")]
    assert bench.run().cause.startswith("one: ")
    assert "missing" in bench.run().cause


def test_a_rejection_fails_without_a_second_try(bench, provider):
    provider.answer = raises(RejectedError("the address is wrong; mend it"))
    bench.accept(bench.arm(step("one"), step("two")))

    bench.work()

    assert bench.states() == [("one", "failed")]
    assert bench.attempts(bench.row(Task).id) == [(1, "failed")]
    assert bench.run().cause == "one: the address is wrong; mend it"


@pytest.mark.parametrize("words", ["nul \x00 inside", "surrogate \ud800 inside", "x" * 100_000])
def test_a_cause_that_a_database_refuses_is_written_all_the_same(bench, provider, words):
    provider.answer = raises(RejectedError(words))
    bench.accept(bench.arm(once("one")))

    bench.work()

    assert bench.row(Task).state == "failed"
    assert bench.run().state == "failed"


def test_a_cause_is_said_as_it_is_where_it_can_be():
    assert said("größer als 100 €") == "größer als 100 €"
    assert said("a\x00b\ud800") == "a\ufffdb?"


def test_an_unknown_exception_fails_without_its_words(bench, provider):
    provider.answer = raises(KeyError("token=s3cret"))
    bench.accept(bench.arm(once("one")))

    bench.work()

    task = bench.row(Task)
    assert task.state == "failed"
    assert "KeyError" in task.cause
    assert "s3cret" not in task.cause
    assert bench.attempts(task.id) == [(1, "failed")]


def test_an_action_that_is_not_installed_fails_and_says_so(bench):
    bench.accept(bench.arm(step("one", action="gone.away")))

    bench.work()

    assert "gone.away" in bench.row(Task).cause
    assert bench.run().state == "failed"


def test_params_that_do_not_fit_name_the_field(bench):
    bench.task({"nonsense": 1})

    bench.work()

    assert "nonsense" in bench.row(Task).cause


@pytest.mark.parametrize("params", [None, [], "text", 7])
def test_params_of_the_wrong_shape_fail(bench, params):
    task_id = bench.task()
    bench.set(bench.row(Task, id=task_id), params=params)

    bench.work()

    assert bench.row(Task).state == "failed"


@pytest.mark.parametrize("whose", ["nobody", "another workspace"])
def test_a_connection_that_is_not_there_is_not_used(bench, provider, whose):
    elsewhere = account(workspace(bench.engine, provider))
    connection_id = "con_gone" if whose == "nobody" else elsewhere
    bench.accept(bench.arm(step("one", connection=connection_id)))

    bench.work()

    assert provider.heard == []
    assert "was deleted" in bench.row(Task).cause
    assert bench.run().state == "failed"


# --- what may succeed later


def test_a_repeatable_action_is_tried_again_later(bench, provider):
    provider.answer = raises(TemporaryError("the service is away"))
    bench.accept(bench.arm(step("one")))

    bench.work()

    task = bench.row(Task)
    assert (task.state, task.cause, task.lease_until, task.worker_id) == (
        "waiting",
        "the service is away",
        None,
        None,
    )
    assert clock.now() - timedelta(seconds=1) < task.due_at <= clock.now() + timedelta(seconds=20)
    assert bench.attempts(task.id) == [(1, "retried")]
    assert (bench.run().state, bench.run().cause) == ("waiting", "the service is away")


def test_every_attempt_carries_the_same_key(bench, provider):
    provider.answer = raises(TemporaryError("away"))
    bench.accept(bench.arm(step("one")))
    for _ in range(3):
        bench.work()
        bench.set(bench.row(Task), state="queued")

    assert len(provider.heard) == 3
    assert len(set(provider.keys)) == 1


def test_two_steps_and_two_runs_have_keys_of_their_own(bench, provider):
    armed = bench.arm(step("one"), step("two"))
    bench.accept(armed)
    bench.accept(armed)

    bench.work()

    assert len(set(provider.keys)) == 4


def test_the_pause_a_service_asks_for_is_kept(bench, provider):
    provider.answer = raises(TemporaryError("too many", after=600))
    bench.task()

    bench.work()

    assert bench.row(Task).due_at >= clock.now() + timedelta(seconds=598)


@pytest.mark.parametrize("after", [-5.0, float("nan"), float("inf"), 999_999_999.0])
def test_a_pause_without_sense_neither_storms_nor_waits_for_ever(bench, provider, after):
    provider.answer = raises(TemporaryError("too many", after=after))
    bench.task()

    bench.work()

    task = bench.row(Task)
    assert task.state == "waiting"
    assert clock.now() - timedelta(seconds=1) < task.due_at < clock.now() + timedelta(days=2)


def test_an_action_that_may_have_been_done_asks(bench, provider):
    provider.answer = raises(TemporaryError("the line broke"))
    bench.accept(bench.arm(once("one"), step("two")))

    bench.work()

    task = bench.row(Task)
    assert task.state == "uncertain"
    assert "do it again" in task.cause
    assert bench.attempts(task.id) == [(1, "uncertain")]
    assert bench.run().state == "uncertain"


def test_an_action_that_provably_was_not_sent_is_tried_again(bench, provider):
    provider.answer = raises(TemporaryError("no connection", sent=False))
    bench.accept(bench.arm(once("one")))

    bench.work()

    assert bench.row(Task).state == "waiting"
    assert bench.attempts(bench.row(Task).id) == [(1, "retried")]


def test_an_action_that_may_not_be_repeated_is_announced_before_it_is_sent(bench, provider):
    seen = []

    def answer(params):
        seen.extend((row.outcome, row.finished_at) for row in bench.rows(Attempt))
        return {}

    provider.answer = answer
    bench.accept(bench.arm(once("one")))

    bench.work()

    assert seen == [(None, None)]
    assert bench.attempts(bench.row(Task).id) == [(1, "succeeded")]


def test_the_last_attempt_fails_with_its_cause(bench, provider):
    provider.answer = raises(TemporaryError("the service is away"))
    bench.task(max_attempts=2)
    bench.work()
    bench.set(bench.row(Task), state="queued")

    bench.work()

    task = bench.row(Task)
    assert (task.state, task.attempt) == ("failed", 2)
    assert "tried 2 times" in task.cause
    assert bench.attempts(task.id) == [(1, "retried"), (2, "failed")]


# --- broken accounts


def test_refused_credentials_mark_the_account_and_hold_its_tasks(bench, provider):
    provider.answer = raises(AuthError("probe refused the password; enter it again"))
    connection_id = account(bench)
    armed = bench.arm(step("one", connection=connection_id))
    bench.accept(armed)
    bench.accept(armed)

    bench.work()

    row = bench.row(Connection)
    assert (row.healthy, row.health_cause) == (False, "probe refused the password; enter it again")
    assert len(provider.heard) == 1
    assert {task.state for task in bench.rows(Task)} == {"waiting"}
    assert {task.attempt for task in bench.rows(Task)} == {0}
    assert all(task.cause.startswith("held: ") for task in bench.rows(Task))
    assert {run.state for run in bench.rows(Run)} == {"waiting"}


def test_an_old_failure_does_not_break_an_account_that_was_mended_meanwhile(bench, provider):
    connection_id = account(bench)

    def answer(params):
        bench.set(bench.row(Connection), updated_at=clock.now())
        raise AuthError("the old password")

    provider.answer = answer
    bench.accept(bench.arm(step("one", connection=connection_id)))

    bench.work()

    assert bench.row(Connection).healthy


def test_refused_credentials_without_an_account_fail(bench, provider):
    provider.answer = raises(AuthError("who are you"))
    bench.accept(bench.arm(step("one")))

    bench.work()

    assert bench.row(Task).state == "failed"


def test_a_secret_that_does_not_open_holds_the_task(bench, provider):
    bench.accept(bench.arm(step("one", connection=account(bench, sealed="k9.AAAA"))))

    bench.work()

    assert provider.heard == []
    assert bench.row(Task).state == "waiting"
    assert "k9" in bench.row(Task).cause


# --- a worker that lost its task


def test_a_stale_worker_changes_no_row(bench, provider):
    provider.answer = lambda params: bench.write(
        lambda connection: connection.execute(sa.update(Task).values(fence=Task.fence + 1))
    )
    bench.accept(bench.arm(step("one"), step("two")))

    bench.work()

    assert bench.states() == [("one", "running")]
    assert bench.rows(Attempt) == []
    assert bench.run().state == "running"


@pytest.mark.parametrize(
    "error", [RejectedError("no"), TemporaryError("away"), AuthError("who"), ValueError("bug")]
)
def test_a_stale_workers_failure_changes_no_row(bench, provider, error):
    def answer(params):
        bench.write(lambda connection: connection.execute(sa.update(Task).values(fence=Task.fence + 1)))
        raise error

    provider.answer = answer
    bench.accept(bench.arm(step("one", connection=account(bench))))

    bench.work()

    assert bench.states() == [("one", "running")]
    assert bench.run().state == "running"
    assert bench.row(Connection).healthy


def test_a_stale_worker_does_not_begin_what_may_not_be_repeated(bench, provider):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()

    bench.execute(replace(task, fence=task.fence - 1))

    assert provider.heard == []
    assert bench.rows(Attempt) == []


# --- canceled on the way


def test_no_step_follows_in_a_run_canceled_meanwhile(bench, provider, session):
    def answer(params):
        with writing() as own:
            life.cancel_run(own, own.get_one(Run, bench.run().id))

    provider.answer = answer
    bench.accept(bench.arm(step("one"), step("two")))

    bench.work()

    assert bench.states() == [("one", "succeeded")]
    assert (bench.run().state, bench.run().cause) == ("canceled", "canceled by a person")
    assert len(provider.heard) == 1


@pytest.mark.parametrize(
    ("error", "make"),
    [(TemporaryError("away"), step), (TemporaryError("away"), once), (AuthError("who"), step)],
    ids=["retry", "uncertain", "held"],
)
def test_a_task_of_a_run_canceled_meanwhile_does_not_wait_for_another_try(
    bench, provider, session, error, make
):
    def answer(params):
        with writing() as own:
            life.cancel_run(own, own.get_one(Run, bench.run().id))
        raise error

    provider.answer = answer
    bench.accept(bench.arm(make("one", connection=account(bench)), step("two")))

    bench.work()

    task = bench.row(Task)
    assert (task.state, bench.run().state) == ("canceled", "canceled")
    assert task.finished_at is not None
    assert "its run was canceled" in task.cause


# --- a database that goes away


def test_what_was_done_is_written_down_once_the_database_is_back(bench, provider):
    if bench.engine.database.dialect.name != "sqlite":
        pytest.skip("SQLite alone has one lock for all")
    bench.engine.writer._patience_s = 0.05
    other = bench.engine.database.connect().execution_options(bitqueue_write=True)

    def answer(params):
        other.begin()
        threading.Timer(0.3, other.rollback).start()
        return {"done": True}

    provider.answer = answer
    bench.task()

    bench.work()

    assert bench.row(Task).state == "succeeded"
    assert len(provider.heard) == 1
    other.close()
