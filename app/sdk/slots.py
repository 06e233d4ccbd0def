"""The instants at which a schedule is due: cron in an IANA zone, every so often, once."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

MIN_EVERY_S: Final = 1
MAX_EVERY_S: Final = 366 * 24 * 3600

_MAX_EXPRESSION_CHARS = 200
_ANY_WALL = datetime.fromisoformat("2000-01-01")  # naive: a wall clock, no instant
_EXAMPLE = 'for example "0 9 * * 1-5" is every weekday at 09:00'
_FIELDS = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L for the last",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, 0 and 7 are Sunday",
}
_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAILY = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* (\S+)")


class BadSlotsError(ValueError):
    """A schedule that cannot be understood, in a plain sentence with a way out."""


class Slots(Protocol):
    """A series of instants, aware UTC."""

    def next_after(self, after: datetime) -> datetime | None:
        """The first slot strictly after an instant; None if there is none."""


@dataclass(frozen=True, slots=True)
class CronSlots:
    """Wall-clock times of a zone, each at most once.

    A local time that a clock change skips is due at the first minute after the gap; one that repeats is due
    the first time. Both hold for wildcards too: what must go on by elapsed time belongs in `EverySlots`.
    """

    expression: str
    zone: str

    def __post_init__(self) -> None:
        _cron(self.expression, _ANY_WALL)
        find_zone(self.zone)

    def next_after(self, after: datetime) -> datetime | None:
        zone = find_zone(self.zone)
        # Naive on purpose: cronsim's own clock-change rules differ for fixed times, wildcards and seconds.
        walls = _cron(self.expression, after.astimezone(zone).replace(tzinfo=None))
        try:
            for wall in walls:
                instant = _first_instant(wall, zone)
                if instant > after:
                    return instant
        except OverflowError:
            return None
        return None


@dataclass(frozen=True, slots=True)
class EverySlots:
    """`anchor`, and every `every_s` seconds after it, whatever clocks do."""

    every_s: int
    anchor: datetime

    def __post_init__(self) -> None:
        if not MIN_EVERY_S <= self.every_s <= MAX_EVERY_S:
            raise BadSlotsError(f"every {self.every_s} seconds is not possible; use 1 second to 366 days")
        _require_aware(self.anchor)

    def next_after(self, after: datetime) -> datetime | None:
        anchor, every = self.anchor.astimezone(UTC), timedelta(seconds=self.every_s)
        if after < anchor:
            return anchor
        try:
            return anchor + ((after - anchor) // every + 1) * every
        except OverflowError:
            return None


@dataclass(frozen=True, slots=True)
class OnceSlots:
    """A single instant."""

    at: datetime

    def __post_init__(self) -> None:
        _require_aware(self.at)

    def next_after(self, after: datetime) -> datetime | None:
        return self.at.astimezone(UTC) if self.at > after else None


def due_slots(slots: Slots, after: datetime, until: datetime, limit: int) -> list[datetime]:
    """The slots in (after, until], oldest first, at most `limit`."""
    due: list[datetime] = []
    slot = slots.next_after(after)
    while slot is not None and slot <= until and len(due) < limit:
        due.append(slot)
        slot = slots.next_after(slot)
    return due


@lru_cache(maxsize=1024)
def find_zone(name: str) -> ZoneInfo:
    """The IANA zone of that name; raises BadSlotsError."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise BadSlotsError(f'"{name[:60]}" is not a time zone; one looks like "Europe/Berlin"') from None


def describe(expression: str, zone: str) -> str:
    """`every weekday at 09:00, Asia/Kolkata`; what is not simple is spelled out as cronsim does."""
    CronSlots(expression, zone)
    return f"{_daily(expression) or _explain(expression)}, {zone}"


def _cron(expression: str, wall: datetime) -> CronSim:
    if len(expression) > _MAX_EXPRESSION_CHARS:
        raise BadSlotsError(f"a cron expression has at most {_MAX_EXPRESSION_CHARS} characters; {_EXAMPLE}")
    try:
        return CronSim(expression, wall)
    except (CronSimError, ValueError) as error:
        raise BadSlotsError(
            f'"{expression}" is not a cron expression: {_fault(expression, str(error))}; {_EXAMPLE}'
        ) from None


def _fault(expression: str, message: str) -> str:
    parts = expression.split()
    name = message.removeprefix("Bad ")
    if name not in _FIELDS:
        return f"it needs 5 parts, not {len(parts)}"
    position = list(_FIELDS).index(name) - (6 - len(parts))
    return f"{name} {parts[position]} is not possible here ({_FIELDS[name]})"


def _first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    local = wall.replace(tzinfo=zone, fold=0)
    instant = local.astimezone(UTC)
    while instant.astimezone(zone).replace(tzinfo=None) != wall:
        wall = wall.replace(second=0) + timedelta(minutes=1)
        instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant


def _require_aware(instant: datetime) -> None:
    if instant.tzinfo is None:
        raise BadSlotsError(f"{instant.isoformat()} has no time zone; end it with Z or an offset like +02:00")


def _daily(expression: str) -> str | None:
    """Plain words for `M H * * days`."""
    simple = _DAILY.fullmatch(" ".join(expression.split()))
    if simple is None:
        return None
    minute, hour, days = simple.groups()
    named = {"*": "day", "1-5": "weekday", "6,0": "weekend day", "0,6": "weekend day", "6,7": "weekend day"}
    if days.isascii() and days.isdigit():
        named[days] = _DAYS[int(days)]
    return f"every {named[days]} at {int(hour):02}:{int(minute):02}" if days in named else None


def _explain(expression: str) -> str:
    explained: str = CronSim(expression, _ANY_WALL).explain()
    return explained[:1].lower() + explained[1:]
