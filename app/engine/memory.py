"""What a task keeps over its attempts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine.commit import GroupCommit
from app.extensions import read_connection
from app.models import Kept

_KEPT_FOR = timedelta(days=7)
_SWEPT_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """See `app.sdk.context.Memory`; `task_key` is the task's idempotency key."""

    database: sa.Engine
    writer: GroupCommit
    workspace_id: str
    task_key: str

    def recall(self, name: str) -> Any:
        with read_connection(self.database) as connection:
            return connection.scalar(
                sa.select(Kept.value).where(
                    Kept.task_key == self.task_key, Kept.name == name, Kept.workspace_id == self.workspace_id
                )
            )

    def keep(self, name: str, value: Any) -> None:
        row = {"task_key": self.task_key, "name": name, "workspace_id": self.workspace_id, "value": value}
        self.writer.submit(lambda connection: _keep(connection, row | {"created_at": clock.now()}))


def _keep(connection: sa.Connection, row: dict[str, Any]) -> None:
    connection.execute(sa.delete(Kept).where(Kept.task_key == row["task_key"], Kept.name == row["name"]))
    connection.execute(sa.insert(Kept), row)


def sweep(connection: sa.Connection, now: datetime) -> int:
    old = list(
        connection.scalars(
            sa.select(Kept.task_key).distinct().where(Kept.created_at < now - _KEPT_FOR).limit(_SWEPT_AT_ONCE)
        )
    )
    if old:
        connection.execute(sa.delete(Kept).where(Kept.task_key.in_(old)))
    return len(old)
