"""Events: what happened, as it arrived."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import payloads
from app.models import Event, Run, Trigger
from app.services.access import Actor, fetch, scoped
from app.services.paging import LIMIT, Page, containing_json, older_than, page_of


@dataclass(frozen=True, slots=True)
class EventFilter:
    rule_id: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class EventView:
    """An event with the rule it belongs to and the runs it started."""

    row: Event
    rule_id: str | None
    data: Any
    run_ids: tuple[str, ...]


def listing(
    session: Session, actor: Actor, wanted: EventFilter, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[EventView]:
    query = scoped(Event, actor).where(older_than(Event.id, "evt", cursor), *_conditions(wanted))
    rows = session.scalars(query.order_by(Event.id.desc()).limit(limit + 1)).all()
    page = page_of(rows, limit, row_id=lambda row: row.id)
    rules, runs = _rules(session, page.items), _runs(session, page.items)
    return page.map(lambda row: EventView(row, rules.get(row.source), row.data, runs.get(row.id, ())))


def get(session: Session, actor: Actor, event_id: str) -> EventView:
    row = fetch(session, Event, event_id, actor)
    data = payloads.load(session.connection(), row.data, row.payload_id)
    return EventView(row, _rules(session, [row]).get(row.source), data, _runs(session, [row]).get(row.id, ()))


def _conditions(wanted: EventFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.rule_id:
        found.append(Event.source.in_(sa.select(Trigger.id).where(Trigger.rule_id == wanted.rule_id)))
    if wanted.text:
        found.append(containing_json(Event.data, wanted.text))
    if wanted.since:
        found.append(Event.received_at >= wanted.since)
    if wanted.until:
        found.append(Event.received_at < wanted.until)
    return found


def _rules(session: Session, rows: list[Event]) -> dict[str, str]:
    sources = {row.source for row in rows}
    query = sa.select(Trigger.id, Trigger.rule_id).where(Trigger.id.in_(sources))
    return dict(iter(session.execute(query)))


def _runs(session: Session, rows: list[Event]) -> dict[str, tuple[str, ...]]:
    query = sa.select(Run.event_id, Run.id).where(Run.event_id.in_([row.id for row in rows])).order_by(Run.id)
    found: dict[str, tuple[str, ...]] = {}
    for event_id, run_id in session.execute(query):
        found[event_id] = (*found.get(event_id, ()), run_id)
    return found
