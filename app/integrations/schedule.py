"""Schedule: rules that start by the clock."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from pydantic import field_validator

from app.sdk.declare import Integration
from app.sdk.fields import Settings, Text, setting
from app.sdk.shapes import Zone
from app.sdk.slots import CronSlots, EverySlots

schedule = Integration(
    module=__name__, title="Schedule", about="start a rule by the clock", need="none", rank=2
)

_UNITS_S: Final = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}
# A Monday at midnight: every 15 minutes is at :00, :15, :30 and :45, every week on Monday.
_ANCHOR: Final = datetime(2024, 1, 1, tzinfo=UTC)


class Timing(Settings):
    """What all schedules have."""

    zone: Zone = setting(
        "Time zone", "UTC", help="a name of the IANA list", example="Europe/Berlin", widget="zone"
    )
    missed: Literal["once", "all", "skip"] = setting(
        "When times were missed",
        "once",
        help="after a standstill",
        choices={"once": "run once for all of them", "all": "run each of them", "skip": "skip them"},
    )


class Cron(Timing):
    """Times on the clock of a zone."""

    expression: Text = setting(
        "Times",
        help="minute, hour, day of month, month, day of week; 0 9 * * 1-5 is every weekday at 09:00, "
        "*/15 * * * * is every quarter of an hour, 0 8 1 * * is the first of the month at 08:00",
        example="0 9 * * 1-5",
        min_length=1,
    )

    @field_validator("expression")
    @classmethod
    def _is_cron(cls, expression: str) -> str:
        CronSlots(expression, "UTC")
        return expression


class Every(Timing):
    """The same pause, again and again."""

    every: int = setting("Every", help="how many", example=15, ge=1, le=31_622_400)
    unit: Literal["seconds", "minutes", "hours", "days", "weeks"] = setting(
        "Unit", "minutes", example="minutes"
    )

    @field_validator("unit")
    @classmethod
    def _is_possible(cls, unit: str, info: Any) -> str:
        EverySlots(info.data.get("every", 1) * _UNITS_S[unit], _ANCHOR)
        return unit


class Once(Timing):
    """A single time."""

    at: datetime = setting(
        "Date and time",
        help="on the clock of the time zone, unless it ends with Z or an offset such as +02:00",
        example="2026-12-24T18:00",
    )


@schedule.slots("At set times")
def cron(params: Cron, after: datetime) -> datetime | None:
    """Starts at times on the clock, such as every weekday at 09:00.

    A time that the change to summer time skips comes at the next valid minute; one that repeats comes once.
    """
    return CronSlots(params.expression, params.zone).next_after(after)


@schedule.slots("Every so often")
def every(params: Every, after: datetime) -> datetime | None:
    """Starts again and again with the same pause, such as every 15 minutes: at :00, :15, :30 and :45."""
    return EverySlots(params.every * _UNITS_S[params.unit], _ANCHOR).next_after(after)


@schedule.slots("Once")
def once(params: Once, after: datetime) -> datetime | None:
    """Starts a single time, at a date and time of your choice."""
    at = _instant(params.at, params.zone)
    return at if at is not None and at > after else None


def _instant(at: datetime, zone: str) -> datetime | None:
    if at.tzinfo is not None:
        return at.astimezone(UTC)
    # As a cron of that one day, so that skipped and repeated times follow the same rule.
    clock = CronSlots(f"{at.second} {at.minute} {at.hour} {at.day} {at.month} *", zone)
    return clock.next_after(at.replace(tzinfo=UTC) - timedelta(days=2))
