"""What a task has got from a paid service, kept so that another attempt does not pay again."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText


class Kept(Base):
    __tablename__ = "kept"

    # The task's idempotency key, which is the same on all its attempts.
    task_key: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    value: Mapped[Any | None] = mapped_column(JsonText)
    created_at: Mapped[datetime] = mapped_column(Instant, index=True)
