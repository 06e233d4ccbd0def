"""How long and how much each workspace keeps, what it takes, and what was removed to save space."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = [
    ("runs", "bytes"), ("runs", "removed_at"), ("tasks", "bytes"), ("tasks", "removed_at"),
    ("events", "removed_at"), ("events", "key_until"),
]  # fmt: skip
_INDEXES = [
    ("ix_runs_unweighed", "runs", ["id"], "bytes IS NULL AND finished_at IS NOT NULL"),
    ("ix_runs_heavy", "runs", ["workspace_id", "id"], "bytes >= 4096 AND removed_at IS NULL"),
    ("ix_tasks_unweighed", "tasks", ["id"], "run_id IS NULL AND bytes IS NULL AND finished_at IS NOT NULL"),
    ("ix_tasks_weighed", "tasks", ["workspace_id", "id"], "bytes IS NOT NULL"),
    ("ix_tasks_heavy", "tasks", ["workspace_id", "id"], "bytes >= 4096 AND removed_at IS NULL"),
    ("ix_events_key_until", "events", ["key_until"], "key_until IS NOT NULL"),
]


def upgrade() -> None:
    op.add_column("workspaces", sa.Column("keep_days", sa.Integer(), nullable=True, server_default="30"))
    op.add_column("workspaces", sa.Column("keep_runs", sa.Integer(), nullable=True))
    op.add_column(
        "workspaces", sa.Column("budget_bytes", sa.BigInteger(), nullable=False, server_default="5368709120")
    )
    for table, column in _COLUMNS:
        op.add_column(table, sa.Column(column, sa.BigInteger(), nullable=True))
    for name, table, columns, where in _INDEXES:
        op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "storage",
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_storage_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("workspace_id", "subject_id", name=op.f("pk_storage")),
    )
    op.create_table(
        "storage_samples",
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_storage_samples_workspace_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "at", name=op.f("pk_storage_samples")),
    )
    op.create_table(
        "sweep_marks",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("upto", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sweep_marks")),
    )
    op.execute(
        sa.text(
            "INSERT INTO storage (workspace_id, subject_id, count, bytes) "
            "SELECT workspace_id, 'files', count(*), sum(bytes) FROM files GROUP BY workspace_id"
        )
    )


def downgrade() -> None:
    for table in ("sweep_marks", "storage_samples", "storage"):
        op.drop_table(table)
    for name, table, _columns, _where in _INDEXES:
        op.drop_index(name, table)
    for table, column in _COLUMNS:
        op.drop_column(table, column)
    for column in ("budget_bytes", "keep_runs", "keep_days"):
        op.drop_column("workspaces", column)
