"""Looks now and then at what no counter follows: work that goes on, and how a workspace has grown."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from statistics import fmean
from typing import Any

import sqlalchemy as sa

from app.database import read_connection
from app.engine import weights
from app.engine.core import Engine
from app.engine.upsert import upsert
from app.models import Run, State, Storage, StorageSample, Task, Workspace
from app.models.states import TERMINAL
from app.models.storage import OPEN

# Counted no further, and weighed on so many of the newest.
_MOST_COUNTED = 50_000
_WEIGHED = 20
_OPEN_STATES = [state for state in State if state not in TERMINAL]


def look(engine: Engine, now: datetime) -> None:
    """To be called each minute."""
    with read_connection(engine.database) as connection:
        workspace_ids = list(connection.scalars(sa.select(Workspace.id)))
    for workspace_id in workspace_ids:
        with read_connection(engine.database) as connection:
            found = _open(connection, workspace_id)
        engine.writer.submit(partial(_note, found=found, now=now))


def _open(connection: sa.Connection, workspace_id: str) -> dict[str, Any]:
    """The counter of what goes on: how many runs and tasks, and what they take if all are like the newest."""
    runs = _count(connection, Run, Run.workspace_id == workspace_id)
    tasks = _count(connection, Task, Task.workspace_id == workspace_id, Task.run_id.is_(None))
    newest = _newest(connection, workspace_id) if runs else []
    each = fmean(weights.open_bytes(connection, newest) or [0.0]) if newest else 0.0
    size = int(runs * each + tasks * weights.TASK_BYTES)
    return {"workspace_id": workspace_id, "subject_id": OPEN, "count": runs + tasks, "bytes": size}


def _count(connection: sa.Connection, model: Any, *which: sa.ColumnElement[bool]) -> int:
    some = sa.select(model.id).where(*which, model.state.in_(_OPEN_STATES)).limit(_MOST_COUNTED).subquery()
    return int(connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0)


def _newest(connection: sa.Connection, workspace_id: str) -> Sequence[str]:
    query = sa.select(Run.event_id).where(Run.workspace_id == workspace_id, Run.state.in_(_OPEN_STATES))
    return connection.scalars(query.order_by(Run.id.desc()).limit(_WEIGHED)).all()


def _note(connection: sa.Connection, found: dict[str, Any], now: datetime) -> None:
    workspace_id = found["workspace_id"]
    if connection.scalar(sa.select(Workspace.id).where(Workspace.id == workspace_id)) is None:
        return
    change = {name: found[name] for name in ("count", "bytes")}
    upsert(connection, Storage, found, unique=("workspace_id", "subject_id"), change=change)
    used = connection.scalar(
        sa.select(sa.func.sum(Storage.bytes)).where(Storage.workspace_id == workspace_id)
    )
    row = {"workspace_id": workspace_id, "at": now.replace(minute=0, second=0, microsecond=0), "bytes": used}
    upsert(connection, StorageSample, row, unique=("workspace_id", "at"), change={"bytes": used})
