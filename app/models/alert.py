"""What people are told without asking: each alert, who was told and how, and how each wants to be told."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText, partial_index


class AlertKind(StrEnum):
    FAILED = "failed"
    STUCK = "stuck"
    BROKEN = "broken"
    DISK = "disk"


class Channel(StrEnum):
    NONE = "none"
    MAIL = "mail"
    CHAT = "chat"
    WEBHOOK = "webhook"


class Alert(Base):
    """At most one a cause an hour."""

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("workspace_id", "cause", "hour"),
        Index("ix_alerts_workspace", "workspace_id", "id"),
        partial_index("ix_alerts_open", "cause", where="over_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    kind: Mapped[AlertKind]
    # What it is about, as one key: `failed:rul_…`, `stuck:trg_…`, `broken:con_…`, `disk`, `storage`.
    cause: Mapped[str]
    # Hours since 1970.
    hour: Mapped[int] = mapped_column(BigInteger)
    # The rule or the connection, where there is one.
    subject_id: Mapped[str | None]
    title: Mapped[str]
    sentence: Mapped[str]
    at: Mapped[datetime] = mapped_column(Instant)
    # How often the same was found after this and told to nobody; the next alert of this cause says so.
    more: Mapped[int] = mapped_column(default=0)
    # Null while it lasts.
    over_at: Mapped[datetime | None] = mapped_column(Instant)


class AlertNotice(Base):
    """One person's copy: the task that sends it, or none where they look at Home."""

    __tablename__ = "alert_notices"
    __table_args__ = (
        partial_index("ix_alert_notices_unread", "user_id", "workspace_id", where="read_at IS NULL"),
    )

    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id", ondelete="CASCADE"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    task_id: Mapped[str | None]
    read_at: Mapped[datetime | None] = mapped_column(Instant)


class AlertPreference(Base):
    """Without one a person is told of everything, on Home."""

    __tablename__ = "alert_preferences"

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    kinds: Mapped[list[str]] = mapped_column(JsonText)
    channel: Mapped[Channel]
    connection_id: Mapped[str | None]
    # An e-mail address, a channel of a chat or a web address; null is one's own e-mail address.
    address: Mapped[str | None]
    updated_at: Mapped[datetime] = mapped_column(Instant)
