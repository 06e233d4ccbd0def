"""A user's account at an integration; the secrets are sealed and bound to the row."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText


class Connection(Base):
    __tablename__ = "connections"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    integration: Mapped[str]
    name: Mapped[str]
    # The fields that are no secrets, as plain JSON.
    settings: Mapped[dict[str, Any]] = mapped_column(JsonText)
    # The secret fields: a JSON object, sealed as one text.
    sealed: Mapped[str]
    # False after the provider refused the credentials, until they are checked again.
    healthy: Mapped[bool] = mapped_column(default=True)
    health_cause: Mapped[str | None]
    checked_at: Mapped[datetime | None] = mapped_column(Instant)
    # When it is checked by itself; None: a day after it was made.
    check_due_at: Mapped[datetime | None] = mapped_column(Instant)
    # Until when one worker alone renews the access token; None when nobody does.
    token_lease_until: Mapped[datetime | None] = mapped_column(Instant)
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant)
