"""What has happened: runs and the API's own tasks in one list, newest first."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import alerts
from app.engine.core import Engine
from app.models import Event, Rule, Run, State, Task
from app.services import runs, tasks
from app.services.access import Actor, scoped
from app.services.paging import LIMIT, Page, older_than, page_of
from app.services.runs import RunFilter, RunView
from app.services.tasks import TaskFilter, TaskView

Kind = Literal["run", "task"]

# A text is looked for in so many of the newest rows at a time; the next page goes on below.
SEARCHED: Final = 5000
_LEAD_CHARS: Final = 400
_LINE_CHARS: Final = 120
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_BRACKETS = re.compile(r'[{}\[\]"]')


@dataclass(frozen=True, slots=True)
class Wanted:
    """`state` is a State or "filtered"."""

    state: str | None = None
    rule_id: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """`text` is what the event brought or the task was given, in one line; `due_at` is when a waiting one goes on."""

    kind: Kind
    id: str
    title: str
    rule_id: str | None
    state: State
    filtered: bool
    at: datetime
    took_ms: float | None
    text: str
    cause: str | None
    due_at: datetime | None = None


def listing(
    session: Session,
    actor: Actor,
    engine: Engine,
    wanted: Wanted,
    *,
    cursor: str | None = None,
    limit: int = LIMIT,
) -> Page[Entry]:
    """Raises CursorError. With a text, a page may be short and yet have a next one."""
    floor = _floor(session, actor, cursor) if wanted.text else None
    if floor is not None:
        wanted = replace(wanted, since=max(filter(None, (wanted.since, floor[1]))))
    found: list[RunView | TaskView] = [
        *_runs(session, actor, wanted, cursor=cursor, limit=limit + 1),
        *_tasks(session, actor, wanted, cursor=cursor, limit=limit + 1),
    ]
    newest = sorted(found, key=lambda view: _moment(view.row.id), reverse=True)
    page = page_of(newest, limit, row_id=lambda view: view.row.id)
    entries = _entries(session, engine, page.items)
    return Page(entries, page.next_cursor or (_cursor_at(floor[0]) if floor else None))


def rule_names(session: Session, actor: Actor) -> list[tuple[str, str]]:
    """(id, name) of the rules one may filter by."""
    rows = session.execute(
        sa.select(Rule.id, Rule.name)
        .where(Rule.workspace_id == actor.workspace_id, Rule.deleted_at.is_(None))
        .order_by(sa.func.lower(Rule.name), Rule.id)
    )
    return list(rows)


def runs_of(session: Session, actor: Actor, event_id: str) -> list[tuple[Run, str]]:
    """The newest runs of an event, each with its rule's name."""
    query = scoped(Run, actor).add_columns(Rule.name).join(Rule, Rule.id == Run.rule_id)
    rows = session.execute(query.where(Run.event_id == event_id).order_by(Run.id.desc()).limit(LIMIT))
    return [(row[0], row[1]) for row in rows]


def took_ms(row: Run | Task) -> float | None:
    """From the first try to the end; None while it goes on."""
    if row.finished_at is None:
        return None
    return (row.finished_at - (row.started_at or row.created_at)) / timedelta(milliseconds=1)


def action_title(engine: Engine, key: str | None) -> str:
    action = engine.catalogue.action(key or "")
    return action.title if action else key or "task"


def task_title(engine: Engine, row: Task) -> str:
    """Of one without a run: what it does, and whether it brings an alert."""
    title = action_title(engine, row.action)
    return f"Alert: {title}" if (row.idempotency_key or "").startswith(alerts.KEY) else title


def trigger_title(engine: Engine, key: str) -> str:
    trigger = engine.catalogue.trigger(key)
    return trigger.title if trigger else key


def _runs(session: Session, actor: Actor, wanted: Wanted, *, cursor: str | None, limit: int) -> list[RunView]:
    found = RunFilter(wanted.state, wanted.rule_id, wanted.text, wanted.since, wanted.until)
    return runs.listing(session, actor, found, cursor=cursor, limit=limit).items


def _tasks(
    session: Session, actor: Actor, wanted: Wanted, *, cursor: str | None, limit: int
) -> list[TaskView]:
    if wanted.rule_id or (wanted.state and wanted.state not in set(State)):
        return []
    found = TaskFilter(
        state=State(wanted.state) if wanted.state else None,
        text=wanted.text,
        since=wanted.since,
        until=wanted.until,
        alone=True,
    )
    return tasks.listing(session, actor, found, cursor=cursor, limit=limit).items


