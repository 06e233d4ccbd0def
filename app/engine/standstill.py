"""A standstill: times of a schedule that passed while nothing ran, and what people are told and may still choose."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import alerts
from app.engine.core import Engine
from app.models import AlertKind, Rule

# Counted, and run afterwards in one go, no further.
MOST = 1000
# Fewer missed times are no standstill that somebody must hear of.
_TOLD_FROM = 2
_DONE = {
    "once": "it ran once for all of them",
    "all": "it runs for each of them",
    "skip": "they were skipped",
}


@dataclass(frozen=True, slots=True)
class Standstill:
    """The first missed slot, when the last one was at the latest, and how many: no more than MOST are counted."""

    first: datetime
    last: datetime
    count: int


def between(
    after: Callable[[datetime], datetime | None], first: datetime, until: datetime
) -> Standstill | None:
    """The slots from `first`, which is one, up to `until`."""
    slots = slots_of(after, first, until)
    if not slots:
        return None
    return Standstill(first, slots[-1] if len(slots) < MOST else until, len(slots))


def slots_of(
    after: Callable[[datetime], datetime | None], first: datetime, until: datetime
) -> list[datetime]:
    slots: list[datetime] = []
    slot: datetime | None = first
    while slot is not None and slot <= until and len(slots) < MOST:
        slots.append(slot)
        slot = after(slot)
    return slots


def left_out(still: Standstill | None, run: int) -> dict[str, Any]:
    """What a trigger remembers of the slots that did not run, so that somebody may still run them."""
    if still is None or still.count <= run:
        return {}
    return {"missed": still.count - run, "missed_from": still.first, "missed_until": still.last}


def tell(connection: sa.Connection, engine: Engine, row: Any, still: Standstill) -> None:
    if still.count < _TOLD_FROM:
        return
    name = connection.scalar(sa.select(Rule.name).where(Rule.id == row.rule_id)) or "a rule"
    many = f"more than {MOST:,}" if still.count == MOST else f"{still.count:,}"
    done = _DONE[row.params.get("missed", "once")]
    alerts.tell(
        connection,
        engine,
        alerts.Cause(
            workspace_id=row.workspace_id,
            kind=AlertKind.STUCK,
            key=key(row.id),
            title=f"{name} stood still",
            sentence=f"{name} was not started for {length(clock.now() - still.first)}, {many} times passed; {done}",
            subject_id=row.rule_id,
        ),
    )


def key(trigger_id: str) -> str:
    return f"stuck:{trigger_id}"


def length(span: timedelta) -> str:
    """`2 h`, `35 min`."""
    minutes = round(span.total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
