"""Arming again what should be armed and is not: a rule that is on never waits for nothing."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine import trigger_health
from app.engine.core import Engine
from app.models import Rule, RuleVersion, Trigger, TriggerKind

log = structlog.get_logger()

_AT_ONCE = 200


def rearm(engine: Engine) -> int:
    """Every trigger of a rule that is on and has no next time, or an old version; how many."""
    with read_connection(engine.database) as connection:
        rows = connection.execute(_UNARMED).all()
    return sum(_arm(engine, row) for row in rows)


def _arm(engine: Engine, row: Any) -> int:
    part = row.definition["trigger"]
    if row.type != part["type"]:
        # Only a person's next "turn on" may change what a trigger is.
        return 0
    old = row.version_id != row.published_id
    values: dict[str, Any] = {"version_id": row.published_id, "params": part["params"]} if old else {}
    if row.kind in trigger_health.BY_THE_CLOCK and row.next_due_at is None:
        due_at = _due_at(engine, row)
        if due_at is None and not old:
            return 0
        values |= {"next_due_at": due_at, "armed_at": row.armed_at or clock.now()}
    return engine.writer.submit(lambda connection: _write(connection, row, values))


def _due_at(engine: Engine, row: Any) -> datetime | None:
    """Where it left off: what passed meanwhile is caught up as the rule says."""
    now, following = clock.now(), trigger_health.rhythm(engine, row)
    if row.kind is TriggerKind.SCHEDULE:
        return following(trigger_health.facts_of(row).since or now)
    return following(now) if row.last_error else now


def _write(connection: sa.Connection, row: Any, values: dict[str, Any]) -> int:
    same = (
        Trigger.next_due_at.is_not_distinct_from(row.next_due_at),
        Trigger.version_id.is_not_distinct_from(row.version_id),
    )
    changed = connection.execute(sa.update(Trigger).where(Trigger.id == row.id, *same).values(**values))
    if changed.rowcount:
        log.warning("trigger_armed_again", trigger=row.id, rule=row.rule_id)
    return changed.rowcount


_UNARMED = (
    sa.select(Trigger.__table__, RuleVersion.id.label("published_id"), RuleVersion.definition)
    .join(Rule, Rule.id == Trigger.rule_id)
    .join(RuleVersion, (RuleVersion.rule_id == Rule.id) & (RuleVersion.number == Rule.published))
    .where(
        Rule.enabled,
        Rule.deleted_at.is_(None),
        sa.or_(
            Trigger.version_id.is_distinct_from(RuleVersion.id),
            Trigger.kind.in_(trigger_health.BY_THE_CLOCK) & Trigger.next_due_at.is_(None),
        ),
    )
    .limit(_AT_ONCE)
)
