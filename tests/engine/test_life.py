"""What people do to tasks and runs, from every state and twice at once; and a whole life against a small model."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from app import clock, ids
from app.database import write_connection
from app.engine import life, record, secrets, tick
from app.errors import ConflictError, InvalidError
from app.models import Attempt, Event, Run, State, Task
from app.models.states import TERMINAL
from app.sdk.errors import RejectedError, TemporaryError
from tests.engine.conftest import once, only_if, step

STANDING = {State.QUEUED, State.WAITING, State.UNCERTAIN}


def do(bench, verb, model, row_id, *given, **named):
    """As an edge does: one writing transaction. The verb's answer, or what it raised."""
    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        found = verb(session, *given, session.get_one(model, row_id), **named)
        session.flush()
        return found


def cancel(bench, task_id):
    return do(bench, life.cancel_task, Task, task_id)


def retry(bench, task_id):
    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        return life.retry_task(session, bench.engine, session.get_one(Task, task_id))


def resolve(bench, task_id, resolution):
    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        life.resolve_task(session, session.get_one(Task, task_id), resolution, "ada")


def replay(bench, run_id, **named):
    return do(bench, life.replay_run, Run, run_id, **named)


def put(bench, state) -> str:
    task_id = bench.task({"what": "x"})
    over = {"finished_at": clock.now()} if state in TERMINAL else {}
    bench.set(bench.row(Task, id=task_id), state=state, **over)
    return task_id


# --- one task, from every state


@pytest.mark.parametrize("state", list(State))
def test_cancel_ends_what_stands_and_nothing_else(bench, state):
    task_id = put(bench, state)

    if state in STANDING:
        cancel(bench, task_id)
        row = bench.row(Task)
        assert (row.state, row.cause, row.fence) == ("canceled", "canceled by a person", 1)
    else:
        with pytest.raises(ConflictError):
            cancel(bench, task_id)
        assert bench.row(Task).state == state


@pytest.mark.parametrize("state", list(State))
def test_retry_makes_a_new_task_of_what_failed_or_was_canceled(bench, state):
    task_id = put(bench, state)

    if state in {State.FAILED, State.CANCELED}:
        new = bench.row(Task, id=retry(bench, task_id).id)
        assert (new.state, new.retry_of, new.params, new.attempt) == ("queued", task_id, {"what": "x"}, 0)
        assert bench.row(Task, id=task_id).retried_by == new.id
    else:
        with pytest.raises(ConflictError):
            retry(bench, task_id)
    assert bench.row(Task, id=task_id).state == state


@pytest.mark.parametrize("resolution", ["done", "again", "skip"])
@pytest.mark.parametrize("state", list(State))
def test_resolve_answers_only_what_asks(bench, state, resolution):
    task_id = put(bench, state)

    if state is State.UNCERTAIN:
        resolve(bench, task_id, resolution)
        wanted = {"done": "succeeded", "again": "queued", "skip": "canceled"}[resolution]
        assert (bench.row(Task).state, bench.row(Task).finished_at is None) == (wanted, resolution == "again")
        assert "ada" in bench.row(Task).cause
    else:
        with pytest.raises(ConflictError):
            resolve(bench, task_id, resolution)
        assert bench.row(Task).state == state


def at_once(call, times=8):
    def outcome(_):
        try:
            return call()
        except ConflictError:
            return None

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(outcome, range(times)))


def test_two_people_who_retry_at_once_make_one_task(bench):
    task_id = put(bench, State.FAILED)

    found = at_once(lambda: retry(bench, task_id))

    assert len({each.id for each in found}) == 1
    assert sum(not each.repeated for each in found) == 1
    assert len(bench.rows(Task)) == 2


def test_two_people_who_resolve_at_once_answer_once(bench):
    bench.accept(bench.arm(once("one"), step("two")))
    (task,) = bench.claim()
    bench.write(lambda connection: record.ask(connection, task, record.Trace(clock.now()), "was it done?"))

    outcomes = at_once(lambda: resolve(bench, task.id, "done") or "answered")

    assert outcomes.count("answered") == 1
    assert bench.states() == [("one", "succeeded"), ("two", "queued")]


def test_the_sealed_params_of_a_retried_task_open_for_the_new_one(bench, provider):
    task_id = ids.new("tsk")
    sealed = secrets.seal(bench.engine.keyring, {"params": {"what": "whole"}}, bound_to=task_id)
    bench.task({"what": "•"}, params_sealed=sealed, task_id=task_id)
    bench.set(bench.row(Task), state="failed", finished_at=clock.now())

    new = retry(bench, task_id)
    bench.work()

    assert provider.heard == [(new.id, "whole")]


# --- runs


def failed_run(bench, provider, *steps):
    def answer(params):
        if params.what == "breaks":
            raise RejectedError("no")
        return {"heard": params.what}

    provider.answer = answer
    receipt = bench.accept(bench.arm(*steps), {"total": 1})
    bench.work()
    return receipt.run_id


