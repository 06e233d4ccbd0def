"""How fast each connection may be used, each waiting task's place in the line for it, daily checks, tasks that run alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paces",
        sa.Column("connection_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("per_minute", sa.Integer(), nullable=True),
        sa.Column("learnt_per_minute", sa.Integer(), nullable=True),
        sa.Column("refused_at", sa.BigInteger(), nullable=True),
        sa.Column("calls", sa.Text(), nullable=False),
        sa.Column("turns", sa.Text(), nullable=False),
        sa.Column("rests_from", sa.BigInteger(), nullable=True),
        sa.Column("rests_until", sa.BigInteger(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("ailing_since", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["connection_id"],
            ["connections.id"],
            name=op.f("fk_paces_connection_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["workspace_id"], ["workspaces.id"], name=op.f("fk_paces_workspace_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("connection_id", name=op.f("pk_paces")),
    )
    op.create_index(op.f("ix_paces_workspace_id"), "paces", ["workspace_id"])
    op.add_column("tasks", sa.Column("turn_at", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_tasks_suspect", "tasks", ["due_at"],
        sqlite_where=sa.text("state = 'queued' AND lost >= 2"),
        postgresql_where=sa.text("state = 'queued' AND lost >= 2"),
    )  # fmt: skip
    op.add_column("connections", sa.Column("check_due_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("connections", "check_due_at")
    op.drop_index("ix_tasks_suspect", "tasks")
    op.drop_column("tasks", "turn_at")
    op.drop_table("paces")
