"""What a task keeps over its attempts."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine.commit import GroupCommit
from app.engine.upsert import upsert
from app.errors import UnavailableError
from app.models import Kept
from app.sdk.errors import TemporaryError

log = structlog.get_logger()

T = TypeVar("T")

# Longer than a failed task is tried again by itself (about three hours), and than most outages.
_KEPT_FOR = timedelta(days=7)
_SWEPT_AT_ONCE = 500
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """See `app.sdk.context.Memory`; `task_key` is the task's idempotency key."""

    database: sa.Engine
    writer: GroupCommit
    workspace_id: str
    task_key: str

    def recall(self, name: str) -> Any:
        """Raises TemporaryError, before anything is done, when the database cannot be read."""
        look = sa.select(Kept.value).where(
            Kept.task_key == self.task_key, Kept.name == name, Kept.workspace_id == self.workspace_id
        )
        try:
            with read_connection(self.database) as connection:
                return connection.scalar(look)
        except UnavailableError as error:
            raise TemporaryError(str(error), sent=False) from error

    def keep(self, name: str, value: Any) -> None:
        row: dict[str, Any] = {"task_key": self.task_key, "name": name, "workspace_id": self.workspace_id}
        row |= {"value": value, "created_at": clock.now()}
        when_possible(lambda: self.writer.submit(lambda connection: _keep(connection, row)))


def when_possible(write: Callable[[], T], *, patience_s: float = _PATIENCE_S) -> T:
    """What was paid for must be written down: a database that is away is waited for.

    Raises TemporaryError when it stays away.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return write()
        except UnavailableError as error:
            if time.monotonic() > give_up_at:
                raise TemporaryError(str(error)) from error
            log.warning("database_waited_for")
            time.sleep(0.5)


def _keep(connection: sa.Connection, row: dict[str, Any]) -> None:
    change = {name: row[name] for name in ("value", "created_at")}
    upsert(connection, Kept, row, unique=("task_key", "name"), change=change)


def sweep(connection: sa.Connection, now: datetime) -> int:
    """Forget what is too old to be asked for; a batch at a time, of how many tasks."""
    old = list(
        connection.scalars(
            sa.select(Kept.task_key).distinct().where(Kept.created_at < now - _KEPT_FOR).limit(_SWEPT_AT_ONCE)
        )
    )
    if old:
        connection.execute(sa.delete(Kept).where(Kept.task_key.in_(old), Kept.created_at < now - _KEPT_FOR))
    return len(old)