def test_a_replay_from_a_step_keeps_what_the_steps_before_gave(bench, provider):
    run_id = failed_run(
        bench, provider, step("one"), step("two", "breaks"), step("three", "{{ steps.one.heard }}")
    )
    provider.answer = lambda params: {"heard": params.what}
    provider.heard.clear()

    new = replay(bench, run_id, from_step="two")
    bench.work()

    assert [what for _, what in provider.heard] == ["breaks", "one"]
    assert bench.row(Run, id=new.id).state == "succeeded"
    assert bench.row(Run, id=new.id).replay_of == run_id
    assert (bench.row(Run, id=run_id).state, bench.row(Run, id=run_id).replayed_by) == ("failed", new.id)


def test_a_replay_has_idempotency_keys_of_its_own(bench, provider):
    run_id = failed_run(bench, provider, step("one", "breaks"))

    replay(bench, run_id)
    bench.work()

    assert len(set(provider.keys)) == 2


def test_a_run_replayed_by_many_at_once_is_replayed_once(bench, provider):
    run_id = failed_run(bench, provider, step("one", "breaks"))

    found = at_once(lambda: replay(bench, run_id))

    assert len({each.id for each in found}) == 1
    assert sum(not each.repeated for each in found) == 1
    assert len(bench.rows(Run)) == 2


def test_a_run_that_goes_on_is_not_replayed(bench):
    run_id = bench.accept(bench.arm(step("one"))).run_id

    with pytest.raises(ConflictError):
        replay(bench, run_id)


@pytest.mark.parametrize("key", ["nowhere", "three"])
def test_a_replay_from_a_step_that_was_not_reached_is_refused(bench, provider, key):
    run_id = failed_run(bench, provider, step("one"), step("two", "breaks"), step("three"))

    with pytest.raises(InvalidError):
        replay(bench, run_id, from_step=key)

    assert bench.row(Run).replayed_by is None


def test_a_canceled_run_takes_its_waiting_task_along(bench):
    run_id = bench.accept(bench.arm(step("one"))).run_id

    do(bench, life.cancel_run, Run, run_id)

    assert (bench.run().state, bench.row(Task).state) == ("canceled", "canceled")
    with pytest.raises(ConflictError):
        do(bench, life.cancel_run, Run, run_id)
    assert bench.claim() == []


def test_canceling_a_steps_task_cancels_its_run(bench):
    bench.accept(bench.arm(step("one")))

    cancel(bench, bench.row(Task).id)

    assert bench.run().state == "canceled"


@pytest.mark.parametrize(
    ("resolution", "heard"), [("done", ["two"]), ("skip", ["two"]), ("again", ["one", "two"])]
)
def test_an_answered_question_lets_the_run_go_on(bench, provider, resolution, heard):
    def answer(params):
        raise TemporaryError("the line broke")

    provider.answer = answer
    bench.accept(bench.arm(once("one"), step("two")))
    bench.work()
    provider.answer = lambda params: {}
    provider.heard.clear()

    resolve(bench, bench.row(Task).id, resolution)
    bench.work()

    assert [key for key, _ in bench.states()] == ["one", "two"]
    assert bench.run().state == "succeeded"
    assert len(provider.heard) == len(heard)


def test_an_answer_to_the_last_question_ends_the_run(bench):
    bench.accept(bench.arm(once("one")))
    (task,) = bench.claim()
    bench.write(lambda connection: record.ask(connection, task, record.Trace(clock.now()), "was it done?"))

    resolve(bench, task.id, "skip")

    assert (bench.row(Task).state, bench.run().state) == ("canceled", "succeeded")


def test_what_was_held_for_an_account_is_released(bench):
    bench.accept(bench.arm(only_if("always", "event.x", "empty", None), step("one", connection="con_1")))
    held, other = bench.task(connection_id="con_1"), bench.task(connection_id="con_2")
    for task_id in (held, other):
        due_at = clock.now() + timedelta(hours=1)
        bench.set(bench.row(Task, id=task_id), state="waiting", cause="held: broken", due_at=due_at)

    with write_connection(bench.engine.database) as connection, Session(connection) as session:
        count = life.release_held(session.connection(), "con_1")

    assert count == 1
    assert (bench.row(Task, id=held).state, bench.row(Task, id=other).state) == ("queued", "waiting")


# --- a life


