"""What somebody must hear of, found in the database by whoever ticks: no process tells of its own death."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine import alerts, disk, rearm, standstill, trigger_health
from app.engine.alerts import Cause
from app.engine.core import Engine
from app.engine.retention import STRIP_FROM
from app.engine.trigger_health import Health
from app.engine.upsert import upsert
from app.errors import UnavailableError
from app.models import (
    Alert,
    AlertKind,
    Connection,
    Membership,
    Rule,
    Run,
    Storage,
    SweepMark,
    Trigger,
    User,
    Workspace,
)

log = structlog.get_logger()

EVERY = timedelta(seconds=10)
# What fails is written with its time before it is committed, and machines' clocks differ a little.
_LAG = timedelta(seconds=10)
_MARK = "alerts"
_RULES_AT_ONCE = 500
_LASTING = (AlertKind.STUCK, AlertKind.BROKEN, AlertKind.DISK)


def look(engine: Engine) -> int:
    """To be called each second, by as many as like; how many alerts that made. Never raises for want of a database."""
    try:
        return _look(engine)
    except UnavailableError:
        log.warning("alerts_put_off")
        return 0


def _look(engine: Engine) -> int:
    now = clock.now()
    with read_connection(engine.database) as connection:
        mark = connection.scalar(sa.select(SweepMark.upto).where(SweepMark.name == _MARK))
    before = datetime.fromisoformat(mark) if mark else None
    if before is not None and timedelta() <= now - before < EVERY:
        return 0
    rearm.rearm(engine)
    with read_connection(engine.database) as connection:
        lasting = [*_stuck(connection, engine, now), *_broken(connection), *_full(connection, engine)]
        passing = list(_failed(connection, (before or now) - _LAG, now - _LAG))

    def unit(connection: sa.Connection) -> int:
        if not _take(connection, mark, now):
            return 0
        _end_others(connection, lasting)
        return sum(alerts.tell(connection, engine, cause) for cause in (*lasting, *passing))

    return engine.writer.submit(unit)


def _take(connection: sa.Connection, mark: str | None, now: datetime) -> bool:
    """Whether this look is ours: what it found is told of once."""
    upto = now.astimezone(UTC).isoformat()
    if mark is None:
        upsert(connection, SweepMark, {"name": _MARK, "upto": upto}, unique=["name"], change={"upto": upto})
        return True
    ours = sa.update(SweepMark).where(SweepMark.name == _MARK, SweepMark.upto == mark)
    return bool(connection.execute(ours.values(upto=upto)).rowcount)


def _end_others(connection: sa.Connection, lasting: Sequence[Cause]) -> None:
    found = {(cause.workspace_id, cause.key) for cause in lasting}
    lasted = sa.select(Alert.id, Alert.workspace_id, Alert.cause).where(
        Alert.over_at.is_(None), Alert.kind.in_(_LASTING)
    )
    for row in connection.execute(lasted).all():
        if (row.workspace_id, row.cause) not in found:
            alerts.end(connection, row.id)


def _failed(connection: sa.Connection, since: datetime, until: datetime) -> Iterator[Cause]:
    """Rules of which runs failed after `since`, up to `until`."""
    recent = (
        sa.select(Run.rule_id, sa.func.count().label("count"), sa.func.max(Run.id).label("last"))
        # The state as the index has it: a parameter would not match it.
        .where(sa.literal_column("state") == sa.literal_column("'failed'"))
        .where(Run.finished_at > since, Run.finished_at <= until)
        .group_by(Run.rule_id)
        .limit(_RULES_AT_ONCE)
        .subquery()
    )
    query = (
        sa.select(Rule.workspace_id, Rule.id, Rule.name, recent.c.count, Run.cause)
        .join(recent, recent.c.rule_id == Rule.id)
        .join(Run, Run.id == recent.c.last)
        .where(Rule.deleted_at.is_(None))
    )
    for row in connection.execute(query).all():
        # Not `row.count`: that is a tuple's own.
        workspace_id, rule_id, name, count, cause = row
        times = "" if count == 1 else f" {count:,} times"
        sentence = f"{name} failed{times}: {cause or 'the run says why'}"
        yield Cause(
            workspace_id, AlertKind.FAILED, f"failed:{rule_id}", f"{name} failed", sentence, rule_id, count
        )


def _stuck(connection: sa.Connection, engine: Engine, now: datetime) -> Iterator[Cause]:
    for row in connection.execute(suspects(now)).all():
        if trigger_health.health(engine, row, now, connected=row.connected) is Health.STUCK:
            why = row.last_error or "nothing has started it since; look whether a worker and the clock run"
            sentence = f"{row.rule_name} missed its times: {why}"
            yield Cause(
                row.workspace_id, AlertKind.STUCK, standstill.key(row.id), f"{row.rule_name} is stuck",
                sentence, row.rule_id, lasts=True,
            )  # fmt: skip


def suspects(now: datetime) -> sa.Select[Any]:
    """Triggers that may not be armed as they should: those that surely are stay unread."""
    unpunctual = sa.or_(
        Trigger.next_due_at.is_(None),
        Trigger.next_due_at < now - timedelta(seconds=60),
        Trigger.missed > 0,
        Trigger.looked_at < now - timedelta(minutes=2),
    )
    by_the_clock = Trigger.kind.in_(trigger_health.BY_THE_CLOCK)
    return enabled().where(
        sa.or_(by_the_clock & unpunctual, Trigger.last_error.is_not(None), sa.not_(CONNECTED))
    )


CONNECTED: sa.ColumnElement[bool] = sa.func.coalesce(Connection.healthy, sa.true())


def enabled() -> sa.Select[Any]:
    """Triggers of rules that are on, with the rule's name and whether the connection can be used."""
    return (
        sa.select(Trigger.__table__, Rule.name.label("rule_name"), CONNECTED.label("connected"))
        .join(Rule, Rule.id == Trigger.rule_id)
        .outerjoin(Connection, Connection.id == Trigger.connection_id)
        .where(Trigger.version_id.is_not(None), Rule.deleted_at.is_(None))
    )


