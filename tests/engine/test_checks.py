"""Accounts are checked once a day by themselves, by one process, and what that finds is acted upon."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from app import clock
from app.database import write_connection
from app.engine.checks import Checker, recheck
from app.engine.core import Engine
from app.models import Connection, Task
from app.sdk.declare import Catalogue, Integration
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from tests import factories
from tests.engine.conftest import Account, Bench

DAY = timedelta(days=1)


class Service:
    """What the check of the integration `mail` is answered."""

    def __init__(self) -> None:
        self.asked = 0
        self.trouble: Exception | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(self) -> str:
        self.asked += 1
        self.meanwhile()
        if self.trouble:
            raise self.trouble
        return "it works"


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def engine(engine: Engine, service: Service) -> Engine:
    integration = Integration("tests.mail", "Mail", "A service for tests", need="required")
    integration.connection(Account)
    integration.check(lambda ctx, connection: service.answer())
    known = dict(engine.catalogue.integrations)
    return replace(engine, catalogue=Catalogue(known | {"mail": integration}))


def account(bench: Bench, **values: object) -> str:
    given = {
        "integration": "mail",
        "name": "Mail",
        "settings": {"user": "ada"},
        "created_at": clock.now() - 2 * DAY,
    }
    row_id = bench.add(factories.ConnectionFactory, **given | values)
    sealed = bench.engine.keyring.seal(b'{"password": "x"}', bound_to=row_id)
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.update(Connection).where(Connection.id == row_id).values(sealed=sealed))
    return row_id


def check_due(bench: Bench) -> int:
    checker = Checker(bench.engine)
    begun = checker.check_due()
    checker.join(10)
    return begun


def test_an_account_is_checked_a_day_after_it_was_made_and_every_day_after(bench, service):
    account(bench)

    assert [check_due(bench), check_due(bench)] == [1, 0]

    row = bench.row(Connection)
    assert (row.healthy, service.asked) == (True, 1)
    assert DAY - timedelta(minutes=1) < row.check_due_at - clock.now() <= DAY
    bench.set(row, check_due_at=clock.now() - timedelta(seconds=1))
    assert check_due(bench) == 1


def test_a_new_account_is_not_checked_again_at_once(bench, service):
    account(bench, created_at=clock.now())

    assert (check_due(bench), service.asked) == (0, 0)


@pytest.mark.parametrize("trouble", [AuthError("the password was refused"), RejectedError("no such mailbox")])
def test_an_account_that_is_refused_is_marked_broken(bench, service, trouble):
    account(bench)
    service.trouble = trouble

    check_due(bench)

    assert (bench.row(Connection).healthy, bench.row(Connection).health_cause) == (False, str(trouble))


def test_a_service_that_does_not_answer_says_nothing_and_is_asked_again_in_an_hour(bench, service):
    account(bench)
    service.trouble = TemporaryError("no answer")

    check_due(bench)

    row = bench.row(Connection)
    assert (row.healthy, row.checked_at) == (True, None)
    assert timedelta(minutes=59) < row.check_due_at - clock.now() <= timedelta(hours=1)


def test_a_bug_in_a_check_ends_nothing_else(bench, service):
    account(bench)
    service.trouble = ZeroDivisionError()

    assert check_due(bench) == 1
    assert bench.row(Connection).healthy


def test_an_account_that_works_again_lets_go_of_what_was_held(bench, service):
    row_id = account(bench, healthy=False, health_cause="refused")
    task_id = bench.task(connection_id=row_id)
    bench.set(bench.row(Task, id=task_id), state="waiting", cause="held: refused", due_at=clock.now() + DAY)

    check_due(bench)

    assert bench.row(Connection).healthy
    assert bench.row(Task).state == "queued"


def test_what_somebody_changed_during_the_check_stands(bench, service):
    row_id = account(bench)
    service.trouble = AuthError("refused")
    service.meanwhile = lambda: bench.set(bench.row(Connection, id=row_id), updated_at=clock.now() + DAY)

    check_due(bench)

    assert bench.row(Connection).healthy


def test_of_two_processes_one_checks(bench, service):
    account(bench)
    first, second = Checker(bench.engine), Checker(bench.engine)
    row = first._due()

    begun = [first.check_due(), second.check_due()]
    first.join(10)

    assert row is not None
    assert begun == [1, 0]


def test_nothing_is_checked_that_has_no_check(bench):
    account(bench, integration="probe")

    assert check_due(bench) == 0


def test_a_check_by_hand_says_what_it_found(bench, service):
    row_id = account(bench)
    row = bench.row(Connection, id=row_id)

    assert recheck(bench.engine, row) == (True, "it works")
    service.trouble = AuthError("refused")
    assert recheck(bench.engine, row) == (False, "refused")
