"""Which rule a task is of, and fewer and smaller indexes of tasks: each is written whenever a task changes its state."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_QUEUED = sa.text("state = 'queued'")
_RUNNING = sa.text("state = 'running'")
_WITH_KEY = sa.text("idempotency_key IS NOT NULL")
_FINISHED = sa.text("finished_at IS NOT NULL")
_KEY = ["workspace_id", "idempotency_key"]


def upgrade() -> None:
    op.add_column("tasks", sa.Column("rule_id", sa.String(), nullable=False, server_default=""))
    op.execute(
        "UPDATE tasks SET rule_id = (SELECT runs.rule_id FROM runs WHERE runs.id = tasks.run_id) "
        "WHERE run_id IS NOT NULL AND state IN ('queued', 'waiting', 'running', 'uncertain')"
    )
    op.create_index(
        "ix_tasks_queued_of_rule",
        "tasks",
        ["queue_id", "rule_id", sa.text("priority DESC"), "due_at", "id"],
        sqlite_where=_QUEUED,
        postgresql_where=_QUEUED,
    )
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
    op.drop_index("ix_tasks_queued_of_rule", "tasks")
    op.drop_index("ix_tasks_finished", "tasks")
    op.drop_index("uq_tasks_idempotency", "tasks")
    op.create_index("uq_tasks_idempotency", "tasks", _KEY, unique=True)
    op.create_index(
        "ix_tasks_worker", "tasks", ["worker_id"], sqlite_where=_RUNNING, postgresql_where=_RUNNING
    )
    op.create_index("ix_tasks_workspace", "tasks", ["workspace_id", "id"])
    op.drop_column("tasks", "rule_id")