class Life(RuleBasedStateMachine):
    """One task, of which every attempt may end in any way, and workers that die and wake up again."""

    bench = None

    @initialize(safe=st.booleans(), most=st.integers(1, 3))
    def enqueue(self, safe, most):
        self.bench.provider.answer = self.answer
        self.bench.provider.heard.clear()
        self.next_error = None
        self.safe, self.most, self.again = safe, most, 0
        self.id = self.bench.task({"what": "x", "safe": safe}, max_attempts=most)
        self.stale, self.mine = [], None
        self.fence, self.ended = 0, None

    def answer(self, params):
        if self.next_error:
            raise self.next_error
        return {}

    @property
    def row(self):
        return self.bench.row(Task, id=self.id)

    @rule()
    def claim(self):
        found = [task for task in self.bench.claim() if task.id == self.id]
        if found:
            (self.mine,) = found
            self.stale.append(self.mine)

    @rule(
        error=st.sampled_from(
            [
                None,
                RejectedError("no"),
                TemporaryError("away"),
                TemporaryError("no line", sent=False),
                KeyError("bug"),
            ]
        )
    )
    def execute(self, error):
        if self.mine:
            self.next_error, task, self.mine = error, self.mine, None
            self.bench.execute(task)

    @rule()
    def begin_and_die(self):
        if self.mine and not self.safe:
            task, self.mine = self.mine, None
            trace = record.Trace(clock.now(), announced=True)
            self.bench.write(lambda connection: record.begin(connection, [record.Beginning(task, trace)]))

    @rule()
    def die(self):
        self.mine = None

    @rule()
    def lease_ends(self):
        if self.row.state == State.RUNNING:
            self.bench.end_lease(self.id)
            self.bench.end_leases()
            self.mine = None

    @rule()
    def time_passes(self):
        with write_connection(self.bench.engine.database) as connection:
            connection.execute(sa.update(Task).where(Task.id == self.id).values(due_at=clock.now()))
        self.bench.write(tick.queue_due)

    @rule(data=st.data())
    def stale_worker_wakes(self, data):
        old = [task for task in self.stale if task.fence != self.row.fence]
        if old:
            before = self.bench.attempts(self.id), self.row.state, self.row.fence
            heard = len(self.bench.provider.heard)
            self.next_error = None
            self.bench.execute(data.draw(st.sampled_from(old)))
            assert (self.bench.attempts(self.id), self.row.state, self.row.fence) == before
            assert self.safe or len(self.bench.provider.heard) == heard

    @rule()
    def cancel(self):
        try:
            cancel(self.bench, self.id)
        except ConflictError:
            assert self.row.state not in STANDING

    @rule(resolution=st.sampled_from(["done", "again", "skip"]))
    def resolve(self, resolution):
        asked = self.row.state == State.UNCERTAIN
        try:
            resolve(self.bench, self.id, resolution)
            self.again += resolution == "again"
        except ConflictError:
            assert not asked

    @rule()
    def retry_by_hand(self):
        try:
            found = [retry(self.bench, self.id), retry(self.bench, self.id)]
        except ConflictError:
            assert self.row.state not in (State.FAILED, State.CANCELED)
            return
        assert found[0].id == found[1].id
        cancel_new = self.bench.row(Task, id=found[0].id)
        if cancel_new.state == State.QUEUED:
            cancel(self.bench, cancel_new.id)

    @invariant()
    def holds(self):
        if self.bench is None or not hasattr(self, "id"):
            return
        row, attempts = self.row, self.bench.rows(Attempt, task_id=self.id)
        assert row.fence >= self.fence
        self.fence = row.fence
        assert self.ended in (None, row.state)
        self.ended = row.state if row.state.is_terminal else None
        assert row.state.is_terminal == (row.finished_at is not None)
        assert (row.state == State.RUNNING) == (row.lease_until is not None)
        assert row.attempt <= self.most + row.lost + self.again
        assert row.state not in (State.FAILED, State.UNCERTAIN, State.WAITING) or row.cause
        assert sum(attempt.outcome == "succeeded" for attempt in attempts) <= 1
        if not self.safe:
            sent = [attempt for attempt in attempts if attempt.outcome in (None, "uncertain", "succeeded")]
            assert len(sent) <= 1 + self.again


def test_a_task_lives_one_life(bench):
    machine = type("Lives", (Life,), {"bench": bench})

    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=30, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


# --- what was removed to save space


def test_a_task_whose_data_were_removed_is_not_retried(bench):
    put(bench, State.FAILED)
    bench.set(bench.row(Task), removed_at=clock.now())

    with pytest.raises(ConflictError, match="removed to save space"):
        retry(bench, bench.row(Task).id)

    assert bench.row(Task).retried_by is None


@pytest.mark.parametrize(
    ("gone", "named"), [(Event, {}), (Event, {"from_step": "two"}), (Run, {"from_step": "two"})]
)
def test_a_run_whose_data_were_removed_is_not_replayed_from_what_is_gone(bench, gone, named):
    run_id = bench.accept(bench.arm(step("one"), step("two"))).run_id
    bench.work()
    bench.set(bench.row(gone), removed_at=clock.now())

    with pytest.raises(ConflictError, match="removed to save space"):
        replay(bench, run_id, **named)

    assert bench.row(Run).replayed_by is None


def test_a_run_that_lost_only_what_its_steps_gave_is_replayed_from_the_start(bench):
    run_id = bench.accept(bench.arm(step("one"))).run_id
    bench.work()
    bench.set(bench.row(Run), removed_at=clock.now())

    assert not replay(bench, run_id).repeated
