"""A connection that takes only so many calls, or whose service is down: tasks wait for it and none is burnt."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from sqlalchemy.orm import Session

from app import clock
from app.database import write_connection
from app.engine import life, pace, tick
from app.models import Connection, Pace, Task
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests import factories
from tests.engine.conftest import limit, step

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def account(bench) -> str:
    """A connection of the workspace, with its secrets sealed as they are."""
    return sealed_account(bench)


def sealed_account(bench: Any, name: str = "Sheets") -> str:
    row_id = bench.add(
        factories.ConnectionFactory, integration="probe", name=name, settings={"user": "ada"}, sealed=""
    )
    text = bench.engine.keyring.seal(b'{"password": "x"}', bound_to=row_id)
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.update(factories.Connection).values(sealed=text).filter_by(id=row_id))
    return row_id


def seconds(bench: Any, travel: Any, count: float, *, of: float = 1.0) -> None:
    """Let time pass as a server spends it: a tick, then the work that is due."""
    for _ in range(int(count / of)):
        travel.shift(of)
        bench.write(tick.queue_due)
        bench.work()


def states(bench: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for task in bench.rows(Task):
        counts[task.state] = counts.get(task.state, 0) + 1
    return counts


def test_a_connection_nobody_limits_costs_no_row(bench, account):
    bench.task({"what": 1}, connection_id=account)

    bench.work()

    assert states(bench) == {"succeeded": 1}
    assert bench.rows(Pace) == []


def test_what_a_limit_keeps_back_waits_and_says_so(bench, provider, account):
    limit(bench, account, 3)
    for n in range(5):
        bench.task({"what": n}, connection_id=account)

    bench.work()

    waiting = bench.rows(Task, state="waiting")
    assert len(provider.heard) == 3
    assert [task.cause for task in waiting] == ["paced: waits for Sheets, which takes 3 calls a minute"] * 2
    assert {task.attempt for task in waiting} == {0}
    assert all(timedelta(55) < (task.due_at - clock.now()) * 86400 < timedelta(65) for task in waiting)


def test_a_limit_is_shared_kept_and_used(bench, provider, account):
    limit(bench, account, 60)
    calls: list[datetime] = []
    provider.answer = lambda params: calls.append(clock.now())
    with time_machine.travel(START, tick=False) as travel:
        for n in range(300):
            bench.task({"what": n}, connection_id=account)
        bench.work()
        seconds(bench, travel, 300)

    assert states(bench) == {"succeeded": 300}
    assert max(sum(start <= call < start + timedelta(minutes=1) for call in calls) for start in calls) <= 60
    # What would be used at best: 60 at once and 60 in each minute after it.
    assert (calls[-1] - calls[0]).total_seconds() <= 240 / 0.95
    assert {len(bench.attempts(task.id)) for task in bench.rows(Task)} == {1}


def test_who_has_waited_goes_before_who_comes(bench, provider, account):
    limit(bench, account, 2)
    with time_machine.travel(START, tick=False) as travel:
        for n in range(4):
            bench.task({"what": n}, connection_id=account)
        bench.work()
        # There is room again, and those who wait for it are not back yet.
        travel.shift(62)
        bench.task({"what": "late"}, connection_id=account)
        bench.work()
        seconds(bench, travel, 70)

    assert [what for _, what in provider.heard] == [0, 1, 2, 3, "late"]


def test_too_many_requests_use_no_attempt_and_teach_the_limit(bench, provider, account):
    """A service that takes ten a minute, with nobody having said so."""
    calls: list[datetime] = []
    refused: list[datetime] = []

    def answer(params: Any) -> Any:
        now = clock.now()
        if sum(now - call < timedelta(minutes=1) for call in calls) >= 10:
            refused.append(now)
            raise TemporaryError("too many requests", after=30, sent=False)
        calls.append(now)

    provider.answer = answer
    with time_machine.travel(START, tick=False) as travel:
        for n in range(60):
            bench.task({"what": n, "safe": False}, connection_id=account, max_attempts=2)
        bench.work()
        seconds(bench, travel, 900, of=3)

    assert states(bench) == {"succeeded": 60}
    assert len(refused) <= 6


def test_a_service_that_fails_is_left_alone_and_found_again(bench, provider, account):
    tried: list[datetime] = []
    back_at = START + timedelta(minutes=10)

    def answer(params: Any) -> Any:
        tried.append(clock.now())
        if clock.now() < back_at:
            raise TemporaryError("it answers 500")

    provider.answer = answer
    with time_machine.travel(START, tick=False) as travel:
        for n in range(40):
            bench.task({"what": n}, connection_id=account)
        bench.work()
        seconds(bench, travel, 600, of=4)
        during = [moment for moment in tried if moment < back_at]
        seconds(bench, travel, 400, of=4)

    assert states(bench) == {"succeeded": 40}
    # Five to find out, then one at a time, ever more rarely.
    assert len(during) <= 5 + 8
    assert bench.row(Pace).failures == 0
    assert bench.row(Pace).rests_until is None


def test_of_many_that_come_when_a_rest_ends_one_finds_out_whether_the_service_is_back(bench, account):
    limit(bench, account, 1000)
    over = {"failures": 5, "rests_from": START, "rests_until": clock.now(), "ailing_since": START}
    bench.write(lambda connection: connection.execute(sa.update(Pace).values(cause="it fails", **over)))
    wanted = [pace.Wanted(account, "Sheets", None)] * 4

    answers = bench.write(lambda connection: pace.enter(connection, wanted))

    assert [answer is None for answer in answers] == [True, False, False, False]


def test_while_a_service_is_left_alone_what_waits_says_what_it_answered(bench, provider, account):
    def answer(params: Any) -> Any:
        raise TemporaryError("it answers 500")

    provider.answer = answer
    for n in range(8):
        bench.task({"what": n}, connection_id=account)

    bench.work()

    causes = [task.cause for task in bench.rows(Task) if task.cause.startswith(pace.WAITS)]
    assert len(provider.heard) == pace.FAILURES
    assert causes == ["paced: waits for Sheets, which is left alone for a while: it answers 500"] * 3


def test_a_request_the_service_rejects_shows_that_it_is_there(bench, provider, account):
    limit(bench, account, 100)
    bench.write(
        lambda connection: connection.execute(
            sa.update(Pace).values(failures=4, ailing_since=clock.now(), cause="it answers 500")
        )
    )

    def answer(params: Any) -> Any:
        raise RejectedError("no such sheet")

    provider.answer = answer
    bench.task({"what": 1}, connection_id=account)

    bench.work()

    assert bench.row(Task).state == "failed"
    assert (bench.row(Pace).failures, bench.row(Pace).cause) == (0, None)


def test_a_limit_of_one_connection_keeps_no_other_back(bench, provider, account):
    other = sealed_account(bench, "Other")
    limit(bench, account, 1)
    for n in range(3):
        bench.task({"what": n}, connection_id=account)
        bench.task({"what": f"other {n}"}, connection_id=other)

    bench.work()

    assert sorted(str(what) for _, what in provider.heard) == ["0", "other 0", "other 1", "other 2"]


def test_a_service_that_only_ever_refuses_ends_a_task_at_last(bench, provider, account):
    def answer(params: Any) -> Any:
        raise TemporaryError("too many requests", after=3600, sent=False)

    provider.answer = answer
    bench.task({"what": 1}, connection_id=account, max_attempts=3)
    with time_machine.travel(clock.now(), tick=False) as travel:
        bench.work()
        seconds(bench, travel, 3600 * 40, of=600)

    task = bench.row(Task)
    assert task.state == "failed"
    assert "too many requests" in task.cause


def test_a_token_that_expires_with_fifty_runs_queued_fails_none_of_them(bench, provider, account):
    """Half of them may not be repeated; after reconnecting all are done, each once."""
    expired = [True]

    def answer(params: Any) -> Any:
        if expired[0]:
            raise AuthError("the token has expired; sign in again")

    provider.answer = answer
    armed = [
        bench.arm(step("tell", "{{ event.n }}", connection=account, params={"safe": safe}))
        for safe in (True, False)
    ]
    for n in range(50):
        bench.accept(armed[n % 2], {"n": n})
    bench.work()
    asked, waiting = len(provider.heard), bench.rows(Task)
    expired[0] = False
    provider.heard.clear()

    with Session(bench.engine.database) as session:
        life.release_held(session.connection(), account)
        session.execute(sa.update(Connection).values(healthy=True, health_cause=None))
        session.commit()
    bench.work()

    assert {task.state for task in waiting} == {"waiting"}
    assert all(task.cause.startswith("held: ") for task in waiting)
    assert asked <= 1
    assert {task.state for task in bench.rows(Task)} == {"succeeded"}
    assert sorted(what for _, what in provider.heard) == list(range(50))
