"""A named line of tasks: priority, pause, concurrency and rate."""

from datetime import datetime

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant

DEFAULT_QUEUE = "default"


class Queue(Base):
    __tablename__ = "queues"
    __table_args__ = (UniqueConstraint("workspace_id", "name"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    name: Mapped[str]
    priority: Mapped[int] = mapped_column(default=0)
    paused: Mapped[bool] = mapped_column(default=False)
    # Its tasks are taken by the user's own programs, over the API.
    external: Mapped[bool] = mapped_column(default=False)
    # At most so many running at once; null is no limit.
    concurrency: Mapped[int | None]
    # At most `rate_count` started in any `rate_period_s` seconds: a bucket that refills evenly.
    rate_count: Mapped[int | None]
    rate_period_s: Mapped[int | None]
    tokens: Mapped[float] = mapped_column(default=0.0)
    refilled_at: Mapped[datetime | None] = mapped_column(Instant)
    # When a worker last took from it: the longest unserved comes first among equals.
    served_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)
