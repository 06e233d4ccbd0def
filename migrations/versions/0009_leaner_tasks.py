"""Fewer and smaller indexes of tasks: each is written whenever a task changes its state."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_RUNNING = sa.text("state = 'running'")
_WITH_KEY = sa.text("idempotency_key IS NOT NULL")
_FINISHED = sa.text("finished_at IS NOT NULL")
_KEY = ["workspace_id", "idempotency_key"]


def upgrade() -> None:
    op.drop_index("ix_tasks_workspace", "tasks")
    op.drop_index("ix_tasks_worker", "tasks")
    op.drop_index("uq_tasks_idempotency", "tasks")
    op.create_index(
        "uq_tasks_idempotency", "tasks", _KEY, unique=True, sqlite_where=_WITH_KEY, postgresql_where=_WITH_KEY
    )
    op.create_index(
        "ix_tasks_finished",
        "tasks",
        ["queue_id", "finished_at"],
        sqlite_where=_FINISHED,
        postgresql_where=_FINISHED,
    )


def downgrade() -> None:
    op.drop_index("ix_tasks_finished", "tasks")
    op.drop_index("uq_tasks_idempotency", "tasks")
    op.create_index("uq_tasks_idempotency", "tasks", _KEY, unique=True)
    op.create_index(
        "ix_tasks_worker", "tasks", ["worker_id"], sqlite_where=_RUNNING, postgresql_where=_RUNNING
    )
    op.create_index("ix_tasks_workspace", "tasks", ["workspace_id", "id"])
