"""Dates as people and services write them, and reckoning with them on the clock of a zone."""

import calendar as months
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, TypeAlias

from app.sdk import values
from app.sdk.errors import RejectedError
from app.sdk.slots import find_zone

Unit: TypeAlias = Literal["minutes", "hours", "days", "working days", "weeks", "months", "years"]

READS: Final = "2026-11-21, 2026-11-21T09:00:00Z, a Unix time, now or today"

_CLOCK: Final = {"minutes": timedelta(minutes=1), "hours": timedelta(hours=1)}
# No widths: `%99999999d` would fill the memory with blanks.
_DIRECTIVE: Final = re.compile(r"%(?:%|-?[aAbBdHIjmMpSUwWyYzZfGuV])")
_FRIDAY: Final = 4
_MAX_WORKING_DAYS: Final = 10_000
_TOO_FAR: Final = "this date is too far away; dates go from the year 1 to 9999"


def read(text: str, zone: str, *, now: datetime, pattern: str = "") -> datetime:
    """The instant, on the clock of `zone`; raises RejectedError for what is no date.

    A date without an offset is read on that clock. `pattern` is as of strptime, for dates that are not understood.
    """
    here = find_zone(zone)
    found = _written(text.strip(), pattern) if pattern else _understood(text.strip(), now.astimezone(here))
    if found is None:
        raise RejectedError(f"{values.show(text)} is no date; write it as 2026-11-21 or 2026-11-21T09:00:00Z")
    try:
        return found.replace(tzinfo=here) if found.tzinfo is None else found.astimezone(here)
    except OverflowError:
        raise RejectedError(_TOO_FAR) from None


def write(at: datetime, pattern: str) -> str:
    if "%" in _DIRECTIVE.sub("", pattern):
        raise RejectedError(f"{pattern[:40]} is no pattern of a date; write it as %d.%m.%Y")
    return at.strftime(pattern.encode("utf-8", "replace").decode())


def parts(at: datetime) -> dict[str, Any]:
    return {
        "date": f"{at:%Y-%m-%d}",
        "time": f"{at:%H:%M:%S}",
        "at": at.isoformat(timespec="seconds"),
        "utc": utc(at),
        "weekday": f"{at:%A}",
        "week": at.isocalendar().week,
        "unix": int(at.timestamp()),
    }


def between(start: datetime, end: datetime) -> dict[str, Any]:
    """How long it is; below 0 when `end` is earlier."""
    seconds = (end - start).total_seconds()
    return {
        "seconds": _short(seconds),
        "minutes": _short(seconds / 60),
        "hours": _short(seconds / 3600),
        "days": _short(seconds / 86_400),
        "calendar_days": (end.date() - start.date()).days,
        "is_later": end > start,
    }


def add(at: datetime, amount: int, unit: Unit) -> datetime:
    """Minutes and hours pass; days and more keep the time on the clock, moved on where it is skipped."""
    try:
        if unit in _CLOCK:
            return (at.astimezone(UTC) + amount * _CLOCK[unit]).astimezone(at.tzinfo)
        moved = _moved(at.replace(tzinfo=None), amount, unit).replace(tzinfo=at.tzinfo, fold=at.fold)
        # There and back: a time that the clock skips becomes the one it shows instead.
        return moved.astimezone(UTC).astimezone(at.tzinfo)
    except (OverflowError, ValueError):
        raise RejectedError(_TOO_FAR) from None


def utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _understood(text: str, now: datetime) -> datetime | None:
    if text.lower() in ("now", "today"):
        return now if text.lower() == "now" else now.replace(hour=0, minute=0, second=0, microsecond=0)
    number = values.number(text)
    # Eight digits are a date, 20261121, not the year 1970.
    if number is not None and not (len(text) == 8 and text.isdigit()):
        return values.instant(float(number))
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return _of_mail(text)


def _of_mail(text: str) -> datetime | None:
    """`Sat, 21 Nov 2026 09:00:00 +0100`, as in mails and feeds (RFC 5322)."""
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _written(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)  # noqa: DTZ007  its zone is the caller's
    except (ValueError, OverflowError, re.error):
        return None


def _moved(at: datetime, amount: int, unit: Unit) -> datetime:
    if unit == "working days":
        return _working(at, amount)
    if unit in ("days", "weeks"):
        return at + timedelta(days=amount * (7 if unit == "weeks" else 1))
    month = at.year * 12 + at.month - 1 + amount * (12 if unit == "years" else 1)
    year, month = month // 12, month % 12 + 1
    # From the 31st to the last day of a shorter month.
    return at.replace(year=year, month=month, day=min(at.day, months.monthrange(year, month)[1]))


def _short(value: float) -> int | float:
    return int(value) if value.is_integer() else round(value, 6)


def _working(at: datetime, amount: int) -> datetime:
    if abs(amount) > _MAX_WORKING_DAYS:
        raise OverflowError
    step = timedelta(days=1 if amount > 0 else -1)
    for _ in range(abs(amount)):
        at += step
        while at.weekday() > _FRIDAY:
            at += step
    return at
