import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from app import integrations
from app.sdk.errors import RejectedError
from tests.stored import StoredFiles

ACTIONS = integrations.load().integrations["text"].actions


def call(ctx, name, /, **params):
    action = ACTIONS[name]
    output = action.call(ctx, None, action.params.model_validate(params))
    json.dumps(output, allow_nan=False)
    return output


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda one: one.key)
def test_the_samples_are_true(ctx, action):
    for sample in action.samples:
        assert action.call(ctx, None, action.params.model_validate(sample.params)) == sample.output


# dates


@pytest.mark.parametrize(
    ("date", "zone", "at"),
    [
        ("2026-11-21", "Europe/Berlin", "2026-11-21T00:00:00+01:00"),
        ("20261121", "UTC", "2026-11-21T00:00:00+00:00"),
        ("2026-11-21T09:00:00Z", "Asia/Kolkata", "2026-11-21T14:30:00+05:30"),
        ("2026-11-21 09:00", "Europe/Berlin", "2026-11-21T09:00:00+01:00"),
        (1795251600, "UTC", "2026-11-21T09:00:00+00:00"),
        ("1795251600000", "UTC", "2026-11-21T09:00:00+00:00"),
        ("Sat, 21 Nov 2026 10:00:00 +0100", "UTC", "2026-11-21T09:00:00+00:00"),
        ("now", "UTC", "2026-11-21T09:00:00+00:00"),
        ("today", "America/New_York", "2026-11-21T00:00:00-05:00"),
    ],
)
def test_dates_are_read_as_people_and_services_write_them(ctx, date, zone, at):
    assert call(ctx, "format_date", date=date, zone=zone)["at"] == at


def test_a_date_of_another_form_is_read_by_its_pattern(ctx):
    assert call(ctx, "format_date", date="07/04/2026", reads="%d/%m/%Y")["date"] == "2026-04-07"


@pytest.mark.parametrize(
    "params",
    [
        {"date": "tomorrow-ish"},
        {"date": ""},
        {"date": "2026-13-01"},
        {"date": "1e300"},
        {"date": "07/04/2026", "reads": "%Q%("},
        {"date": "now", "pattern": "%99999999d"},
        {"date": "now", "pattern": "100%"},
        {"date": "0001-01-01", "zone": "Asia/Tokyo", "pattern": "%s"},
    ],
)
def test_what_is_no_date_or_pattern_is_told(ctx, params):
    with pytest.raises(RejectedError):
        call(ctx, "format_date", **params)


def test_an_unknown_zone_is_refused():
    with pytest.raises(ValidationError):
        ACTIONS["format_date"].params.model_validate({"date": "now", "zone": "Mars/Olympus"})


@pytest.mark.parametrize(
    ("date", "amount", "unit", "at"),
    [
        # the night the clock goes forward: a day later it is the same time, 24 hours later another one
        ("2026-03-28T12:00:00", 1, "days", "2026-03-29T12:00:00+02:00"),
        ("2026-03-28T12:00:00", 24, "hours", "2026-03-29T13:00:00+02:00"),
        ("2026-03-28T02:30:00", 1, "days", "2026-03-29T03:30:00+02:00"),
        ("2026-01-31", 1, "months", "2026-02-28T00:00:00+01:00"),
        ("2024-02-29", 1, "years", "2025-02-28T00:00:00+01:00"),
        ("2026-01-15", -2, "months", "2025-11-15T00:00:00+01:00"),
        ("2026-11-20", 1, "working days", "2026-11-23T00:00:00+01:00"),
        ("2026-11-23", -1, "working days", "2026-11-20T00:00:00+01:00"),
        ("2026-11-21", 0, "working days", "2026-11-21T00:00:00+01:00"),
        ("2026-11-21", 2, "weeks", "2026-12-05T00:00:00+01:00"),
        ("2026-11-21T09:00:00Z", 90, "minutes", "2026-11-21T11:30:00+01:00"),
    ],
)
def test_time_is_added_on_the_clock_of_a_zone(ctx, date, amount, unit, at):
    assert call(ctx, "add_to_date", date=date, amount=amount, unit=unit, zone="Europe/Berlin")["at"] == at


@pytest.mark.parametrize("unit", ["minutes", "days", "working days", "months", "years"])
@pytest.mark.parametrize("amount", [-1_000_000, 1_000_000])
def test_a_date_too_far_away_is_told_or_reached(ctx, unit, amount):
    try:
        call(ctx, "add_to_date", date="2026-11-21", amount=amount, unit=unit)
    except RejectedError as error:
        assert "too far away" in str(error)
    else:
        assert unit in ("minutes", "days")


def test_two_dates_are_compared(ctx):
    output = call(ctx, "compare_dates", start="2026-11-22T09:00:00Z", zone="Europe/Berlin")

    assert (output["days"], output["calendar_days"], output["is_later"]) == (-1, -1, False)


# numbers


@pytest.mark.parametrize(
    ("left", "operator", "right", "decimals", "number"),
    [
        ("0.1", "plus", "0.2", None, 0.3),
        (5, "minus", 7.5, None, -2.5),
        ("10", "divided by", "4", None, 2.5),
        ("2.5", "times", "1", 0, 3),
        ("-2.5", "times", "1", 0, -3),
        ("7", "modulo", "3", None, 1),
        ("1e3", "plus", "0", None, 1000),
    ],
)
def test_numbers_are_reckoned_in_decimals(ctx, left, operator, right, decimals, number):
    output = call(ctx, "calculate", left=left, operator=operator, right=right, decimals=decimals)

    assert output["number"] == number


def test_money_keeps_its_decimals_as_text(ctx):
    assert call(ctx, "round_number", number="2", decimals=2) == {"number": 2, "text": "2.00"}


@pytest.mark.parametrize("operator", ["divided by", "modulo"])
def test_nothing_is_divided_by_0(ctx, operator):
    with pytest.raises(RejectedError, match="cannot be"):
        call(ctx, "calculate", left=1, operator=operator, right="0.00")


@pytest.mark.parametrize(
    "number", ["", "x", "1,5", "NaN", "Infinity", "1e999", "1" * 5000, True, None, "1e41"]
)
def test_what_is_no_number_is_refused(number):
    with pytest.raises(ValidationError):
        ACTIONS["calculate"].params.model_validate({"left": number, "right": 1})


# checksums and fields


def test_a_checksum_is_made_of_a_file_as_of_a_text(ctx):
    ctx = replace(ctx, files=StoredFiles())
    file = ctx.files.save("x", "text/plain", [b"x" * 5_000])

    of_file = call(ctx, "checksum", file=file, algorithm="sha256")

    assert of_file == call(ctx, "checksum", text="x" * 5_000)
    assert of_file["hex"] == file.sha256


@pytest.mark.parametrize(
    ("params", "value"),
    [
        ({"fields": ["a"]}, {"a": 1}),
        ({"fields": ["a"], "mode": "leave out"}, {"b": 2}),
        ({"rename": {"a": "x"}}, {"x": 1, "b": 2}),
        ({"fields": ["a", "zzz"], "rename": {"a": "b"}}, {"b": 1}),
    ],
)
def test_fields_are_picked_and_renamed(ctx, params, value):
    one = {"a": 1, "b": 2}

    assert call(ctx, "pick_fields", value=one, **params) == {"value": value}
    assert call(ctx, "pick_fields", value=[one, one], **params) == {"value": [value, value]}


@pytest.mark.parametrize("value", ["text", 5, None, [1]])
def test_what_has_no_fields_is_told(ctx, value):
    with pytest.raises(RejectedError, match="must be an object"):
        call(ctx, "pick_fields", value=value)
