"""Text and numbers: dates, sums, checksums, and fields picked and renamed."""

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from app.sdk import calendar, rows
from app.sdk.context import FileRef
from app.sdk.declare import Context, Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.reckoning import NumberText, Operator, reckon, shown
from app.sdk.shapes import Zone

text = Integration(
    module=__name__,
    title="Text and numbers",
    about="reckon with dates and numbers, make checksums, pick and rename fields",
    need="none",
)


class _Zoned(Settings):
    zone: Zone = setting(
        "Time zone",
        "UTC",
        help="of the result, and of a date without one",
        example="Europe/Berlin",
        widget="zone",
    )


class Dated(_Zoned):
    """A date to read."""

    date: Text = setting("Date", example="{{ event.ordered_at }}", help=calendar.READS)
    pattern: Text = setting(
        "Write it as", "%Y-%m-%d %H:%M", help="%d day, %m month, %Y year, %H hour, %M minute, %A weekday",
        example="%d.%m.%Y", max_length=100,
    )  # fmt: skip
    reads: Text = setting(
        "It is written as", "", help="only where it is not understood: 07/04/2026 is %d/%m/%Y or %m/%d/%Y",
        example="%d/%m/%Y", max_length=100,
    )  # fmt: skip


class Later(_Zoned):
    """A date, and how far to go from it."""

    date: Text = setting("Date", example="{{ event.ordered_at }}", help=calendar.READS)
    amount: int = setting("How many", example=14, help="below 0 goes back", ge=-1_000_000, le=1_000_000)
    unit: calendar.Unit = setting("Of what", "days", help="a working day is Monday to Friday")


class Span(_Zoned):
    """Two dates."""

    start: Text = setting("From", example="{{ event.ordered_at }}", help=calendar.READS)
    end: Text = setting("To", "now", example="{{ event.sent_at }}", help=calendar.READS)


class Sum(Settings):
    """Two numbers and what to do with them."""

    left: NumberText = setting("Number", example="{{ event.total }}")
    operator: Operator = setting("Operation", "plus")
    right: NumberText = setting("Second number", example="19")
    decimals: int | None = setting(
        "Round to decimals", None, help="halves away from zero; empty leaves it as it is", ge=0, le=20
    )


class Rounding(Settings):
    """A number to round."""

    number: NumberText = setting("Number", example="{{ event.total }}")
    decimals: int = setting("Decimals", 2, ge=0, le=20)


class Hashed(Settings):
    """What to make a checksum of."""

    text: Text = setting("Text", "", example="{{ event.email }}")
    file: FileRef | None = setting(
        "File", None, help="instead of a text", example="{{ steps.download.file }}"
    )
    algorithm: Literal["sha256", "sha512", "sha1", "md5"] = setting(
        "Algorithm", "sha256", help="sha1 and md5 only where another system wants them"
    )


class Fields(Settings):
    """Which fields stay, and under which names."""

    value: Any = setting("Value", example="{{ event }}", help="an object, or a list of objects")
    fields: list[Text] = setting("Fields", [], example=["order", "total"], widget="list")
    mode: Literal["keep", "leave out"] = setting("These fields", "keep", help="without fields, all are kept")
    rename: dict[str, Text] = setting("New names", {}, help="old name and new name", widget="pairs")


@text.action("Format a date", idempotent=True)
def format_date(ctx: Context, connection: None, params: Dated) -> Mapping[str, Any]:
    """Reads a date and writes it on the clock of a time zone."""
    at = calendar.read(params.date, params.zone, now=ctx.now, pattern=params.reads)
    return {"text": calendar.write(at, params.pattern), **calendar.parts(at)}


@text.action("Add to a date", idempotent=True)
def add_to_date(ctx: Context, connection: None, params: Later) -> Mapping[str, Any]:
    """Goes forward or back from a date. Days and more keep the time on the clock, also over a change of it."""
    at = calendar.read(params.date, params.zone, now=ctx.now)
    return calendar.parts(calendar.add(at, params.amount, params.unit))


@text.action("Compare two dates", idempotent=True)
def compare_dates(ctx: Context, connection: None, params: Span) -> Mapping[str, Any]:
    """Tells how long it is from one date to another; below 0 when the second is earlier."""
    start, end = (calendar.read(each, params.zone, now=ctx.now) for each in (params.start, params.end))
    return calendar.between(start, end)


@text.action("Calculate", idempotent=True)
def calculate(ctx: Context, connection: None, params: Sum) -> Mapping[str, Any]:
    """Reckons with two numbers in decimals, as one does on paper: 0.1 plus 0.2 is 0.3."""
    result = reckon(Decimal(params.left), params.operator, Decimal(params.right))
    return shown(result, params.decimals)


@text.action("Round a number", idempotent=True)
def round_number(ctx: Context, connection: None, params: Rounding) -> Mapping[str, Any]:
    """Rounds a number, halves away from zero."""
    return shown(Decimal(params.number), params.decimals)


@text.action("Make a checksum", idempotent=True)
def checksum(ctx: Context, connection: None, params: Hashed) -> Mapping[str, Any]:
    """Makes the checksum of a text or a file, in hexadecimal."""
    digest = hashlib.new(params.algorithm, usedforsecurity=False)
    for chunk in ctx.files.open(params.file) if params.file else [params.text.encode("utf-8", "replace")]:
        digest.update(chunk)
    return {"hex": digest.hexdigest()}


@text.action("Pick and rename fields", idempotent=True)
def pick_fields(ctx: Context, connection: None, params: Fields) -> Mapping[str, Any]:
    """Keeps or leaves out fields of an object, or of each object of a list, and gives fields new names."""
    kept = params.mode == "keep"
    return {"value": rows.with_fields(params.value, params.fields, params.rename, kept=kept)}
