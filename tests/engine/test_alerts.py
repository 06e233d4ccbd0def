"""Alerts on a real database: one a cause an hour, a task for each who wants a message, in the row's own transaction."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from app import clock
from app.database import write_connection
from app.engine import alerts
from app.engine.alerts import Cause
from app.models import Alert, AlertKind, AlertNotice, AlertPreference, Membership, Queue, Task, User
from tests import factories
from tests.engine.conftest import Bench, workspace

START = datetime(2026, 11, 21, 9, 50, tzinfo=UTC)


@pytest.fixture
def at() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def person(bench: Bench) -> Callable[..., str]:
    """Adds somebody to the workspace, with their wishes."""

    def add(**wishes: Any) -> str:
        user = factories.UserFactory.build(session_epoch=0, operator=False, zone="UTC", theme="auto")
        with write_connection(bench.engine.database) as connection:
            connection.execute(sa.insert(User), _values(user))
            row = {"workspace_id": bench.workspace_id, "user_id": user.id}
            member = {"id": user.id.replace("usr", "mem"), "role": "owner", "created_at": clock.now()}
            connection.execute(sa.insert(Membership), row | member)
            if wishes:
                given = {"kinds": [kind.value for kind in AlertKind], "channel": "none"} | wishes
                connection.execute(sa.insert(AlertPreference), row | given | {"updated_at": clock.now()})
        return str(user.id)

    return add


def _values(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name in row.__table__.c}


def tell(bench: Bench, *, key: str = "failed:rul_1", **more: Any) -> bool:
    values = {"kind": AlertKind.FAILED, "title": "Big orders failed", "sentence": "the shop is closed"} | more
    cause = Cause(workspace_id=bench.workspace_id, key=key, **values)
    return bool(bench.write(lambda connection: alerts.tell(connection, bench.engine, cause)))


def test_the_same_cause_is_told_once_an_hour_and_the_next_says_how_many_more(
    bench: Bench, at: time_machine.Traveller
):
    tell(bench)
    for _ in range(3):
        at.shift(timedelta(minutes=15))
        tell(bench, count=2)
    at.shift(timedelta(minutes=15))

    assert tell(bench)

    first, second = bench.rows(Alert)
    assert (first.more, second.more) == (6, 0)
    assert second.sentence == "the shop is closed (and 6 more since 09:50 UTC)"
    assert second.at - first.at == timedelta(hours=1)


def test_the_turn_of_the_hour_makes_no_second_alert(bench: Bench, at: time_machine.Traveller):
    tell(bench)
    at.shift(timedelta(minutes=11))

    assert not tell(bench)


def test_other_causes_are_told_of(bench: Bench, at: time_machine.Traveller):
    assert [tell(bench, key=key) for key in ("failed:rul_1", "failed:rul_2", "disk")] == [True] * 3


def test_what_lasts_is_told_once_until_it_is_over_and_again_the_next_day(
    bench: Bench, at: time_machine.Traveller
):
    told = []
    for _ in range(25):
        told.append(tell(bench, lasts=True))
        at.shift(timedelta(hours=1))

    assert (told.count(True), told[0], told[24]) == (2, True, True)


def test_what_comes_back_within_the_hour_is_told_when_the_hour_is_over(
    bench: Bench, at: time_machine.Traveller
):
    tell(bench, lasts=True)
    bench.write(lambda connection: alerts.end(connection, bench.row(Alert).id))
    at.shift(timedelta(minutes=30))
    quiet = tell(bench, lasts=True)
    at.shift(timedelta(minutes=31))

    assert (quiet, tell(bench, lasts=True)) == (False, True)
    assert len(bench.rows(Alert)) == 2


def test_many_who_find_the_same_at_once_tell_it_once(bench: Bench):
    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(lambda _: tell(bench), range(6)))

    assert told.count(True) == 1
    assert bench.row(Alert).more == 5


def test_a_person_without_a_channel_gets_a_notice_and_no_task(bench: Bench, person: Callable[..., str]):
    user_id = person()

    tell(bench)

    notice = bench.row(AlertNotice)
    assert (notice.user_id, notice.task_id, notice.read_at) == (user_id, None, None)
    assert bench.rows(Task) == []


def test_each_channel_has_its_action(bench: Bench, person: Callable[..., str]):
    accounts = {
        key: bench.add(factories.ConnectionFactory, integration=key, healthy=True)
        for key in ("smtp", "sendgrid", "gmail", "slack", "slack_app")
    }
    for key in ("smtp", "sendgrid", "gmail"):
        person(channel="mail", connection_id=accounts[key])
    person(channel="chat", connection_id=accounts["slack"])
    person(channel="chat", connection_id=accounts["slack_app"], address="#alerts")
    person(channel="webhook", address="https://ops.example/alerts")

    tell(bench, subject_id="rul_1")

    tasks = {row.action: row for row in bench.rows(Task)}
    assert set(tasks) == {
        "smtp.send", "sendgrid.send", "gmail.send", "slack.message", "slack_app.post", "http.request",
    }  # fmt: skip
    for key, row in tasks.items():
        action = bench.engine.catalogue.action(key)
        assert action is not None
        action.params.model_validate(row.params)
    assert "http://bitqueue.test/rules/rul_1" in tasks["smtp.send"].params["text"]
    assert tasks["http.request"].params["json"]["kind"] == "failed"
    assert {row.queue_id for row in tasks.values()} == {bench.row(Queue, name="alerts").id}


def test_nothing_is_sent_through_a_broken_connection_nor_to_who_does_not_want_it(
    bench: Bench, person: Callable[..., str]
):
    broken = bench.add(factories.ConnectionFactory, healthy=False)
    working = bench.add(factories.ConnectionFactory, healthy=True)
    person(channel="mail", connection_id=broken)
    person(channel="mail", connection_id=working, kinds=["disk"])
    person(channel="mail", connection_id=working)

    tell(bench, through=working)

    assert bench.rows(Task) == []
    assert len(bench.rows(AlertNotice)) == 2


def test_another_workspaces_connection_sends_nothing(bench: Bench, person: Callable[..., str]):
    theirs = workspace(bench.engine, bench.provider).add(factories.ConnectionFactory, healthy=True)
    person(channel="mail", connection_id=theirs)

    tell(bench)

    assert bench.rows(Task) == []


def test_a_secret_in_an_address_is_sealed_and_not_shown(bench: Bench, person: Callable[..., str]):
    person(channel="webhook", address="https://ops.example/alerts?token=s3cret")

    tell(bench)

    row = bench.row(Task)
    assert "s3cret" not in str(row.params)
    assert row.params_sealed


def test_an_alert_that_cannot_be_stored_leaves_no_message(bench: Bench, person: Callable[..., str]):
    person(channel="webhook", address="https://ops.example/alerts")
    cause = Cause(bench.workspace_id, AlertKind.DISK, "disk", "full", "full")

    def unit(connection: sa.Connection) -> None:
        alerts.tell(connection, bench.engine, cause)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        bench.write(unit)

    assert (bench.rows(Task), bench.rows(Alert)) == ([], [])
