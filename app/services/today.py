"""What ran today: how many of what became what, by the hour and by rule, in the reader's own day."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.models import Rule, Run, State, Task
from app.services.access import Actor
from app.services.moments import since
from app.services.runs import FILTERED

STATES: Final = (
    State.SUCCEEDED,
    State.FAILED,
    FILTERED,
    State.QUEUED,
    State.RUNNING,
    State.WAITING,
    State.UNCERTAIN,
)
# Counted are so many of the newest at most, so that Home is quick on a busy day too.
COUNTED: Final = 20_000
_BUSIEST: Final = 10
_HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Hour:
    label: str
    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class Tally:
    """One rule's day; `id` is None for the tasks of the API."""

    id: str | None
    name: str
    counts: dict[str, int] = field(default_factory=dict)
    last_at: datetime | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Today:
    """`complete` is False when there were more than were counted."""

    counts: dict[str, int]
    hours: list[Hour]
    tallies: list[Tally]
    complete: bool


def today(session: Session, actor: Actor, zone: tzinfo) -> Today:
    here = clock.now().astimezone(zone)
    began_at = here.replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [*_run_rows(session, actor, began_at), *_task_rows(session, actor, began_at)]
    hours = [Hour(f"{number:02}:00") for number in range(24)]
    tallies: dict[str | None, Tally] = {}
    for row in rows:
        tally = tallies.setdefault(row.rule_id, Tally(row.rule_id, row.name or "Tasks from the API"))
        _add(row, tally, hours, began_at)
    busiest = sorted(tallies.values(), key=lambda tally: tally.total, reverse=True)[:_BUSIEST]
    counts = {state: sum(tally.counts.get(state, 0) for tally in tallies.values()) for state in STATES}
    return Today(counts, hours[: here.hour + 1], busiest, sum(row.count for row in rows) < COUNTED)


def _add(row: Any, tally: Tally, hours: list[Hour], began_at: datetime) -> None:
    shown = FILTERED if row.filtered else row.state
    tally.counts[shown] = tally.counts.get(shown, 0) + row.count
    tally.last_at = max(filter(None, (tally.last_at, row.last_at)))
    # By the clock on the wall: on the days of the change an hour is there twice, or not at all.
    hour = hours[datetime.fromtimestamp(began_at.timestamp() + row.hour * 3600, began_at.tzinfo).hour]
    hour.failed += row.count if row.state == State.FAILED else 0
    hour.succeeded += row.count if row.state == State.SUCCEEDED else 0


def _run_rows(session: Session, actor: Actor, began_at: datetime) -> Iterable[Any]:
    newest = (
        sa.select(Run.rule_id, Run.state, Run.filtered_by.is_not(None).label("filtered"), Run.created_at)
        .where(Run.workspace_id == actor.workspace_id, since(Run, "run", began_at))
        .order_by(Run.id.desc())
        .limit(COUNTED)
        .subquery()
    )
    hour = _hour(newest.c.created_at, began_at)
    return session.execute(
        sa.select(
            newest.c.rule_id, Rule.name, newest.c.state, newest.c.filtered, hour,
            sa.func.count().label("count"), sa.func.max(newest.c.created_at).label("last_at"),
        )
        .join(Rule, Rule.id == newest.c.rule_id)
        .group_by(newest.c.rule_id, Rule.name, newest.c.state, newest.c.filtered, hour)
    ).all()  # fmt: skip


def _task_rows(session: Session, actor: Actor, began_at: datetime) -> Iterable[Any]:
    newest = (
        sa.select(Task.state, Task.created_at)
        .where(Task.workspace_id == actor.workspace_id, Task.run_id.is_(None), since(Task, "tsk", began_at))
        .order_by(Task.id.desc())
        .limit(COUNTED)
        .subquery()
    )
    hour = _hour(newest.c.created_at, began_at)
    return session.execute(
        sa.select(
            sa.null().label("rule_id"), sa.null().label("name"), newest.c.state, sa.false().label("filtered"), hour,
            sa.func.count().label("count"), sa.func.max(newest.c.created_at).label("last_at"),
        )
        .group_by(newest.c.state, hour)
    ).all()  # fmt: skip


def _hour(created_at: Any, began_at: datetime) -> Any:
    """How many whole hours after the day began."""
    began_us = int(began_at.timestamp()) * 1_000_000
    elapsed_us = sa.type_coerce(created_at, sa.BigInteger) - began_us
    return (elapsed_us // (_HOUR // timedelta(microseconds=1))).label("hour")
