"""Something that happened: stored once, immutable, deduplicated by source and key."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText, partial_index


class Event(Base):
    __tablename__ = "events"
    __table_args__ = (
        Index("uq_events_source_key", "source", "key", unique=True),
        Index("ix_events_workspace", "workspace_id", "id"),
        partial_index("ix_events_key_until", "key_until", where="key_until IS NOT NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    # The trigger's id.
    source: Mapped[str]
    key: Mapped[str]
    type: Mapped[str]
    # Null: JSON null, or it is a payload.
    data: Mapped[Any | None] = mapped_column(JsonText)
    payload_id: Mapped[str | None]
    duplicates: Mapped[int] = mapped_column(default=0)
    # How many runs stand behind this event: a rule that triggers itself is stopped at ten.
    depth: Mapped[int] = mapped_column(default=0)
    received_at: Mapped[datetime] = mapped_column(Instant)
    # When its data were removed to save space.
    removed_at: Mapped[datetime | None] = mapped_column(Instant)
    # Set when its last run is gone: until then the key alone stays, so that a repetition is recognised.
    key_until: Mapped[datetime | None] = mapped_column(Instant)
