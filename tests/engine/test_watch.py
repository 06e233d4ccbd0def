"""What the tick finds and tells of: standstills, broken connections, failures and full disks, each once."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from app.database import write_connection
from app.engine import disk, schedule, tick, watch
from app.models import (
    Alert,
    AlertKind,
    AlertNotice,
    Connection,
    Event,
    Membership,
    Rule,
    Run,
    Storage,
    Trigger,
    TriggerKind,
    User,
)
from tests import factories
from tests.engine.conftest import Bench, step

START = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
EVERY = {"every": 10, "unit": "minutes", "zone": "UTC"}


@pytest.fixture
def at() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def short_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick that stays for the next second would wait for a clock that stands."""
    monkeypatch.setattr(tick, "_STAY_S", 0.0)


@pytest.fixture
def every_ten(bench: Bench) -> Callable[..., str]:
    """The id of a schedule's trigger that comes every ten minutes."""

    def make(missed: str = "once", **more: Any) -> str:
        due_at = more.pop("next_due_at", START + timedelta(minutes=5))
        armed = bench.arm(
            step("tell"), kind=TriggerKind.SCHEDULE, type="schedule.every", params=EVERY | {"missed": missed},
            next_due_at=due_at, armed_at=START, **more,
        )  # fmt: skip
        return armed.trigger_id

    return make


def look(bench: Bench, at: time_machine.Traveller) -> int:
    at.shift(watch.EVERY)
    return watch.look(bench.engine)


@pytest.mark.parametrize(("policy", "runs"), [("once", 1), ("all", 12), ("skip", 0)])
def test_two_frozen_hours_make_one_alert_and_the_chosen_catch_up(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str], policy: str, runs: int
):
    every_ten(policy)
    tick.run(bench.engine)

    at.shift(timedelta(hours=2))
    for _ in range(20):
        at.shift(timedelta(seconds=1))
        tick.run(bench.engine)

    (alert,) = bench.rows(Alert)
    assert alert.kind is AlertKind.STUCK
    assert "12 times passed" in alert.sentence
    assert "not started for 115 min" in alert.sentence
    assert len(bench.rows(Run)) == runs
    assert bench.row(Trigger).next_due_at == START + timedelta(hours=2, minutes=5)


