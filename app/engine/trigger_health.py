"""Whether a trigger does what it should: judged from its row alone, so that no process has to be alive to know."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from app.engine import poll, schedule
from app.engine.core import Engine
from app.models import TriggerKind

# From a due instant to the next one; None: there is none.
Next = Callable[[datetime], datetime | None]

# So many missed intervals, and its owner is told.
STUCK_AFTER = 2
BY_THE_CLOCK = (TriggerKind.SCHEDULE, TriggerKind.POLL)


class Health(StrEnum):
    ARMED = "armed"
    LATE = "late"
    STUCK = "stuck"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a trigger that is on; `missed` counts looks that failed in a row, `since` is when it was armed or looked."""

    kind: TriggerKind
    next_due_at: datetime | None
    since: datetime | None
    last_error: str | None = None
    missed: int = 0
    connected: bool = True


def judge(facts: Facts, now: datetime, following: Next) -> Health:
    if not facts.connected:
        return Health.DISCONNECTED
    if facts.kind not in BY_THE_CLOCK:
        return Health.STUCK if facts.last_error else Health.ARMED
    if facts.next_due_at is None:
        return Health.ARMED if _is_over(facts, following) else Health.STUCK
    missed = max(facts.missed if facts.kind is TriggerKind.POLL else 0, overdue(facts, now, following))
    if missed >= STUCK_AFTER:
        return Health.STUCK
    return Health.LATE if missed or facts.last_error else Health.ARMED


def overdue(facts: Facts, now: datetime, following: Next) -> int:
    """How many times have passed undone, counted no further than needed."""
    due_at, count = _expected_at(facts, following), 0
    bound = poll.LATE_LOOK if facts.kind is TriggerKind.POLL else schedule.ON_TIME
    while due_at is not None and due_at + bound <= now and count < STUCK_AFTER:
        due_at, count = following(due_at), count + 1
    return count


def _expected_at(facts: Facts, following: Next) -> datetime | None:
    """A look that its worker did not survive has moved `next_due_at`, but has not looked."""
    if facts.kind is not TriggerKind.POLL or facts.since is None or facts.next_due_at is None:
        return facts.next_due_at
    expected = following(facts.since)
    return min(facts.next_due_at, expected) if expected else facts.next_due_at


def _is_over(facts: Facts, following: Next) -> bool:
    """A schedule of a single time that has come."""
    if facts.kind is not TriggerKind.SCHEDULE or facts.last_error or facts.since is None:
        return False
    return following(facts.since) is None


def facts_of(row: Any, *, connected: bool = True) -> Facts:
    """From a trigger's row, ORM or Core."""
    done_at = row.last_fired_at if row.kind is TriggerKind.SCHEDULE else row.looked_at
    since = max(filter(None, (row.armed_at, done_at)), default=None)
    return Facts(row.kind, row.next_due_at, since, row.last_error, row.missed, connected)


def rhythm(engine: Engine, row: Any) -> Next:
    """Raises nothing: a schedule that cannot be read any more has no next time."""

    def following(instant: datetime) -> datetime | None:
        try:
            if row.kind is TriggerKind.POLL:
                return instant + poll.interval(engine, row)
            return schedule.next_slot(engine.catalogue, row.type, row.params, instant)
        except schedule.BROKEN:
            return None

    return following


def health(engine: Engine, row: Any, now: datetime, *, connected: bool = True) -> Health:
    return judge(facts_of(row, connected=connected), now, rhythm(engine, row))
