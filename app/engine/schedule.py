"""Schedule triggers: when the next slot is, and firing the due ones exactly once each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine import standstill
from app.engine.core import Engine
from app.engine.enqueue import Armed, Arrival, store_events
from app.models import Trigger, TriggerKind
from app.sdk.declare import Catalogue, Occurrence

log = structlog.get_logger()

CatchUp = Literal["once", "all", "skip"]

# A slot this late still counts as on time for the policy "skip".
ON_TIME = timedelta(seconds=60)
# Slots made up for under the policy "all", at most, in one tick.
_CATCH_UP = 100
_DUE_AT_ONCE = 200
_SLOTS_APART = timedelta(milliseconds=1)
# What computing a slot raises for params that do not fit: an unknown zone is a KeyError.
BROKEN = (ValueError, LookupError, TypeError, ArithmeticError)
_STOPPED = "its schedule cannot be read any more; open the rule, set the times again and turn it on"


def next_slot(
    catalogue: Catalogue, type_: str, params: Mapping[str, Any], after: datetime
) -> datetime | None:
    """The first slot strictly after an instant; None: there is none, or the trigger is not installed."""
    trigger = catalogue.trigger(type_)
    if trigger is None or trigger.call is None or trigger.sort != "slots":
        return None
    slot: datetime | None = trigger.call(trigger.params.model_validate(params), after)
    return slot


def upcoming(catalogue: Catalogue, type_: str, params: Mapping[str, Any], count: int = 5) -> list[datetime]:
    """The next slots from now, for the form."""
    slots: list[datetime] = []
    slot = next_slot(catalogue, type_, params, clock.now())
    while slot is not None and len(slots) < count:
        slots.append(slot)
        slot = next_slot(catalogue, type_, params, slot)
    return slots


def fire_due(engine: Engine) -> int:
    """Fire every schedule that is due; how many events that made. Safe to run anywhere, at the same time."""
    with read_connection(engine.database) as connection:
        due = connection.execute(
            sa.select(Trigger.__table__)
            .where(Trigger.next_due_at <= clock.now(), Trigger.kind == TriggerKind.SCHEDULE)
            .order_by(Trigger.next_due_at)
            .limit(_DUE_AT_ONCE)
        ).all()
    return sum(_fire(engine, row) for row in due)


def soonest(engine: Engine, within_s: float) -> datetime | None:
    """The next due instant, if it is not further away."""
    until = clock.now() + timedelta(seconds=within_s)
    with read_connection(engine.database) as connection:
        found: datetime | None = connection.scalar(
            sa.select(sa.func.min(Trigger.next_due_at, type_=Trigger.__table__.c.next_due_at.type)).where(
                Trigger.next_due_at <= until, Trigger.kind == TriggerKind.SCHEDULE
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Due:
    """What is to be fired now, the slot after it, and the standstill before it if there was one."""

    slots: list[datetime]
    occurrences: list[Occurrence]
    following: datetime | None
    still: standstill.Standstill | None


def _fire(engine: Engine, row: Any) -> int:
    try:
        due = _due(engine.catalogue, row, clock.now())
    except BROKEN as error:
        # Params that an older version accepted: the trigger stops and says why, the others go on.
        log.warning("schedule_broken", trigger=row.id, error=type(error).__name__)
        engine.writer.submit(lambda connection: _move(connection, row, None, last_error=_STOPPED))
        return 0
    return engine.writer.submit(lambda connection: _store(connection, engine, row, due))


def _due(catalogue: Catalogue, row: Any, now: datetime) -> _Due:
    slots, following = _missed(catalogue, row, now)
    occurrences = [occurrence(row, slot) for slot in slots]
    if now - row.next_due_at <= ON_TIME:
        return _Due(slots, occurrences, following, None)

    def after(instant: datetime) -> datetime | None:
        return next_slot(catalogue, row.type, row.params, instant)

    return _Due(slots, occurrences, following, standstill.between(after, row.next_due_at, now))


def _missed(catalogue: Catalogue, row: Any, now: datetime) -> tuple[list[datetime], datetime | None]:
    """(the slots to fire, the next one) by the rule's policy for missed slots."""
    if catalogue.trigger(row.type) is None:
        raise LookupError(row.type)

    def after(instant: datetime) -> datetime | None:
        return next_slot(catalogue, row.type, row.params, instant)

    policy = row.params.get("missed", "once")
    if policy == "all":
        slots, following = [row.next_due_at], after(row.next_due_at)
        while following is not None and following <= now and len(slots) < _CATCH_UP:
            slots, following = [*slots, following], after(following)
        # The rest of a long line is due at once, and so in the next look.
        return slots, following
    newest = _newest(after, row.next_due_at, now)
    late = now - newest > ON_TIME
    return ([] if policy == "skip" and late else [newest]), after(newest)


