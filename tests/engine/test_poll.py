"""Poll triggers on a real database: each new thing is one event, also where a look is cut short."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from app import clock, ids
from app.engine import secrets
from app.engine.core import Engine
from app.engine.poll import Poller, look
from app.models import Connection, Event, Pace, Run, Task, Trigger, TriggerKind
from app.sdk.declare import Batch, Catalogue, Integration, Occurrence
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import Settings, setting
from tests import factories
from tests.engine.conftest import Bench, limit, step


@dataclass
class Shelf:
    """The service that is looked at."""

    items: list[str] = field(default_factory=list)
    trouble: Exception | None = None


class Place(Settings):
    every_minutes: int = setting("Look every … minutes", 5, ge=1)


def parcels(shelf: Shelf) -> Integration:
    integration = Integration("tests.parcels", "Parcels", "tell of parcels", need="none")

    @integration.poll("New parcel", every=timedelta(seconds=30), samples=[{"parcel": "a"}])
    def parcel(_ctx: Any, _connection: Any, params: Place, cursor: Any, recent_keys: list[str]) -> Batch:
        """Tells of each parcel on the shelf."""
        if shelf.trouble:
            raise shelf.trouble
        new = [item for item in shelf.items if item not in recent_keys]
        found = [] if cursor is None else [Occurrence(item, {"parcel": item}) for item in new]
        return Batch(found, len(shelf.items), [*recent_keys, *new])

    return integration


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def engine(engine: Engine, shelf: Shelf) -> Engine:
    known = dict(engine.catalogue.integrations)
    return replace(engine, catalogue=Catalogue(known | {"parcels": parcels(shelf)}))


@pytest.fixture
def due(bench: Bench) -> Iterator[str]:
    """The id of a poll trigger that is due now."""
    armed = bench.arm(
        step("tell"), kind=TriggerKind.POLL, type="parcels.parcel", params={}, next_due_at=clock.now()
    )
    return armed.trigger_id


def look_once(bench: Bench) -> int:
    """Everything that is due; how many looks began."""
    poller = Poller(bench.engine)
    began = poller.look_due()
    poller.join(10)
    return began


def make_due(bench: Bench, trigger_id: str) -> None:
    bench.set(bench.row(Trigger, id=trigger_id), next_due_at=clock.now())


def test_the_first_look_starts_nothing_and_remembers_what_is_there(
    bench: Bench, shelf: Shelf, due: str
) -> None:
    shelf.items = ["old"]

    look_once(bench)

    assert bench.rows(Event) == []
    assert bench.row(Trigger, id=due).recent_keys == ["old"]


def test_what_is_new_makes_one_event_each_and_a_run(bench: Bench, shelf: Shelf, due: str) -> None:
    look_once(bench)
    shelf.items = ["a", "b"]

    for _ in range(3):
        make_due(bench, due)
        look_once(bench)

    assert [event.data for event in bench.rows(Event)] == [{"parcel": "a"}, {"parcel": "b"}]
    assert len(bench.rows(Run)) == 2


def test_a_look_is_one_workers_and_the_next_is_due_later(bench: Bench, due: str) -> None:
    assert [look_once(bench), look_once(bench)] == [1, 0]

    next_due_at = bench.row(Trigger, id=due).next_due_at
    assert next_due_at > clock.now() + timedelta(minutes=4)


def test_a_rule_edited_during_a_look_keeps_its_cursor_and_loses_nothing(
    bench: Bench, shelf: Shelf, due: str
) -> None:
    look_once(bench)
    shelf.items = ["a"]
    row = bench.row(Trigger, id=due)

    stale = look(bench.engine, row, clock.now() - timedelta(hours=1))

    assert stale == 0
    make_due(bench, due)
    look_once(bench)
    assert [event.key for event in bench.rows(Event)] == ["a"]


@pytest.mark.parametrize(
    "trouble", [TemporaryError("the shelf is away", after=600), RejectedError("no such shelf")]
)
def test_a_failed_look_says_why_and_goes_on(bench: Bench, shelf: Shelf, due: str, trouble: Exception) -> None:
    look_once(bench)
    shelf.trouble = trouble
    make_due(bench, due)
    look_once(bench)
    failed = bench.row(Trigger, id=due)

    shelf.trouble, shelf.items = None, ["a"]
    make_due(bench, due)
    look_once(bench)

    assert failed.last_error == str(trouble)
    assert bench.row(Trigger, id=due).last_error is None
    assert [event.key for event in bench.rows(Event)] == ["a"]


def test_a_service_that_asks_for_time_gets_it(bench: Bench, shelf: Shelf, due: str) -> None:
    shelf.trouble = TemporaryError("slow down", after=3600)

    look_once(bench)

    assert bench.row(Trigger, id=due).next_due_at > clock.now() + timedelta(minutes=59)


@pytest.fixture
def account(bench: Bench) -> str:
    row_id = ids.new("con")
    sealed = secrets.seal(bench.engine.keyring, {"password": "p"}, bound_to=row_id)
    values = {"integration": "probe", "healthy": True, "settings": {"user": "u"}, "sealed": sealed}
    return bench.add(factories.ConnectionFactory, id=row_id, name="Parcels", **values)


@pytest.fixture
def looking(bench: Bench, due: str, account: str) -> str:
    """The id of a poll trigger that is due now and looks through the account."""
    bench.set(bench.row(Trigger, id=due), connection_id=account)
    return due


def test_a_refused_account_is_marked_broken(bench: Bench, shelf: Shelf, looking: str, account: str) -> None:
    shelf.trouble = AuthError("the key was revoked")

    look_once(bench)

    row = bench.row(Connection, id=account)
    assert (row.healthy, bench.row(Trigger, id=looking).last_error is not None) == (False, True)


def test_a_look_is_one_of_the_calls_that_its_connection_takes(
    bench: Bench, shelf: Shelf, looking: str, account: str
) -> None:
    limit(bench, account, 2)
    look_once(bench)
    for _ in range(2):
        bench.task(connection_id=account)

    bench.work()

    assert sorted(task.state for task in bench.rows(Task)) == ["succeeded", "waiting"]


def test_a_look_does_not_stand_in_line_behind_tasks(
    bench: Bench, shelf: Shelf, looking: str, account: str
) -> None:
    limit(bench, account, 1)
    for _ in range(3):
        bench.task(connection_id=account)
    bench.work()

    look_once(bench)

    assert bench.row(Trigger, id=looking).cursor == 0


@pytest.fixture
def refused(bench: Bench, shelf: Shelf, looking: str, account: str) -> str:
    """The trigger, after a look that was too much for the service, and a task after it."""
    shelf.trouble = TemporaryError("slow down", after=600)
    look_once(bench)
    bench.task(connection_id=account)
    bench.work()
    return looking


def test_a_service_that_refuses_a_look_is_left_alone_by_tasks_and_looks(
    bench: Bench, shelf: Shelf, refused: str
) -> None:
    shelf.trouble = RejectedError("nobody may look now")
    make_due(bench, refused)
    look_once(bench)

    (task,) = bench.rows(Task)
    trigger = bench.row(Trigger, id=refused)
    assert task.cause == "paced: waits for Parcels, which is left alone for a while: slow down"
    assert trigger.last_error == "waits for Parcels, which is left alone for a while: slow down"
    assert trigger.missed == 1
    assert trigger.next_due_at > clock.now() + timedelta(minutes=9)


def test_a_look_that_finds_the_service_back_brings_what_waits(
    bench: Bench, shelf: Shelf, refused: str, account: str
) -> None:
    shelf.trouble = None
    with time_machine.travel(clock.now() + timedelta(minutes=15), tick=True):
        make_due(bench, refused)
        look_once(bench)
        bench.engine.writer.flush()

        assert bench.row(Pace, connection_id=account).ailing_since is None
