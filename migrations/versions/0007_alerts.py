"""Alerts, how each person wants to be told, and when each trigger was armed and last looked."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TRIGGER_COLUMNS = {
    "armed_at": sa.BigInteger,
    "looked_at": sa.BigInteger,
    "missed_from": sa.BigInteger,
    "missed_until": sa.BigInteger,
    "left_off": sa.Text,
}


def upgrade() -> None:
    for name, type_ in _TRIGGER_COLUMNS.items():
        op.add_column("triggers", sa.Column(name, type_(), nullable=True))
    failed = sa.text("state = 'failed'")
    op.create_index("ix_runs_failed", "runs", ["finished_at"], sqlite_where=failed, postgresql_where=failed)
    _create_alerts()
    _create_notices()
    op.create_table(
        "alert_preferences",
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("kinds", sa.Text(), nullable=False),
        sa.Column("channel", sa.String(length=20), nullable=False),
        sa.Column("connection_id", sa.String(), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        _belongs("alert_preferences", "workspace_id", "workspaces"),
        _belongs("alert_preferences", "user_id", "users"),
        sa.PrimaryKeyConstraint("workspace_id", "user_id", name=op.f("pk_alert_preferences")),
    )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("subject_id", sa.String(), nullable=True),
        sa.Column("title", sa.String(), nullable=False),
        sa.Column("sentence", sa.String(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("more", sa.Integer(), nullable=False),
        sa.Column("over_at", sa.BigInteger(), nullable=True),
        _belongs("alerts", "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("workspace_id", "cause", "hour", name=op.f("uq_alerts_workspace_id_cause_hour")),
    )
    op.create_index("ix_alerts_workspace", "alerts", ["workspace_id", "id"])
    lasting = sa.text("over_at IS NULL")
    op.create_index("ix_alerts_open", "alerts", ["cause"], sqlite_where=lasting, postgresql_where=lasting)


def _create_notices() -> None:
    op.create_table(
        "alert_notices",
        sa.Column("alert_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("workspace_id", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=True),
        sa.Column("read_at", sa.BigInteger(), nullable=True),
        _belongs("alert_notices", "alert_id", "alerts"),
        _belongs("alert_notices", "user_id", "users"),
        _belongs("alert_notices", "workspace_id", "workspaces"),
        sa.PrimaryKeyConstraint("alert_id", "user_id", name=op.f("pk_alert_notices")),
    )
    unread = sa.text("read_at IS NULL")
    op.create_index(
        "ix_alert_notices_unread",
        "alert_notices",
        ["user_id", "workspace_id"],
        sqlite_where=unread,
        postgresql_where=unread,
    )


def _belongs(table: str, column: str, to: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column], [f"{to}.id"], name=op.f(f"fk_{table}_{column}"), ondelete="CASCADE"
    )


def downgrade() -> None:
    for table in ("alert_preferences", "alert_notices", "alerts"):
        op.drop_table(table)
    op.drop_index("ix_runs_failed", "runs")
    for name in _TRIGGER_COLUMNS:
        op.drop_column("triggers", name)
