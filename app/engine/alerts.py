"""Alerts: what went wrong becomes a row, at most one a cause an hour, and a task for each who wants a message."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock, ids
from app.engine import alert_channels, masking, secrets
from app.engine.core import Engine
from app.engine.enqueue import NewTask, store_task
from app.engine.upsert import insert_once
from app.models import (
    Alert,
    AlertKind,
    AlertNotice,
    AlertPreference,
    Connection,
    Membership,
    Queue,
    User,
    Workspace,
)

log = structlog.get_logger()

APART = timedelta(hours=1)
# What lasts is told of again after so long.
REMIND = timedelta(days=1)
KEPT = timedelta(days=90)
QUEUE = "alerts"
_QUEUE_PRIORITY = 10
# Begins the idempotency key of each task that sends one: so it is known again in lists.
KEY = "alert:"
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Cause:
    """What went wrong; `key` names it, `lasts`: until it is over, told once; `through`: a connection that is no way."""

    workspace_id: str
    kind: AlertKind
    key: str
    title: str
    sentence: str
    subject_id: str | None = None
    count: int = 1
    lasts: bool = False
    through: str | None = None


def tell(connection: sa.Connection, engine: Engine, cause: Cause) -> bool:
    """Store it and its messages in the caller's transaction; False: it was told of already, and is only counted.

    The caller rings after its commit.
    """
    if not _lock(connection, cause.workspace_id):
        return False
    now, latest = clock.now(), _latest(connection, cause)
    if latest is not None and not _is_due(latest, now):
        _count(connection, latest, cause)
        return False
    if latest is not None:
        _close(connection, latest.id, now)
    row = _row(cause, now, latest.more if latest else 0, latest.at if latest else None)
    if not connection.execute(_ONCE[connection.dialect.name], row).rowcount:
        return False
    log.warning("alert", kind=cause.kind, cause=cause.key, workspace=cause.workspace_id)
    _notify(connection, engine, row, cause.through)
    return True


def end(connection: sa.Connection, alert_id: str) -> None:
    """What it told of is over."""
    _close(connection, alert_id, clock.now())


def _lock(connection: sa.Connection, workspace_id: str) -> bool:
    """Two who find the same at once come one after the other; False: the workspace is gone."""
    query = sa.select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True)
    return connection.scalar(query) is not None


def _latest(connection: sa.Connection, cause: Cause) -> Any:
    return connection.execute(
        sa.select(Alert.__table__)
        .where(Alert.workspace_id == cause.workspace_id, Alert.cause == cause.key)
        .order_by(Alert.hour.desc())
        .limit(1)
    ).first()


def _is_due(latest: Any, now: datetime) -> bool:
    goes_on = latest.over_at is None and not latest.more
    return bool(now - latest.at >= (REMIND if goes_on else APART))


def _count(connection: sa.Connection, latest: Any, cause: Cause) -> None:
    if latest.over_at is None:
        return
    values: dict[str, Any] = {"more": Alert.more + cause.count}
    if cause.lasts:
        values["over_at"] = None
    connection.execute(sa.update(Alert).where(Alert.id == latest.id).values(**values))


def _close(connection: sa.Connection, alert_id: str, now: datetime) -> None:
    connection.execute(
        sa.update(Alert).where(Alert.id == alert_id, Alert.over_at.is_(None)).values(over_at=now)
    )


def _row(cause: Cause, now: datetime, earlier: int, since: datetime | None) -> dict[str, Any]:
    more = f" (and {earlier:,} more since {since:%H:%M} UTC)" if earlier and since else ""
    return {
        "id": ids.new("alt"),
        "workspace_id": cause.workspace_id,
        "kind": cause.kind,
        "cause": cause.key,
        "hour": int(now.timestamp()) // 3600,
        "subject_id": cause.subject_id,
        "title": cause.title,
        "sentence": f"{cause.sentence[:_LONGEST]}{more}",
        "at": now,
        "more": 0,
        "over_at": None if cause.lasts else now,
    }


_ONCE = insert_once(Alert, "workspace_id", "cause", "hour")


def _notify(connection: sa.Connection, engine: Engine, alert: Mapping[str, Any], through: str | None) -> None:
    for person in _people(connection, alert["workspace_id"]):
        if person.kinds is not None and alert["kind"] not in person.kinds:
            continue
        message = alert_channels.compose(engine.catalogue, alert, person, engine.config.public_url)
        usable = message is not None and (message.connection_id is None or message.connection_id != through)
        task_id = None
        if message and usable:
            key = f"{KEY}{alert['id']}:{person.id}"
            task_id = enqueue(connection, engine, alert["workspace_id"], message=message, key=key)
        notice = {"alert_id": alert["id"], "user_id": person.id, "workspace_id": alert["workspace_id"]}
        connection.execute(sa.insert(AlertNotice), notice | {"task_id": task_id})


def _people(connection: sa.Connection, workspace_id: str) -> list[Any]:
    """Each member with their wishes; `integration` is None where the connection is gone or broken."""
    preference = sa.and_(
        AlertPreference.user_id == User.id, AlertPreference.workspace_id == Membership.workspace_id
    )
    account = sa.and_(
        Connection.id == AlertPreference.connection_id,
        Connection.workspace_id == Membership.workspace_id,
        Connection.healthy,
    )
    query = (
        sa.select(
            User.id, User.email, AlertPreference.kinds, AlertPreference.channel,
            AlertPreference.connection_id, AlertPreference.address, Connection.integration,
        )
        .select_from(Membership)
        .join(User, User.id == Membership.user_id)
        .outerjoin(AlertPreference, preference)
        .outerjoin(Connection, account)
        .where(Membership.workspace_id == workspace_id)
        .order_by(User.id)
    )  # fmt: skip
    return list(connection.execute(query))


def enqueue(
    connection: sa.Connection,
    engine: Engine,
    workspace_id: str,
    *,
    message: alert_channels.Message,
    key: str,
) -> str:
    """The id of the task that sends it; the caller rings after its commit."""
    task_id, shown = ids.new("tsk"), masking.mask(message.params)
    hidden = shown != message.params
    sealed = secrets.seal(engine.keyring, {"params": message.params}, bound_to=task_id) if hidden else None
    new = NewTask(
        task_id=task_id,
        workspace_id=workspace_id,
        queue_id=_queue(connection, workspace_id),
        action=message.action,
        connection_id=message.connection_id,
        params=shown,
        params_sealed=sealed,
        idempotency_key=key,
    )
    return store_task(connection, new).task_id


def _queue(connection: sa.Connection, workspace_id: str) -> str:
    """A line of their own: alerts wait neither behind other work nor for a queue that somebody paused."""
    row = {
        "id": ids.new("que"),
        "workspace_id": workspace_id,
        "name": QUEUE,
        "priority": _QUEUE_PRIORITY,
        "paused": False,
        "external": False,
        "tokens": 0.0,
        "created_at": clock.now(),
    }
    connection.execute(_QUEUE_ONCE[connection.dialect.name], row)
    found = sa.select(Queue.id).where(Queue.workspace_id == workspace_id, Queue.name == QUEUE)
    return str(connection.scalar(found))


_QUEUE_ONCE = insert_once(Queue, "workspace_id", "name")
