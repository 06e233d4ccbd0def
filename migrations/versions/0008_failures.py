"""What people put aside, what is done to many failures by one click, and whether a provider was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_OPEN_RUNS = "state IN ('failed', 'uncertain') AND replayed_by IS NULL AND dismissed_at IS NULL"
_OPEN_TASKS = (
    "run_id IS NULL AND state IN ('failed', 'uncertain') AND retried_by IS NULL AND dismissed_at IS NULL"
)
_UNDER_WAY = "finished_at IS NULL"


def upgrade() -> None:
    for table in ("runs", "tasks"):
        op.add_column(table, sa.Column("dismissed_at", sa.BigInteger(), nullable=True))
    op.add_column("tasks", sa.Column("asked", sa.Integer(), nullable=True))
    op.add_column("tasks", sa.Column("ask_at", sa.BigInteger(), nullable=True))
    _index("ix_runs_open_failures", "runs", ["workspace_id", "id"], _OPEN_RUNS)
    _index("ix_tasks_open_failures", "tasks", ["workspace_id", "id"], _OPEN_TASKS)
    op.create_table(
        "bulk_orders",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("group_key", sa.String(), nullable=False),
        sa.Column("what", sa.String(length=20), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("members", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("cause", sa.String(), nullable=True),
        sa.Column("made_by", sa.String(), nullable=False),
        sa.Column("made_by_name", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_bulk_orders_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_orders")),
    )
    op.create_index("ix_bulk_orders_workspace", "bulk_orders", ["workspace_id", "id"])
    _index("uq_bulk_orders_under_way", "bulk_orders", ["workspace_id", "group_key"], _UNDER_WAY, unique=True)


def _index(name: str, table: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=unique, sqlite_where=condition, postgresql_where=condition)


def downgrade() -> None:
    op.drop_table("bulk_orders")
    op.drop_index("ix_tasks_open_failures", "tasks")
    op.drop_index("ix_runs_open_failures", "runs")
    for column in ("ask_at", "asked", "dismissed_at"):
        op.drop_column("tasks", column)
    op.drop_column("runs", "dismissed_at")
