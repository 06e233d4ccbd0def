"""The processes of this server as they last reported, and the size of its database."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.models import Heartbeat
from app.models.heartbeat import TICK_ID
from app.services.health import WORKER_KIND

_SEEN: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Workers:
    """How many were seen in the last 30 seconds, and when one last was."""

    alive: int
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Process:
    id: str
    kind: str
    host: str
    pid: int
    started_at: datetime
    seen_at: datetime
    alive: bool


def workers(session: Session) -> Workers:
    now = clock.now()
    seen = session.scalars(sa.select(Heartbeat.seen_at).where(Heartbeat.kind == WORKER_KIND)).all()
    return Workers(sum(now - at < _SEEN for at in seen), max(seen, default=None))


def listing(session: Session) -> list[Process]:
    """The longest lived first, those that are gone last; without the tick, which no process owns."""
    now = clock.now()
    rows = session.scalars(
        sa.select(Heartbeat)
        .where(Heartbeat.id != TICK_ID, Heartbeat.id != "readyz")
        .order_by(Heartbeat.started_at)
    )
    found = [_process(row, now) for row in rows]
    return sorted(found, key=lambda process: not process.alive)


def last_tick(session: Session) -> datetime | None:
    return session.scalar(sa.select(Heartbeat.seen_at).where(Heartbeat.id == TICK_ID))


def database_bytes(session: Session) -> int:
    if session.get_bind().dialect.name == "sqlite":
        pages = session.connection().exec_driver_sql("PRAGMA page_count").scalar_one()
        return int(pages) * int(session.connection().exec_driver_sql("PRAGMA page_size").scalar_one())
    return int(session.execute(sa.select(sa.func.pg_database_size(sa.func.current_database()))).scalar_one())


def _process(row: Any, now: datetime) -> Process:
    alive = row.gone_at is None and now - row.seen_at < _SEEN
    return Process(row.id, row.kind, row.host, row.pid, row.started_at, row.seen_at, alive)
