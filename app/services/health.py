"""How the server is: whether it may be sent work, and the figures that an operator watches."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import DBAPIError

from app import clock
from app.config import CHECKOUT
from app.database import write_connection
from app.engine import disk
from app.engine.core import Engine
from app.errors import ForbiddenError, UnavailableError
from app.models import Heartbeat, Queue, Run, State, Task, Workspace
from app.models.heartbeat import TICK_ID
from app.services.access import Actor

WORKER_KIND: Final = "worker"
_SEEN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Readiness:
    """One word or sentence each; Redis away delays work and stops nothing."""

    ready: bool
    database: str
    disk: str
    migrations: str
    worker: str
    redis: str


def readiness(engine: Engine) -> Readiness:
    database = _writable(engine)
    migrations = _migrated(engine) if database == "ok" else "unknown"
    worker = _worker(engine) if database == "ok" else "unknown"
    redis = "ok" if engine.doorbell.is_reachable() else "away"
    room = disk.watch(engine.database).room().trouble or "ok"
    return Readiness(
        ready=database == room == migrations == worker == "ok",
        database=database,
        disk=room,
        migrations=migrations,
        worker=worker,
        redis=redis,
    )


def metrics(engine: Engine, actor: Actor) -> bytes:
    """In Prometheus' text form; read from the database at this moment, so that any process tells the same."""
    if not actor.operator:
        raise ForbiddenError("metrics are for the operators of this server; use an operator's api key")
    registry = CollectorRegistry()
    registry.register(_Figures(engine))
    return generate_latest(registry)


def _writable(engine: Engine) -> str:
    try:
        with write_connection(engine.database, patience_s=1.0) as connection:
            connection.execute(sa.update(Heartbeat).where(Heartbeat.id == "readyz").values(pid=0))
    except UnavailableError:
        return "busy"
    except DBAPIError:
        return "cannot be written"
    return "ok"


def _migrated(engine: Engine) -> str:
    with engine.database.connect() as connection:
        found = set(MigrationContext.configure(connection).get_current_heads())
    return (
        "ok" if found == _newest(str(CHECKOUT / "migrations")) else "not at the newest; run the release step"
    )


@lru_cache(maxsize=4)
def _newest(directory: str) -> frozenset[str]:
    return frozenset(ScriptDirectory(directory).get_heads())


def _worker(engine: Engine) -> str:
    since = clock.now() - _SEEN
    with engine.database.connect() as connection:
        seen = connection.scalar(
            sa.select(sa.func.count())
            .select_from(Heartbeat)
            .where(Heartbeat.kind == WORKER_KIND, Heartbeat.seen_at >= since, Heartbeat.gone_at.is_(None))
        )
    return "ok" if seen else "no worker was seen in the last 30 seconds"


class _Figures(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._engine.database.connect() as connection:
            yield _by_state(connection, Task, "bitqueue_tasks", "tasks by state")
            yield _by_state(connection, Run, "bitqueue_runs", "runs by state")
            yield from _queues(connection)
            yield from _processes(connection)
        redis = GaugeMetricFamily("bitqueue_redis_up", "whether redis answers")
        redis.add_metric([], float(self._engine.doorbell.is_reachable()))
        yield redis


def _by_state(
    connection: sa.Connection, model: type[Task] | type[Run], name: str, about: str
) -> GaugeMetricFamily:
    found = connection.execute(sa.select(model.state, sa.func.count()).group_by(model.state))
    counts = dict(iter(found))
    family = GaugeMetricFamily(name, about, labels=["state"])
    for state in State:
        family.add_metric([state.value], counts.get(state, 0))
    return family


def _queues(connection: sa.Connection) -> Iterator[GaugeMetricFamily]:
    labels = ["workspace", "queue"]
    depth = GaugeMetricFamily("bitqueue_queue_waiting", "tasks that could start now", labels=labels)
    oldest = GaugeMetricFamily(
        "bitqueue_queue_oldest_seconds", "age of the longest waiting task", labels=labels
    )
    now = clock.now()
    rows = connection.execute(
        sa.select(Workspace.id, Queue.name, sa.func.count(Task.id), sa.func.min(Task.due_at))
        .select_from(Queue)
        .join(Workspace, Workspace.id == Queue.workspace_id)
        .outerjoin(Task, (Task.queue_id == Queue.id) & (Task.state == State.QUEUED))
        .group_by(Workspace.id, Queue.name)
    )
    for workspace, name, count, due_at in rows:
        depth.add_metric([workspace, name], count)
        oldest.add_metric([workspace, name], max(0.0, (now - due_at).total_seconds()) if count else 0.0)
    yield depth
    yield oldest


def _processes(connection: sa.Connection) -> Iterator[GaugeMetricFamily]:
    now = clock.now()
    rows = connection.execute(
        sa.select(Heartbeat.id, Heartbeat.kind, Heartbeat.seen_at, Heartbeat.gone_at)
    ).all()
    alive = [
        row for row in rows if row.kind == WORKER_KIND and row.gone_at is None and now - row.seen_at < _SEEN
    ]
    workers = GaugeMetricFamily("bitqueue_workers", "workers seen in the last 30 seconds")
    workers.add_metric([], len(alive))
    yield workers
    tick = GaugeMetricFamily("bitqueue_tick_age_seconds", "since the last tick")
    for row in rows:
        if row.id == TICK_ID:
            tick.add_metric([], (now - row.seen_at).total_seconds())
    yield tick