def _floor(session: Session, actor: Actor, cursor: str | None) -> tuple[str, datetime] | None:
    """The oldest row in which a text is looked for this time; None: there is none beyond."""
    nouns: tuple[tuple[type[Run | Task], str], ...] = ((Run, "run"), (Task, "tsk"))
    found = [_nth(session, actor, model, older_than(model.id, prefix, cursor)) for model, prefix in nouns]
    return max((row for row in found if row), key=lambda row: _moment(row[0]), default=None)


def _nth(
    session: Session, actor: Actor, model: type[Run] | type[Task], older: sa.ColumnElement[bool]
) -> tuple[str, datetime] | None:
    query = (
        sa.select(model.id, model.created_at)
        .where(model.workspace_id == actor.workspace_id, older)
        .order_by(model.id.desc())
        .offset(SEARCHED)
        .limit(1)
    )
    row = session.execute(query).first()
    return (row[0], row[1]) if row else None


def _moment(row_id: str) -> str:
    return row_id.partition("_")[2]


def _cursor_at(row_id: str) -> str | None:
    return page_of([row_id, row_id], 1, row_id=str).next_cursor


def _entries(session: Session, engine: Engine, views: Sequence[RunView | TaskView]) -> list[Entry]:
    found = [view.row for view in views if isinstance(view, RunView)]
    leads, due = _leads(session, found), _due(session, found)
    return [
        _run_entry(view, leads, due) if isinstance(view, RunView) else _task_entry(engine, view)
        for view in views
    ]


def _run_entry(view: RunView, leads: Mapping[str, str], due: Mapping[str, datetime]) -> Entry:
    row = view.row
    return Entry(
        kind="run",
        id=row.id,
        title=view.rule,
        rule_id=row.rule_id,
        state=row.state,
        filtered=row.filtered_by is not None,
        at=row.created_at,
        took_ms=took_ms(row),
        text=leads.get(row.event_id, ""),
        cause=row.cause,
        due_at=due.get(row.id),
    )


def _task_entry(engine: Engine, view: TaskView) -> Entry:
    row = view.row
    return Entry(
        kind="task",
        id=row.id,
        title=task_title(engine, row),
        rule_id=None,
        state=row.state,
        filtered=False,
        at=row.created_at,
        took_ms=took_ms(row),
        text=line(row.params),
        cause=row.cause,
        due_at=row.due_at if row.state is State.WAITING else None,
    )


def _leads(session: Session, rows: Sequence[Run]) -> dict[str, str]:
    """The beginning of each run's event: events are large, a line of a list is not."""
    data = sa.func.substr(sa.type_coerce(Event.data, sa.Text), 1, _LEAD_CHARS)
    query = sa.select(Event.id, data).where(Event.id.in_({row.event_id for row in rows}))
    return {event_id: _lead(text) for event_id, text in session.execute(query)}


def _lead(text: str | None) -> str:
    if text is None:
        return "a large event"
    try:
        return line(json.loads(text))
    except ValueError:
        return line(_BRACKETS.sub("", _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)))


def _due(session: Session, rows: Sequence[Run]) -> dict[str, datetime]:
    waiting = [row.id for row in rows if row.state is State.WAITING]
    query = sa.select(Task.run_id, Task.due_at).where(Task.run_id.in_(waiting), Task.state == State.WAITING)
    return {str(run_id): due_at for run_id, due_at in session.execute(query)}


def line(value: Any) -> str:
    """`order: A-1, total: 120, customer: Ada Example`: any value in one short line."""
    if isinstance(value, Mapping):
        # What begins so is about the call, not what it said.
        named = [(name, item) for name, item in value.items() if not str(name).startswith("_")][:20]
        value = ", ".join(f"{name}: {_inside(item)}" for name, item in named)
    text = " ".join(_inside(value).split())
    return text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS - 1] + "…"


def _inside(value: Any) -> str:
    """An object by its first plain value, a list by its plain values or its length."""
    if isinstance(value, Mapping):
        return next((_inner(item) for item in value.values() if not isinstance(item, Mapping | list)), "…")
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        return f"{len(value)} {'entry' if len(value) == 1 else 'entries'}"
    return ", ".join(map(_inner, value[:20])) if isinstance(value, list) else _inner(value)


def _inner(value: Any) -> str:
    if value is None:
        return ""
    text = value[: 2 * _LINE_CHARS] if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A page is UTF-8, and a lone surrogate in somebody's data is not; a pair becomes its character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
