"""What Home tells: what needs somebody, what ran today, and the first steps of a new workspace."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.engine.trigger_health import Health
from app.models import Connection, Rule, Run, State, Task
from app.services import connections, trigger_health
from app.services.access import Actor, scoped
from app.services.activity import action_title
from app.services.moments import since

NeedKind = Literal["uncertain", "failed", "failed_tasks", "broken", "trigger"]

_DAY: Final = timedelta(days=1)
# Busy servers have millions of rows a day: needs are looked for in so many of the newest ones.
_LOOKED_AT: Final = 20_000
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person; `id` is what a link leads to (a task, run, rule or connection)."""

    kind: NeedKind
    id: str
    name: str
    cause: str
    at: datetime | None
    count: int = 1
    rule_id: str | None = None


@dataclass(frozen=True, slots=True)
class Start:
    """How far a new workspace has got."""

    connection: bool
    rule: bool
    on: bool
    ran: bool
    rule_id: str | None


def needs(session: Session, actor: Actor, engine: Engine) -> list[Need]:
    """Newest first."""
    found = [
        *_questions(session, actor, engine),
        *_failures(session, actor),
        *_failed_tasks(session, actor),
        *_broken(session, actor),
        *_ailing_triggers(session, actor, engine),
    ]
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(found, key=lambda need: need.at or oldest, reverse=True)


def count_needs(session: Session, actor: Actor, engine: Engine) -> int:
    """How many there are, but for failed tasks of the API; cheap enough for every page."""
    unhealthy = scoped(Connection, actor).where(Connection.healthy.is_(False))
    asking = scoped(Task, actor).where(Task.state == State.UNCERTAIN).limit(_SHOWN)
    failed = sa.select(sa.func.count(sa.distinct(_failed_runs(actor).c.rule_id)))
    parts = (_count(unhealthy), _count(asking), failed)
    counted = sum(int(session.scalar(part) or 0) for part in parts)
    return counted + len(_ailing(session, actor, engine))


def start(session: Session, actor: Actor) -> Start | None:
    """None once something has run here."""
    ran = session.scalar(scoped(Run, actor).with_only_columns(Run.id).limit(1))
    if ran is not None:
        return None
    rows = session.scalars(
        scoped(Rule, actor).where(Rule.deleted_at.is_(None)).order_by(Rule.id).limit(100)
    ).all()
    return Start(
        connection=session.scalar(scoped(Connection, actor).with_only_columns(Connection.id).limit(1))
        is not None,
        rule=bool(rows),
        on=any(row.enabled for row in rows),
        ran=False,
        rule_id=rows[0].id if rows else None,
    )


def _questions(session: Session, actor: Actor, engine: Engine) -> Iterator[Need]:
    query = (
        scoped(Task, actor)
        .add_columns(Rule.name)
        .outerjoin(Run, Run.id == Task.run_id)
        .outerjoin(Rule, Rule.id == Run.rule_id)
        .where(Task.state == State.UNCERTAIN)
        # Not by the bare id: SQLite would walk the index of all tasks rather than that of the few uncertain.
        .order_by(sa.func.coalesce(Task.id, "").desc())
        .limit(_SHOWN)
    )
    for task, rule in session.execute(query):
        name = f"{rule}: {action_title(engine, task.action)}" if rule else action_title(engine, task.action)
        yield Need("uncertain", task.id, name, task.cause or "", task.due_at)


def _failed_runs(actor: Actor) -> sa.Subquery:
    """Of the last day, and not done again yet."""
    return (
        sa.select(Run.id, Run.rule_id)
        .where(
            Run.workspace_id == actor.workspace_id,
            Run.state == State.FAILED,
            Run.replayed_by.is_(None),
            Run.dismissed_at.is_(None),
            since(Run, "run", clock.now() - _DAY),
        )
        .order_by(Run.id.desc())
        .limit(_LOOKED_AT)
        .subquery()
    )


def _failures(session: Session, actor: Actor) -> Iterator[Need]:
    failed = _failed_runs(actor)
    by_rule = (
        sa.select(sa.func.max(failed.c.id).label("last"), sa.func.count().label("count"))
        .group_by(failed.c.rule_id)
        .subquery()
    )
    query = (
        sa.select(Run, Rule.name, by_rule.c.count)
        .join(by_rule, by_rule.c.last == Run.id)
        .join(Rule, Rule.id == Run.rule_id)
        .order_by(Run.id.desc())
        .limit(_SHOWN)
    )
    for run, name, count in session.execute(query):
        yield Need("failed", run.id, name, run.cause or "", run.finished_at, count, run.rule_id)


def _failed_tasks(session: Session, actor: Actor) -> Iterator[Need]:
    """The API's own, as one need: nobody but their senders knows them one by one."""
    failed = (
        scoped(Task, actor)
        .with_only_columns(Task.id)
        .where(
            Task.run_id.is_(None),
            Task.state == State.FAILED,
            Task.retried_by.is_(None),
            Task.dismissed_at.is_(None),
            since(Task, "tsk", clock.now() - _DAY),
        )
        .order_by(Task.id.desc())
        .limit(_LOOKED_AT)
        .subquery()
    )
    last, count = session.execute(sa.select(sa.func.max(failed.c.id), sa.func.count())).one()
    if count:
        row = session.get_one(Task, last)
        yield Need("failed_tasks", row.id, row.action or "task", row.cause or "", row.finished_at, count)


def _broken(session: Session, actor: Actor) -> Iterator[Need]:
    rows = session.scalars(scoped(Connection, actor).where(Connection.healthy.is_(False)).limit(_SHOWN)).all()
    held = connections.held(session, actor) if rows else {}
    for row in rows:
        yield Need("broken", row.id, row.name, row.health_cause or "", row.checked_at, held.get(row.id, 0))


def _ailing(session: Session, actor: Actor, engine: Engine) -> dict[str, trigger_health.Standing]:
    """By rule id; those without their connection are told of with it, and a little late is no need."""
    return {
        rule_id: standing
        for rule_id, standing in trigger_health.ailing(session, actor, engine).items()
        if standing.state is Health.STUCK or (standing.state is Health.LATE and standing.cause)
    }


def _ailing_triggers(session: Session, actor: Actor, engine: Engine) -> Iterator[Need]:
    found = _ailing(session, actor, engine)
    names = scoped(Rule, actor).where(Rule.id.in_(list(found))).order_by(Rule.id).limit(_SHOWN)
    for rule in session.scalars(names):
        standing = found[rule.id]
        yield Need("trigger", rule.id, rule.name, standing.cause or standing.sentence, standing.last_at)


def _count(query: sa.Select[Any]) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(query.subquery())
