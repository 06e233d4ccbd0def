from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from app.integrations.schedule import Cron, Every, Once, cron, every, once
from app.sdk.fields import sentences


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_a_cron_follows_the_clock_of_its_zone():
    weekdays = Cron(expression="0 9 * * 1-5", zone="Europe/Berlin")

    assert cron(weekdays, at("2026-11-21T09:00")) == at("2026-11-23T08:00")
    assert cron(weekdays, at("2026-07-01T06:59")) == at("2026-07-01T07:00")


def test_a_time_that_summer_time_skips_comes_at_the_next_valid_minute():
    daily = Cron(expression="30 2 * * *", zone="Europe/Berlin")

    assert cron(daily, at("2026-03-28T12:00")) == at("2026-03-29T01:00")


def test_a_time_that_repeats_comes_once():
    daily = Cron(expression="30 2 * * *", zone="Europe/Berlin")

    first = cron(daily, at("2026-10-24T12:00"))

    assert first == at("2026-10-25T00:30")
    assert cron(daily, first) == at("2026-10-26T01:30")


@pytest.mark.parametrize(
    ("number", "unit", "expected"),
    [
        (10, "seconds", "2026-11-21T09:07:40"),
        (15, "minutes", "2026-11-21T09:15"),
        (6, "hours", "2026-11-21T12:00"),
        (1, "days", "2026-11-22T00:00"),
        (1, "weeks", "2026-11-23T00:00"),
    ],
)
def test_every_is_even_and_weeks_begin_on_monday(number, unit, expected):
    assert every(Every(every=number, unit=unit), at("2026-11-21T09:07:30")) == at(expected)


def test_a_slot_is_strictly_after():
    quarter = Every(every=15, unit="minutes")

    assert every(quarter, at("2026-11-21T09:15")) == at("2026-11-21T09:30")


@pytest.mark.parametrize(
    ("when", "zone", "expected"),
    [
        ("2026-12-24T18:00", "Europe/Berlin", "2026-12-24T17:00"),
        ("2026-12-24T18:00:05", "Asia/Kolkata", "2026-12-24T12:30:05"),
        ("2026-12-24T18:00Z", "Europe/Berlin", "2026-12-24T18:00"),
        ("2026-12-24T18:00+02:00", "UTC", "2026-12-24T16:00"),
        ("2026-12-31T23:30", "Pacific/Kiritimati", "2026-12-31T09:30"),
        ("2027-01-01T00:00", "Pacific/Pago_Pago", "2027-01-01T11:00"),
        ("2027-03-28T02:30", "Europe/Berlin", "2027-03-28T01:00"),
        ("2027-10-31T02:30", "Europe/Berlin", "2027-10-31T00:30"),
    ],
)
def test_once_is_on_the_clock_of_the_zone(when, zone, expected):
    params = Once(at=when, zone=zone)

    assert once(params, at("2026-11-21T09:00")) == at(expected)
    assert once(params, at(expected)) is None


@pytest.mark.parametrize(
    ("model", "fields", "where", "words"),
    [
        (Cron, {"expression": "0 9 * *"}, "expression", "not 4"),
        (Cron, {"expression": "0 25 * * *"}, "expression", "hour 25"),
        (Cron, {"expression": ""}, "expression", "is needed"),
        (Cron, {"expression": "0 9 * * *", "zone": "Berlin"}, "zone", "not a time zone"),
        (Cron, {"expression": "0 9 * * *", "zone": "../../etc/passwd"}, "zone", "not a time zone"),
        (Every, {"every": 0, "unit": "hours"}, "every", "greater than or equal to 1"),
        (Every, {"every": 60, "unit": "weeks"}, "unit", "366 days"),
        (Every, {"every": 1, "unit": "fortnights"}, "unit", "should be"),
        (Once, {"at": "soon"}, "at", "should be"),
        (Once, {}, "at", "is needed"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused_beside_its_field(model, fields, where, words):
    with pytest.raises(ValidationError) as error:
        model(**fields)

    assert words in sentences(error.value)[where]
