"""How fast a connection may be used, and whether its service is left alone for a while."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText


class Pace(Base):
    """There is none for a connection that nobody limits and whose service never complained."""

    __tablename__ = "paces"

    connection_id: Mapped[str] = mapped_column(
        ForeignKey("connections.id", ondelete="CASCADE"), primary_key=True
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    # Calls a minute: as a person said, and as the service taught us when it last refused one too many.
    per_minute: Mapped[int | None]
    learnt_per_minute: Mapped[int | None]
    refused_at: Mapped[datetime | None] = mapped_column(Instant)
    # [[quarter of a second, count]]: the calls of the last minute, and those that wait for their turn.
    calls: Mapped[list[list[int]]] = mapped_column(JsonText, default=list)
    turns: Mapped[list[list[int]]] = mapped_column(JsonText, default=list)
    # Between these nothing is sent: the service asked for it, or failed too often in a row.
    rests_from: Mapped[datetime | None] = mapped_column(Instant)
    rests_until: Mapped[datetime | None] = mapped_column(Instant)
    failures: Mapped[int] = mapped_column(default=0)
    # Since when it has failed or asked to wait without a call in between that went well, and what it said.
    ailing_since: Mapped[datetime | None] = mapped_column(Instant)
    cause: Mapped[str | None]
