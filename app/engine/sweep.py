"""Housekeeping: what is kept for a time goes when that is over, a small batch at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock, ids
from app.engine import alerts, files, gauge, memory, retention
from app.engine.core import Engine
from app.models import Alert, AuditEntry, BulkOrder, Heartbeat, Invitation, SignIn, StorageSample, Usage
from app.models.heartbeat import TICK_ID

log = structlog.get_logger()

Sweep = Callable[[sa.Connection, datetime], int]

# A call ends soon even where much is left: the next one is a minute away.
_MOST_BATCHES = 20
_AT_ONCE = 500
# What reads a whole table or index is not done each minute.
_SELDOM_MINUTES = 10

AUDIT_KEPT = timedelta(days=400)
USAGE_KEPT = timedelta(days=400)
_ORDERS_KEPT = timedelta(days=30)
_INVITATIONS_KEPT = timedelta(days=30)
_HEARTBEATS_KEPT = timedelta(days=1)
_SAMPLES_KEPT = timedelta(days=8)
_ROUND_S = 2.0


def run(engine: Engine) -> int:
    """To be called each minute; how many rows went. Any number of processes may run it at once."""
    now = clock.now()
    seldom = _SELDOM if now.minute % _SELDOM_MINUTES == 0 else ()
    gone = sum(_sweep(engine, sweep, now) for sweep in (*_OFTEN, *seldom))
    gauge.look(engine, now)
    return gone + press(engine)


def press(engine: Engine) -> int:
    """What is kept is held to its budgets, round after round while there is more to do than one can; how many rows."""
    gone = 0
    while True:
        done = retention.press(engine, seconds=_ROUND_S)
        gone += done.rows
        if not done.is_behind:
            return gone


def _sweep(engine: Engine, sweep: Sweep, now: datetime) -> int:
    gone = 0
    for _ in range(_MOST_BATCHES):
        batch = engine.writer.submit(lambda connection: sweep(connection, now))
        gone += batch
        if not batch:
            break
    if gone:
        log.info("swept", what=_name(sweep), rows=gone)
    return gone


def _name(sweep: Any) -> str:
    return str(sweep.name) if isinstance(sweep, _Old) else f"{sweep.__module__}.{sweep.__name__}"


@dataclass(frozen=True, slots=True)
class _Old:
    """Rows of one table that are past their time; `past` says which those are, at an instant."""

    name: str
    key: tuple[Any, ...]
    past: Callable[[datetime], sa.ColumnElement[bool]]

    def __call__(self, connection: sa.Connection, now: datetime) -> int:
        some = sa.select(*self.key).where(self.past(now)).limit(_AT_ONCE)
        return connection.execute(
            sa.delete(self.key[0].class_).where(sa.tuple_(*self.key).in_(some))
        ).rowcount


_OFTEN: tuple[Sweep, ...] = (
    files.sweep,
    memory.sweep,
    _Old("sign_ins", (SignIn.id,), lambda now: SignIn.expires_at < now),
    # By the id, which begins with the time: the time alone has no index.
    _Old("alerts", (Alert.id,), lambda now: Alert.id < ids.least("alt", now - alerts.KEPT)),
    _Old("audit", (AuditEntry.id,), lambda now: AuditEntry.id < ids.least("aud", now - AUDIT_KEPT)),
)
_SELDOM: tuple[Sweep, ...] = (
    files.sweep_abandoned,
    retention.sweep_samples,
    _Old(
        "usage",
        (Usage.workspace_id, Usage.subject_id, Usage.day),
        lambda now: Usage.day < (now - USAGE_KEPT).date().isoformat(),
    ),
    _Old("bulk_orders", (BulkOrder.id,), lambda now: BulkOrder.id < ids.least("ord", now - _ORDERS_KEPT)),
    _Old("invitations", (Invitation.id,), lambda now: Invitation.expires_at < now - _INVITATIONS_KEPT),
    _Old(
        "heartbeats",
        (Heartbeat.id,),
        lambda now: sa.and_(Heartbeat.seen_at < now - _HEARTBEATS_KEPT, Heartbeat.id != TICK_ID),
    ),
    _Old(
        "storage_samples",
        (StorageSample.workspace_id, StorageSample.at),
        lambda now: StorageSample.at < now - _SAMPLES_KEPT,
    ),
)
