"""The health of a trigger, as its row says it."""

from datetime import UTC, datetime, timedelta

import pytest

from app.engine.trigger_health import Facts, Health, judge
from app.models import TriggerKind

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def every(minutes: int):
    return lambda instant: instant + timedelta(minutes=minutes)


def never(_instant: datetime) -> None:
    return None


def scheduled(due_in: timedelta | None, **more) -> Facts:
    due_at = None if due_in is None else NOW + due_in
    return Facts(TriggerKind.SCHEDULE, due_at, NOW - timedelta(hours=1), **more)


def polling(due_in: timedelta, looked: timedelta, **more) -> Facts:
    return Facts(TriggerKind.POLL, NOW + due_in, NOW - looked, **more)


@pytest.mark.parametrize(
    ("facts", "health"),
    [
        (scheduled(5 * MINUTE), Health.ARMED),
        (scheduled(timedelta(seconds=-59)), Health.ARMED),
        (scheduled(-MINUTE), Health.LATE),
        (scheduled(-10.9 * MINUTE), Health.LATE),
        (scheduled(-11 * MINUTE), Health.STUCK),
        (scheduled(-120 * MINUTE), Health.STUCK),
        (scheduled(None), Health.STUCK),
        (scheduled(5 * MINUTE, connected=False), Health.DISCONNECTED),
        (scheduled(-120 * MINUTE, connected=False), Health.DISCONNECTED),
        (polling(9 * MINUTE, MINUTE), Health.ARMED),
        (polling(-2 * MINUTE, 12 * MINUTE), Health.ARMED),
        (polling(-3 * MINUTE, 13 * MINUTE), Health.LATE),
        (polling(-13 * MINUTE, 23 * MINUTE), Health.STUCK),
        (polling(9 * MINUTE, MINUTE, last_error="away", missed=1), Health.LATE),
        (polling(9 * MINUTE, MINUTE, last_error="away", missed=2), Health.STUCK),
    ],
)
def test_a_trigger_that_comes_every_ten_minutes(facts: Facts, health: Health):
    assert judge(facts, NOW, every(10)) is health


def test_a_poll_whose_worker_dies_at_each_look_is_stuck_though_its_next_look_is_ahead():
    dying = polling(9 * MINUTE, 24 * MINUTE)

    assert judge(dying, NOW, every(10)) is Health.STUCK


def test_a_schedule_of_a_single_time_that_has_come_is_armed():
    assert judge(scheduled(None), NOW, never) is Health.ARMED


def test_a_schedule_that_cannot_be_read_any_more_is_stuck():
    assert judge(scheduled(None, last_error="set the times again"), NOW, never) is Health.STUCK


@pytest.mark.parametrize("kind", [TriggerKind.HOOK, TriggerKind.MANUAL])
def test_what_others_start_is_armed_while_its_connection_works(kind: TriggerKind):
    facts = Facts(kind, None, None)

    assert judge(facts, NOW, never) is Health.ARMED
    assert judge(Facts(kind, None, None, connected=False), NOW, never) is Health.DISCONNECTED
