"""One execution of one version of a rule for one event."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, partial_index
from app.models.states import State


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_workspace", "workspace_id", "id"),
        Index("ix_runs_rule", "rule_id", "id"),
        Index("ix_runs_state", "workspace_id", "state", "id"),
        # For alerts: what failed since the last look.
        partial_index("ix_runs_failed", "finished_at", where="state = 'failed'"),
        partial_index(
            "ix_runs_open_failures",
            "workspace_id",
            "id",
            where="state IN ('failed', 'uncertain') AND replayed_by IS NULL AND dismissed_at IS NULL",
        ),
        # For housekeeping; they hold few rows, and none while a run goes on.
        partial_index("ix_runs_unweighed", "id", where="bytes IS NULL AND finished_at IS NOT NULL"),
        partial_index("ix_runs_heavy", "workspace_id", "id", where="bytes >= 4096 AND removed_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    rule_id: Mapped[str] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"))
    version_id: Mapped[str]
    event_id: Mapped[str] = mapped_column(ForeignKey("events.id"), index=True)
    state: Mapped[State]
    # The key of the filter that ended the run early, if one did; the run has then succeeded.
    filtered_by: Mapped[str | None]
    cause: Mapped[str | None]
    # The run of which this is a replay, and the replay of this one that a click made.
    replay_of: Mapped[str | None]
    replayed_by: Mapped[str | None]
    # When a person put this failure aside.
    dismissed_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    # What it takes with its tasks and its event; null until it is weighed, some time after its end.
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    # When its data were removed to save space; the record stays.
    removed_at: Mapped[datetime | None] = mapped_column(Instant)