def test_the_clock_stands_while_others_look_and_its_return_makes_no_second_alert(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    every_ten()
    for _ in range(12):
        at.shift(timedelta(minutes=10))
        look(bench, at)

    tick.run(bench.engine)
    look(bench, at)

    (alert,) = bench.rows(Alert)
    assert alert.over_at is not None
    assert alert.sentence.startswith("Probe missed its times")


def test_one_missed_time_is_no_standstill(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    every_ten()
    at.shift(timedelta(minutes=9))

    tick.run(bench.engine)

    assert len(bench.rows(Run)) == 1
    assert bench.rows(Alert) == []


@pytest.mark.parametrize(("choice", "runs"), [("once", 1), ("all", 12), ("skip", 0)])
def test_what_was_skipped_can_be_caught_up_later_and_only_once(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str], choice: Any, runs: int
):
    trigger_id = every_ten("skip")
    at.shift(timedelta(hours=2))
    tick.run(bench.engine)
    assert bench.row(Trigger, id=trigger_id).missed == 12

    started = [catch_up(bench, choice), catch_up(bench, choice)]

    assert started == [runs, 0]
    assert len(bench.rows(Event)) == runs
    assert bench.row(Trigger, id=trigger_id).missed_from is None


def test_a_catch_up_of_all_leaves_out_what_has_run(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    every_ten("once")
    at.shift(timedelta(hours=2))
    tick.run(bench.engine)

    started = catch_up(bench, "all")

    assert (started, len(bench.rows(Event))) == (11, 12)


def test_a_catch_up_while_the_clock_still_stands_moves_the_schedule_on(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    trigger_id = every_ten()
    at.shift(timedelta(hours=2))

    assert catch_up(bench, "all") == 12
    assert bench.row(Trigger, id=trigger_id).next_due_at == START + timedelta(hours=2, minutes=5)


def test_a_long_line_is_caught_up_in_parts(bench: Bench, at: time_machine.Traveller):
    params = {"every": 1, "unit": "seconds", "zone": "UTC", "missed": "skip"}
    bench.arm(
        step("tell"), kind=TriggerKind.SCHEDULE, type="schedule.every", params=params, next_due_at=START
    )
    at.shift(timedelta(seconds=1500))
    schedule.fire_due(bench.engine)

    started = [catch_up(bench, "all") for _ in range(3)]

    # The newest came on time and ran by itself.
    assert started == [1000, 500, 0]


def catch_up(bench: Bench, choice: Any) -> int:
    row = bench.row(Trigger)
    unit = bench.write(lambda c: schedule.catch_up(c, bench.engine.catalogue, row, choice))
    return int(unit)


def test_a_trigger_that_nobody_starts_is_told_of_and_found_mended(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    trigger_id = every_ten(next_due_at=START - timedelta(minutes=12))

    look(bench, at)
    stuck = bench.row(Alert)
    bench.set(bench.row(Trigger, id=trigger_id), next_due_at=START + timedelta(minutes=5))
    look(bench, at)

    assert (stuck.over_at, stuck.subject_id) == (None, bench.row(Rule).id)
    assert bench.row(Alert).over_at is not None


def test_a_broken_connection_is_told_of_once(bench: Bench, at: time_machine.Traveller):
    bench.add(factories.ConnectionFactory, name="Office", healthy=False, health_cause="password refused")

    told = [look(bench, at) for _ in range(5)]

    assert told == [1, 0, 0, 0, 0]
    assert bench.row(Alert).sentence == "the connection Office is broken: password refused; connect it again"
    assert bench.row(Alert).subject_id == bench.row(Connection).id


def fail(bench: Bench, at: time_machine.Traveller, armed: Any, cause: str) -> None:
    bench.accept(armed)
    at.shift(timedelta(milliseconds=1))
    newest = max(bench.rows(Run), key=lambda run: run.id)
    bench.set(newest, state="failed", cause=cause, finished_at=datetime.now(UTC))


def test_failures_of_a_rule_are_counted_into_one_alert(bench: Bench, at: time_machine.Traveller):
    armed = bench.arm(step("tell"))
    look(bench, at)
    for number in range(3):
        fail(bench, at, armed, f"tell: no answer {number}")

    told = [look(bench, at) for _ in range(4)]
    fail(bench, at, armed, "tell: again")
    later = [look(bench, at) for _ in range(4)]

    assert (sum(told), sum(later)) == (1, 0)
    assert bench.row(Alert).sentence == "Probe failed 3 times: tell: no answer 2"
    assert bench.row(Alert).more == 1


def test_no_failure_is_missed_or_counted_twice(bench: Bench, at: time_machine.Traveller):
    armed = bench.arm(step("tell"))
    look(bench, at)
    for _ in range(40):
        fail(bench, at, armed, "tell: no")
        at.shift(timedelta(seconds=2.5))
        watch.look(bench.engine)
    for _ in range(4):
        look(bench, at)

    alert = bench.row(Alert)
    first = int(alert.sentence.split(" failed ")[1].split(" times")[0]) if "times" in alert.sentence else 1
    assert first + alert.more == 40


def test_failures_before_the_first_look_are_history(bench: Bench, at: time_machine.Traveller):
    fail(bench, at, bench.arm(step("tell")), "tell: no")
    at.shift(timedelta(hours=1))

    assert [look(bench, at), look(bench, at)] == [0, 0]


def test_storage_at_ninety_percent_is_told_of(bench: Bench, at: time_machine.Traveller):
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.text("UPDATE workspaces SET budget_bytes = 1000"))
        row = {"workspace_id": bench.workspace_id, "subject_id": "rul_1", "count": 1}
        connection.execute(sa.insert(Storage), row | {"bytes": 899})
    before = look(bench, at)
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.update(Storage).values(bytes=900))

    assert (before, look(bench, at)) == (0, 1)
    assert bench.row(Alert).title == "90 % of the storage is used"


def test_a_full_disk_is_told_where_an_operator_is(
    bench: Bench, at: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
):
    user = factories.UserFactory.build(session_epoch=0, operator=True, zone="UTC", theme="auto")
    with write_connection(bench.engine.database) as connection:
        values = {name: value for name, value in vars(user).items() if name in User.__table__.c}
        connection.execute(sa.insert(User), values)
        member = {"id": "mem_1", "user_id": user.id, "role": "owner", "created_at": START}
        connection.execute(sa.insert(Membership), member | {"workspace_id": bench.workspace_id})
    bench.add(factories.QueueFactory, name="other")
    room = disk.Room(free_bytes=1, reserve_bytes=64 * 1024**2)
    monkeypatch.setattr(disk.watch(bench.engine.database), "room", lambda: room)

    look(bench, at)

    assert bench.row(Alert).cause == "disk"
    assert bench.row(AlertNotice).user_id == user.id


def test_looks_that_come_together_are_one(bench: Bench, at: time_machine.Traveller):
    bench.add(factories.ConnectionFactory, healthy=False)

    told = [watch.look(bench.engine) for _ in range(5)]

    assert told == [1, 0, 0, 0, 0]


def test_a_clock_that_is_set_back_does_not_stop_the_looks(bench: Bench, at: time_machine.Traveller):
    look(bench, at)
    at.shift(timedelta(days=-1))
    bench.add(factories.ConnectionFactory, healthy=False)

    assert watch.look(bench.engine) == 1


def turn_on(bench: Bench, definition: dict[str, Any] | None = None) -> None:
    rule = bench.row(Rule)
    bench.set(rule, enabled=True, published=1)
    if definition:
        with write_connection(bench.engine.database) as connection:
            version = {
                "id": "ver_2", "workspace_id": bench.workspace_id, "rule_id": rule.id, "number": 2,
                "definition": definition, "created_by": "usr_1", "created_at": START,
            }  # fmt: skip
            connection.execute(sa.insert(factories.RuleVersion), version)
        bench.set(rule, published=2)


def definition_of(trigger: Any, **params: Any) -> dict[str, Any]:
    return {"trigger": {"type": trigger.type, "params": trigger.params | params}, "steps": []}


def test_a_schedule_without_a_next_time_is_armed_where_it_left_off(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    trigger_id = every_ten(next_due_at=None, last_fired_at=START - timedelta(minutes=15))
    turn_on(bench, definition_of(bench.row(Trigger)))

    look(bench, at)
    tick.run(bench.engine)

    row = bench.row(Trigger, id=trigger_id)
    assert row.next_due_at == START + timedelta(minutes=5)
    assert row.version_id == "ver_2"


def test_a_schedule_that_is_over_stays_so(bench: Bench, at: time_machine.Traveller):
    params = {"at": "2026-11-21T09:00:00Z", "zone": "UTC", "missed": "skip"}
    bench.arm(
        step("tell"), kind=TriggerKind.SCHEDULE, type="schedule.once", params=params,
        next_due_at=START - timedelta(minutes=5), armed_at=START - timedelta(days=1),
    )  # fmt: skip
    turn_on(bench, definition_of(bench.row(Trigger)))

    for _ in range(4):
        at.shift(watch.EVERY)
        tick.run(bench.engine)

    assert (bench.rows(Run), bench.rows(Alert)) == ([], [])
    assert bench.row(Trigger).next_due_at is None


def test_a_poll_without_a_next_look_is_armed_at_once(bench: Bench, at: time_machine.Traveller):
    bench.arm(kind=TriggerKind.POLL, type="rss.new_item", params={"url": "https://a.example/feed"})
    turn_on(bench, definition_of(bench.row(Trigger)))

    look(bench, at)

    assert bench.row(Trigger).next_due_at == START + watch.EVERY


def test_a_rule_that_is_off_is_not_armed(
    bench: Bench, at: time_machine.Traveller, every_ten: Callable[..., str]
):
    every_ten(next_due_at=None)

    look(bench, at)

    assert bench.row(Trigger).next_due_at is None