def _newest(after: Callable[[datetime], datetime | None], slot: datetime, now: datetime) -> datetime:
    """The last slot up to now, from a known one; by halves, for a week holds 600,000 seconds."""
    until = now
    while until > slot:
        found = after(slot + (until - slot) / 2)
        if found is not None and found <= now:
            slot = found
        elif until - slot < _SLOTS_APART:
            return slot
        else:
            until = slot + (until - slot) / 2
    return slot


def _store(connection: sa.Connection, engine: Engine, row: Any, due: _Due) -> int:
    # What was skipped is behind it too: it is armed anew from now on.
    fired = {"last_fired_at": due.slots[-1]} if due.slots else {"armed_at": clock.now()}
    left = standstill.left_out(due.still, len(due.slots))
    if not _move(connection, row, due.following, last_error=None, **fired, **left):
        return 0
    if due.still is not None:
        standstill.tell(connection, engine, row, due.still)
    armed = Armed(row.workspace_id, row.id, row.type, row.rule_id, row.version_id)
    receipts = store_events(connection, [Arrival(armed, each) for each in due.occurrences])
    return sum(not receipt.duplicate for receipt in receipts)


def _move(connection: sa.Connection, row: Any, following: datetime | None, **values: Any) -> int:
    """0: somebody else moved it, and fires what is due."""
    return connection.execute(
        sa.update(Trigger)
        .where(Trigger.id == row.id, Trigger.next_due_at.is_not_distinct_from(row.next_due_at))
        .values(next_due_at=following, **values)
    ).rowcount


def occurrence(row: Any, slot: datetime) -> Occurrence:
    zone = row.params.get("zone") or "UTC"
    data = {
        "scheduled_at": clock.rfc3339(slot),
        "local_time": slot.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds"),
        "zone": zone,
    }
    return Occurrence(clock.rfc3339(slot), data)


def catch_up(connection: sa.Connection, catalogue: Catalogue, row: Any, choice: CatchUp) -> int:
    """Somebody says what becomes of the slots that passed; how many runs that starts. What has run runs no second time.

    In the caller's transaction, who rings after it. Raises what computing a slot raises (BROKEN).
    """
    now = clock.now()
    is_late = row.next_due_at is not None and row.next_due_at <= now
    first = row.missed_from or (row.next_due_at if is_late else None)
    if first is None:
        return 0

    def after(instant: datetime) -> datetime | None:
        return next_slot(catalogue, row.type, row.params, instant)

    newest = _newest(after, first, now if is_late else row.missed_until)
    wanted = {"once": [newest], "all": standstill.slots_of(after, first, newest), "skip": []}[choice]
    following = after(newest) if is_late else row.next_due_at
    settled: dict[str, Any] = {"missed": 0, "missed_from": None, "missed_until": None}
    if len(wanted) == standstill.MOST and wanted[-1] < newest:
        settled = {"missed_from": after(wanted[-1]), "missed_until": newest}
    if not _move(connection, row, following, **settled):
        return 0
    armed = Armed(row.workspace_id, row.id, row.type, row.rule_id, row.version_id)
    arrivals = [Arrival(armed, occurrence(row, slot)) for slot in wanted]
    return sum(not receipt.duplicate for receipt in store_events(connection, arrivals))