def _broken(connection: sa.Connection) -> Iterator[Cause]:
    query = sa.select(Connection.workspace_id, Connection.id, Connection.name, Connection.health_cause).where(
        sa.not_(Connection.healthy)
    )
    for row in connection.execute(query).all():
        sentence = (
            f"the connection {row.name} is broken: {row.health_cause or 'it was refused'}; connect it again"
        )
        yield Cause(
            row.workspace_id, AlertKind.BROKEN, f"broken:{row.id}", f"The connection {row.name} is broken",
            sentence, row.id, lasts=True, through=row.id,
        )  # fmt: skip


def _full(connection: sa.Connection, engine: Engine) -> Iterator[Cause]:
    trouble = disk.watch(engine.database).room().trouble
    if trouble:
        for workspace_id in _of_operators(connection):
            yield Cause(workspace_id, AlertKind.DISK, "disk", "The disk is full", trouble, lasts=True)
    used = sa.func.sum(Storage.bytes)
    query = (
        sa.select(Workspace.id, used, Workspace.budget_bytes)
        .join(Storage, Storage.workspace_id == Workspace.id)
        .group_by(Workspace.id, Workspace.budget_bytes)
        .having(used >= Workspace.budget_bytes * STRIP_FROM)
    )
    for workspace_id, bytes_used, budget in connection.execute(query).all():
        part = 100 * int(bytes_used) // budget
        sentence = (
            f"{part} % of the storage budget is used, and the data of the oldest runs are removed; "
            "raise the budget, or keep runs for fewer days"
        )
        yield Cause(
            workspace_id, AlertKind.DISK, "storage", f"{part} % of the storage is used", sentence, lasts=True
        )


def _of_operators(connection: sa.Connection) -> Sequence[str]:
    """Where somebody is who can make room."""
    query = sa.select(Membership.workspace_id).join(User, User.id == Membership.user_id).where(User.operator)
    return connection.scalars(query.distinct()).all()
