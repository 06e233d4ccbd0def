"""Schedules: the right local time, once, through every clock change."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sdk.slots import BadSlotsError, CronSlots, EverySlots, OnceSlots, Slots, describe, due_slots

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"]
ZONES += ["Africa/Casablanca", "Pacific/Apia", "UTC"]
EXPRESSIONS = ["30 2 * * *", "*/15 * * * *", "0 0 * * *", "15,45 1-3 * * *", "0 9 * * 1-5", "59 23 L * *"]
EXPRESSIONS += ["0 */2 * * 0", "30 1 1,31 * *", "0 0 29 2 *"]
# Every kind of clock change in these zones, back to where daylight saving still was in São Paulo.
INSTANTS = st.datetimes(
    datetime.fromisoformat("2008-01-01"), datetime.fromisoformat("2030-01-01"), timezones=st.just(UTC)
)
CHANGES = st.sampled_from(
    [
        "2026-03-29T01:00Z",
        "2026-10-25T01:00Z",
        "2026-03-08T07:00Z",
        "2026-11-01T06:00Z",
        "2026-10-03T15:30Z",
        "2026-04-04T15:00Z",
        "2018-11-04T03:00Z",
        "2018-02-18T02:00Z",
        "2026-02-15T02:00Z",
        "2011-12-30T10:00Z",
    ]
)
NEAR_CHANGES = st.builds(
    lambda change, minutes: datetime.fromisoformat(change) + timedelta(minutes=minutes),
    CHANGES,
    st.integers(-180, 180),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def following(slots: Slots, after: str, count: int) -> list[str]:
    found = due_slots(slots, utc(after), utc("2100-01-01"), count)
    return [slot.strftime("%Y-%m-%d %H:%M") for slot in found]


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28 12:00",
            ["2026-03-29 01:00", "2026-03-30 00:30", "2026-03-31 00:30"],
        ),
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24 12:00",
            ["2026-10-25 00:30", "2026-10-26 01:30", "2026-10-27 01:30"],
        ),
        (
            "America/New_York",
            "30 2 * * *",
            "2026-03-07 12:00",
            ["2026-03-08 07:00", "2026-03-09 06:30", "2026-03-10 06:30"],
        ),
        (
            "America/New_York",
            "30 1 * * *",
            "2026-10-31 12:00",
            ["2026-11-01 05:30", "2026-11-02 06:30", "2026-11-03 06:30"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-02 16:00",
            ["2026-10-03 15:30", "2026-10-04 15:15", "2026-10-05 15:15"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-03 16:00",
            ["2026-04-04 14:45", "2026-04-05 15:15", "2026-04-06 15:15"],
        ),
        ("Asia/Kolkata", "0 9 * * 1-5", "2026-11-20 12:00", ["2026-11-23 03:30", "2026-11-24 03:30"]),
        ("Asia/Kolkata", "0 0 31 * *", "2026-01-31 12:00", ["2026-03-30 18:30", "2026-05-30 18:30"]),
        ("Pacific/Apia", "0 0 * * *", "2011-12-29 09:00", ["2011-12-29 10:00", "2011-12-30 10:00"]),
        (
            "Europe/Berlin",
            "*/30 2 * * *",
            "2026-10-24 12:00",
            ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-26 01:00"],
        ),
        ("Europe/Berlin", "0,30 2,3 * * *", "2026-03-28 12:00", ["2026-03-29 01:00", "2026-03-29 01:30"]),
        ("UTC", "0 0 29 2 *", "2026-11-21 00:00", ["2028-02-29 00:00", "2032-02-29 00:00"]),
    ],
)
def test_cron_keeps_local_time(zone: str, expression: str, after: str, expected: list[str]) -> None:
    assert following(CronSlots(expression, zone), after, len(expected)) == expected


def test_seconds_are_allowed() -> None:
    slot = CronSlots("*/10 * * * * *", "UTC").next_after(utc("2026-01-01 00:00:05"))

    assert slot == utc("2026-01-01 00:00:10")


def test_a_cron_that_never_comes_has_no_slot() -> None:
    assert CronSlots("0 0 30 2 1", "UTC").next_after(utc("2026-01-01")) is not None
    assert CronSlots("* * * * *", "UTC").next_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert CronSlots("0 0 29 2 1#1", "UTC").next_after(utc("2026-01-01")) is not None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), INSTANTS | NEAR_CHANGES)
def test_slots_rise_and_no_wall_clock_time_comes_twice(expression: str, name: str, after: datetime) -> None:
    zone = ZoneInfo(name)

    found = due_slots(CronSlots(expression, name), after, after + timedelta(days=400), 12)

    walls = [slot.astimezone(zone).replace(tzinfo=None) for slot in found]
    assert [after, *found] == sorted({after, *found})
    assert len(set(walls)) == len(walls)
    assert all(slot.tzinfo is UTC for slot in found)
    assert all(slot.astimezone(zone).fold == 0 for slot in found)
    assert all(matches(expression, wall) or follows_a_gap(wall, zone) for wall in walls)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), NEAR_CHANGES | INSTANTS)
def test_no_slot_is_left_out(expression: str, name: str, after: datetime) -> None:
    zone = ZoneInfo(name)
    until = CronSlots(expression, name).next_after(after)
    assert until is not None

    first = after.replace(second=0, microsecond=0) + timedelta(minutes=1)
    minutes = (first + timedelta(minutes=n) for n in range(60 * 12))
    between = [minute.astimezone(zone) for minute in takewhile(lambda minute: minute < until, minutes)]

    assert not [
        local for local in between if local.fold == 0 and matches(expression, local.replace(tzinfo=None))
    ]


def matches(expression: str, wall: datetime) -> bool:
    return next(CronSim(expression, wall - timedelta(seconds=1))) == wall


def follows_a_gap(wall: datetime, zone: ZoneInfo) -> bool:
    """The minute before this one did not exist."""
    before = (wall - timedelta(minutes=1)).replace(tzinfo=zone)
    return before.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != before.replace(tzinfo=None)


def test_every_counts_from_its_anchor_through_clock_changes() -> None:
    slots = EverySlots(every_s=5400, anchor=datetime(2026, 3, 29, 0, 0, tzinfo=ZoneInfo("Europe/Berlin")))

    assert following(slots, "2026-03-28 00:00", 1) == ["2026-03-28 23:00"]
    assert following(slots, "2026-03-28 23:00", 3) == [
        "2026-03-29 00:30",
        "2026-03-29 02:00",
        "2026-03-29 03:30",
    ]


@given(st.integers(1, 10**7), INSTANTS, INSTANTS)
def test_every_lies_on_its_grid_and_soon_after(every_s: int, anchor: datetime, after: datetime) -> None:
    slot = EverySlots(every_s, anchor).next_after(after)

    assert slot is not None
    assert slot > after
    assert (slot - anchor) % timedelta(seconds=every_s) == timedelta(0)
    assert slot == anchor or slot - after <= timedelta(seconds=every_s)


def test_once_comes_once() -> None:
    slots = OnceSlots(datetime(2026, 11, 21, 9, 0, tzinfo=ZoneInfo("Asia/Kolkata")))

    assert slots.next_after(utc("2026-11-21 03:29")) == utc("2026-11-21 03:30")
    assert slots.next_after(utc("2026-11-21 03:30")) is None


def test_due_slots_stand_after_the_last_and_up_to_now() -> None:
    slots = EverySlots(60, utc("2026-01-01 00:00"))

    found = due_slots(slots, utc("2026-01-01 00:01"), utc("2026-01-01 00:03"), 10)

    assert found == [utc("2026-01-01 00:02"), utc("2026-01-01 00:03")]
    assert len(due_slots(slots, utc("2026-01-01"), utc("2027-01-01"), 2)) == 2


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("61 * * * *", r'"61 \* \* \* \*" is not a cron expression: minute 61 is not possible here \(0-59\)'),
        ("0 24 * * *", "hour 24 is not possible here"),
        ("0 0 31 2 *", "day-of-month 31 is not possible here"),
        ("* * * * 1#9", "day-of-week 1#9"),
        ("70 * * * * *", "second 70"),
        ("@daily", "it needs 5 parts, not 1"),
        ("", "it needs 5 parts, not 0"),
        ("9" * 5000, "at most 200 characters"),
        ("* * * * ²L", "day-of-week ²L"),
    ],
)
def test_a_bad_expression_is_explained_with_an_example(expression: str, fault: str) -> None:
    with pytest.raises(BadSlotsError, match=fault + '.*; for example "0 9 '):
        CronSlots(expression, "UTC")


@given(st.text(alphabet="0123456789*/,-#LW MONSUJAN@", max_size=30))
def test_any_text_is_an_expression_or_is_refused(expression: str) -> None:
    with suppress(BadSlotsError):
        CronSlots(expression, "Europe/Berlin").next_after(utc("2026-01-01"))
        assert describe(expression, "Europe/Berlin")


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\x00b"])
def test_a_bad_zone_is_refused(zone: str) -> None:
    with pytest.raises(BadSlotsError, match="is not a time zone"):
        CronSlots("* * * * *", zone)


@pytest.mark.parametrize("every_s", [0, -1, 10**9])
def test_an_interval_out_of_bounds_is_refused(every_s: int) -> None:
    with pytest.raises(BadSlotsError, match="use 1 second to 366 days"):
        EverySlots(every_s, utc("2026-01-01"))


def test_an_instant_without_zone_is_refused() -> None:
    with pytest.raises(BadSlotsError, match="has no time zone"):
        OnceSlots(datetime.fromisoformat("2026-01-01"))


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 9 * * 1-5", "every weekday at 09:00, Asia/Kolkata"),
        ("5  9 * * *", "every day at 09:05, Asia/Kolkata"),
        ("0 9 * * 7", "every Sunday at 09:00, Asia/Kolkata"),
        ("0 0 L * *", "at 00:00 on the last day of every month, Asia/Kolkata"),
        ("* * * * *", "every minute, Asia/Kolkata"),
    ],
)
def test_an_expression_is_described(expression: str, words: str) -> None:
    assert describe(expression, "Asia/Kolkata") == words
