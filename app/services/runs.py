"""Runs: what each did, step by step, and doing it again."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import life, payloads
from app.models import Event, Role, Rule, RuleVersion, Run, State, Task
from app.services import tasks
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.paging import LIMIT, Page, containing, containing_json, older_than, page_of
from app.services.tasks import TaskView

FILTERED = "filtered"


@dataclass(frozen=True, slots=True)
class RunFilter:
    """`state` is a State or "filtered": succeeded early, because a filter did not match."""

    state: str | None = None
    rule_id: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its rule's present name, the version it keeps, and its tasks in the order of the steps."""

    row: Run
    rule: str
    version: int
    tasks: tuple[TaskView, ...] = ()
    event: Event | None = None
    event_data: Any = None


def listing(
    session: Session, actor: Actor, wanted: RunFilter, *, cursor: str | None = None, limit: int = LIMIT
) -> Page[RunView]:
    """Newest first, without tasks and events."""
    query = scoped(Run, actor).where(older_than(Run.id, "run", cursor), *_conditions(wanted))
    rows = session.scalars(query.order_by(Run.id.desc()).limit(limit + 1)).all()
    page = page_of(rows, limit, row_id=lambda row: row.id)
    names, numbers = _rule_names(session, page.items), _version_numbers(session, page.items)
    return page.map(lambda row: RunView(row, names[row.rule_id], numbers.get(row.version_id, 0)))


def get(session: Session, actor: Actor, run_id: str) -> RunView:
    row = fetch(session, Run, run_id, actor)
    event = session.get(Event, row.event_id)
    return RunView(
        row,
        _rule_names(session, [row])[row.rule_id],
        _version_numbers(session, [row]).get(row.version_id, 0),
        tuple(_tasks(session, row)),
        event,
        payloads.load(session.connection(), event.data, event.payload_id) if event else None,
    )


def replay(
    session: Session, actor: Actor, run_id: str, *, from_step: str | None = None, newest: bool = False
) -> RunView:
    """A new run for the same event; a second call gives the same. The caller rings."""
    require(actor, Role.EDITOR)
    row = fetch(session, Run, run_id, actor)
    made = life.replay_run(session, row, from_step=from_step, newest=newest)
    if not made.repeated:
        audit(session, actor, "ran again", run_id, detail={"new": made.id})
    session.flush()
    session.expire_all()
    return get(session, actor, made.id)


def cancel(session: Session, actor: Actor, run_id: str) -> RunView:
    """Raises ConflictError where it has ended."""
    require(actor, Role.EDITOR)
    row = fetch(session, Run, run_id, actor)
    life.cancel_run(session, row)
    audit(session, actor, "canceled run", run_id)
    session.flush()
    session.expire_all()
    return get(session, actor, run_id)


def _tasks(session: Session, run: Run) -> list[TaskView]:
    rows = session.scalars(sa.select(Task).where(Task.run_id == run.id)).all()
    return tasks.whole(session, sorted(rows, key=lambda row: (_place(row.path), row.id)))


def _place(path: str) -> tuple[int, str]:
    digits = path[: len(path) - len(path.lstrip("0123456789"))]
    return int(digits or 0), path


def _conditions(wanted: RunFilter) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.state == FILTERED:
        found.append(Run.filtered_by.is_not(None))
    elif wanted.state:
        found.append(Run.state == wanted.state if wanted.state in set(State) else sa.false())
    if wanted.rule_id:
        found.append(Run.rule_id == wanted.rule_id)
    if wanted.text:
        found.append(_says(wanted.text))
    if wanted.since:
        found.append(Run.created_at >= wanted.since)
    if wanted.until:
        found.append(Run.created_at < wanted.until)
    return found


def _says(text: str) -> sa.ColumnElement[bool]:
    """In the cause, the event that started it, or what its steps were given and gave."""
    in_tasks = sa.or_(
        containing_json(Task.params, text), containing_json(Task.output, text), containing(Task.cause, text)
    )
    return sa.or_(
        Run.id == text,
        Run.event_id == text,
        containing(Run.cause, text),
        sa.exists().where(Event.id == Run.event_id, containing_json(Event.data, text)),
        sa.exists().where(Rule.id == Run.rule_id, containing(Rule.name, text)),
        sa.exists().where(Task.run_id == Run.id, in_tasks),
    )


def _rule_names(session: Session, rows: list[Run]) -> dict[str, str]:
    query = sa.select(Rule.id, Rule.name).where(Rule.id.in_({row.rule_id for row in rows}))
    return dict(iter(session.execute(query)))


def _version_numbers(session: Session, rows: list[Run]) -> dict[str, int]:
    query = sa.select(RuleVersion.id, RuleVersion.number).where(
        RuleVersion.id.in_({row.version_id for row in rows})
    )
    return dict(iter(session.execute(query)))
