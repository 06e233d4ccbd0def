"""One execution of one version of a rule for one event."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant
from app.models.states import State


class Run(Base):
    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_workspace", "workspace_id", "id"),
        Index("ix_runs_rule", "rule_id", "id"),
        Index("ix_runs_state", "workspace_id", "state", "id"),
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
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
