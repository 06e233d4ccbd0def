"""The health of triggers, in words: whether each one that is on is armed, late, stuck or disconnected."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import schedule, standstill, trigger_health, watch
from app.engine.core import Engine
from app.engine.schedule import CatchUp
from app.engine.trigger_health import Health
from app.errors import ConflictError
from app.models import Event, Role, Rule, Run, Trigger, TriggerKind
from app.sdk.slots import find_zone
from app.services.access import Actor, audit, fetch, require

CHOICES: Final = get_args(CatchUp)
_VERBS: Final = {TriggerKind.HOOK: "called", TriggerKind.SCHEDULE: "ran", TriggerKind.POLL: "looked"}


@dataclass(frozen=True, slots=True)
class Standing:
    """`missed`: how many slots passed that somebody may still run; `sentence` has times in the zone that counts."""

    state: Health
    last_at: datetime | None
    next_at: datetime | None
    sentence: str
    missed: int = 0
    missed_from: datetime | None = None
    cause: str | None = None


def of(session: Session, actor: Actor, engine: Engine, rule: Rule) -> Standing | None:
    """None while the rule is off."""
    called_at = _called_at().correlate(Trigger).scalar_subquery().label("called_at")
    query = watch.enabled().add_columns(called_at).where(Trigger.rule_id == rule.id)
    row = session.execute(query).first()
    return _standing(engine, row, actor.zone, row.called_at) if row else None


def ailing(session: Session, actor: Actor, engine: Engine) -> dict[str, Standing]:
    """By rule id: those that are not armed as they should be."""
    rows = session.execute(
        watch.suspects(clock.now()).where(Trigger.workspace_id == actor.workspace_id)
    ).all()
    found = {row.rule_id: _standing(engine, row, actor.zone, None) for row in rows}
    return {rule_id: standing for rule_id, standing in found.items() if standing.state is not Health.ARMED}


def listing(session: Session, actor: Actor, engine: Engine) -> dict[str, Standing]:
    """By rule id, of every rule that is on."""
    called_at = _called_at().correlate(Trigger).scalar_subquery().label("called_at")
    query = watch.enabled().add_columns(called_at).where(Trigger.workspace_id == actor.workspace_id)
    return {row.rule_id: _standing(engine, row, actor.zone, row.called_at) for row in session.execute(query)}


def catch_up(session: Session, actor: Actor, engine: Engine, rule_id: str, *, choice: CatchUp) -> int:
    """What becomes of the slots a schedule missed: how many runs that starts. The caller rings after its commit."""
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    row = session.execute(sa.select(Trigger.__table__).where(Trigger.rule_id == rule.id)).first()
    if row is None or row.version_id is None:
        raise ConflictError(f"{rule.name} is off; turn it on first")
    if row.kind is not TriggerKind.SCHEDULE:
        raise ConflictError("this rule has no times that could be missed")
    try:
        started = schedule.catch_up(session.connection(), engine.catalogue, row, choice)
    except schedule.BROKEN:
        raise ConflictError("its schedule cannot be read any more; set the times again") from None
    audit(session, actor, "caught up rule", rule.id, detail={"name": rule.name, "choice": choice})
    session.flush()
    session.expire_all()
    return started


def _standing(engine: Engine, row: Any, zone: str, called_at: datetime | None) -> Standing:
    now = clock.now()
    state = trigger_health.health(engine, row, now, connected=row.connected)
    last_at = {TriggerKind.SCHEDULE: row.last_fired_at, TriggerKind.POLL: row.looked_at}.get(
        row.kind, called_at
    )
    own_zone = row.params.get("zone") if row.kind is TriggerKind.SCHEDULE else None
    shown_in = _known(str(own_zone or zone))
    missed, since = _missed(engine, row, now)
    return Standing(
        state,
        last_at,
        row.next_due_at,
        _sentence(row, state, last_at, shown_in),
        missed,
        since,
        row.last_error,
    )


def _missed(engine: Engine, row: Any, now: datetime) -> tuple[int, datetime | None]:
    if row.kind is not TriggerKind.SCHEDULE:
        return 0, None
    is_late = row.next_due_at is not None and row.next_due_at + schedule.ON_TIME <= now
    first = row.missed_from or (row.next_due_at if is_late else None)
    if first is None:
        return 0, None
    if not is_late:
        return row.missed, first
    slots = standstill.slots_of(trigger_health.rhythm(engine, row), row.next_due_at, now)
    return (row.missed if row.missed_from else 0) + len(slots), first


def _sentence(row: Any, state: Health, last_at: datetime | None, zone: str) -> str:
    parts = [part for part in (_last(row, last_at), _next(row, state, zone)) if part]
    return ", ".join(parts) or "run it by hand"


def _last(row: Any, last_at: datetime | None) -> str:
    verb = _VERBS.get(row.kind)
    if verb is None:
        return ""
    if last_at is None:
        return (
            "not called yet" if row.kind is TriggerKind.HOOK else f"has not {verb.replace('ran', 'run')} yet"
        )
    return f"last {verb} {ago(clock.now() - last_at)}"


def _next(row: Any, state: Health, zone: str) -> str:
    if row.kind not in trigger_health.BY_THE_CLOCK:
        return ""
    if state is Health.DISCONNECTED:
        return "its connection is broken; connect it again"
    if row.next_due_at is None:
        return (
            "there is no next time"
            if state is Health.ARMED
            else "it has no next time; it is armed again by itself"
        )
    if row.next_due_at <= clock.now() - schedule.ON_TIME:
        return f"was due {at(row.next_due_at, zone)}"
    return f"next {at(row.next_due_at, zone)}"


def ago(span: timedelta) -> str:
    """`40 s ago`, `3 h ago`."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {'day' if unit == 'days' and count == 1 else unit} ago"
    return f"{seconds} s ago"


def at(instant: datetime, zone: str) -> str:
    """`09:00 Asia/Kolkata`, on another day `Mon 23 Nov 09:00 Asia/Kolkata`; seconds only where somebody chose them."""
    here = ZoneInfo(zone)
    local, today = instant.astimezone(here), clock.now().astimezone(here).date()
    time = f"{local:%H:%M:%S}" if local.second and not local.microsecond else f"{local:%H:%M}"
    return f"{time} {zone}" if local.date() == today else f"{local:%a %-d %b} {time} {zone}"


def _known(zone: str) -> str:
    try:
        find_zone(zone)
    except ValueError:
        return "UTC"
    return zone


def _called_at() -> sa.Select[Any]:
    """Of the events that started it, the newest: found by its runs, which have an index by rule."""
    return (
        sa.select(Event.received_at)
        .join(Run, Run.event_id == Event.id)
        .where(
            Trigger.kind == TriggerKind.HOOK,
            Run.rule_id == Trigger.rule_id,
            Event.source == Trigger.id,
            Run.replay_of.is_(None),
        )
        .order_by(Run.id.desc())
        .limit(1)
    )
