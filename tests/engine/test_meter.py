import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import time_machine

from app.engine.commit import GroupCommit
from app.engine.meter import UsageMeter
from app.errors import UnavailableError
from app.models import Usage
from app.sdk.context import Limits
from app.sdk.errors import RejectedError, TemporaryError
from tests.engine.conftest import workspace

NONE = Limits()
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def meter(bench):
    return UsageMeter(bench.engine.writer, bench.workspace_id, "con_1", "rul_1")


def used(bench, subject="con_1"):
    return [(row.day, row.calls, row.tokens, row.micros) for row in bench.rows(Usage, subject_id=subject)]


def test_calls_tokens_and_money_are_counted_by_connection_and_by_rule(bench, meter):
    with time_machine.travel(NOON, tick=False):
        meter.reserve(NONE, NONE)
        meter.record(tokens=120, micros=450)
        meter.reserve(NONE, NONE)
        meter.record(tokens=30, micros=50)

    assert used(bench, "con_1") == used(bench, "rul_1") == [("2026-11-21", 2, 150, 500)]


def test_a_task_from_the_api_counts_for_its_connection_alone(bench, meter):
    replace(meter, rule_id=None).reserve(NONE, Limits(calls_a_day=0))

    assert [row.subject_id for row in bench.rows(Usage)] == ["con_1"]


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(calls_a_day=2), "the limit of 2 calls a day of this connection is reached"),
        (Limits(calls_a_month=2), "2 calls a month of this connection"),
        (Limits(tokens_a_day=2000), "2,000 tokens a day"),
        (Limits(tokens_a_month=1500), "1,500 tokens a month"),
        (Limits(micros_a_day=5_000_000), r"\$5.00 a day"),
        (Limits(micros_a_month=4_500_000), r"\$4.50 a month"),
        (Limits(calls_a_day=0), "0 calls a day"),
    ],
)
def test_a_limit_that_is_reached_stops_the_next_call_and_names_itself(bench, meter, limits, words):
    for _ in range(2):
        meter.reserve(NONE, NONE)
        meter.record(tokens=1000, micros=2_500_000)

    with pytest.raises(RejectedError, match=words):
        meter.reserve(limits, NONE)

    assert [row.calls for row in bench.rows(Usage)] == [2, 2]


def test_the_limit_of_a_rule_stops_that_rule_and_no_other(bench, meter):
    limits = Limits(calls_a_day=1)
    meter.reserve(NONE, limits)

    with pytest.raises(RejectedError, match="1 calls a day of this rule"):
        meter.reserve(NONE, limits)
    replace(meter, rule_id="rul_2").reserve(NONE, limits)

    assert [row.calls for row in bench.rows(Usage, subject_id="con_1")] == [2]


def test_a_new_day_begins_at_nothing_and_a_new_month_too(meter):
    limits = Limits(calls_a_day=1, calls_a_month=2)
    with time_machine.travel(datetime(2026, 11, 29, 23, 59, tzinfo=UTC), tick=False):
        meter.reserve(limits, NONE)
    with time_machine.travel(datetime(2026, 11, 30, 0, 1, tzinfo=UTC), tick=False):
        meter.reserve(limits, NONE)
        with pytest.raises(RejectedError, match="a day"):
            meter.reserve(Limits(calls_a_day=1), NONE)
        with pytest.raises(RejectedError, match="a month"):
            meter.reserve(Limits(calls_a_month=2), NONE)

    with time_machine.travel(datetime(2026, 12, 1, 0, 1, tzinfo=UTC), tick=False):
        meter.reserve(limits, NONE)


def test_an_answer_that_comes_after_midnight_is_counted(bench, meter):
    with time_machine.travel(datetime(2026, 11, 21, 23, 59, tzinfo=UTC), tick=False):
        meter.reserve(NONE, NONE)
    with time_machine.travel(datetime(2026, 11, 22, 0, 1, tzinfo=UTC), tick=False):
        meter.record(tokens=10, micros=20)

    assert sorted(used(bench)) == [("2026-11-21", 1, 0, 0), ("2026-11-22", 0, 10, 20)]


def test_another_workspaces_use_does_not_count(bench, meter, engine, provider):
    other = workspace(engine, provider)
    limits = Limits(calls_a_day=1)
    replace(meter, workspace_id=other.workspace_id).reserve(limits, NONE)

    meter.reserve(limits, NONE)

    assert [row.calls for row in bench.rows(Usage, subject_id="con_1")] == [1, 1]


def test_it_warns_from_eighty_percent_on_and_marks_it_once(bench, meter):
    limits = Limits(calls_a_day=5, micros_a_month=10_000_000)

    said = [meter.reserve(limits, NONE) for _ in range(3)]
    fourth = meter.reserve(limits, NONE)
    marked = bench.rows(Usage, subject_id="con_1")[0].warned_at
    fifth = meter.reserve(limits, NONE)

    assert said == [None] * 3
    assert fourth == "4 of 5 calls a day of this connection are used"
    assert fifth == "5 of 5 calls a day of this connection are used"
    assert marked is not None
    assert bench.rows(Usage, subject_id="con_1")[0].warned_at == marked


def test_the_limit_that_is_nearest_is_the_one_that_warns(meter):
    meter.reserve(NONE, NONE)
    meter.record(tokens=0, micros=9_500_000)

    said = meter.reserve(Limits(calls_a_day=2, micros_a_month=10_000_000), Limits(calls_a_day=100))

    assert said == "2 of 2 calls a day of this connection are used"
    assert meter.reserve(Limits(micros_a_month=10_000_000), NONE) == (
        "$9.50 of $10.00 a month of this connection are used"
    )


def test_a_thousand_calls_of_twenty_threads_stop_at_exactly_a_hundred(bench):
    """Two writers, as two processes have: their commits meet in the database only."""
    writers = [GroupCommit(bench.engine.database) for _ in range(2)]
    allowed, refused = [], []
    barrier = threading.Barrier(20)

    def loop(number):
        meter = UsageMeter(writers[number % 2], bench.workspace_id, "con_1", f"rul_{number % 3}")
        barrier.wait()
        for _ in range(50):
            try:
                meter.reserve(Limits(calls_a_day=100), NONE)
                allowed.append(1)
            except RejectedError as error:
                refused.append(str(error))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(loop, range(20)))

    assert (len(allowed), len(refused)) == (100, 900)
    assert sum(row.calls for row in bench.rows(Usage, subject_id="con_1")) == 100
    assert set(refused) == {
        "the limit of 100 calls a day of this connection is reached; "
        "raise it in the connection or wait until the day ends (UTC)"
    }


class Away:
    """A writer whose database is away for the first tries."""

    def __init__(self, writer, tries):
        self.writer, self.left = writer, tries

    def submit(self, unit):
        if self.left:
            self.left -= 1
            raise UnavailableError("the database cannot be written now; nothing was stored")
        return self.writer.submit(unit)


def test_without_the_database_nothing_is_called(bench, meter):
    with pytest.raises(TemporaryError) as failure:
        replace(meter, writer=Away(bench.engine.writer, 1)).reserve(NONE, NONE)

    assert failure.value.sent is False


def test_what_was_used_is_counted_when_the_database_comes_back(bench, meter):
    replace(meter, writer=Away(bench.engine.writer, 1)).record(tokens=5, micros=7)

    assert [(row.tokens, row.micros) for row in bench.rows(Usage)] == [(5, 7)] * 2
