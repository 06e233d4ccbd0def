"""What starts a rule: its kind, where it has got to, when it is next due, and its inbound address if it has one."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText
from app.models.states import TriggerKind


class Trigger(Base):
    """One per rule; survives edits, so that cursors and the address do too."""

    __tablename__ = "triggers"
    __table_args__ = (
        Index(
            "ix_triggers_due",
            "next_due_at",
            sqlite_where=text("next_due_at IS NOT NULL"),
            postgresql_where=text("next_due_at IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"), unique=True)
    kind: Mapped[TriggerKind]
    type: Mapped[str]
    params: Mapped[dict[str, Any]] = mapped_column(JsonText)
    connection_id: Mapped[str | None]
    # The version that new events start; null while the rule is off.
    version_id: Mapped[str | None]
    cursor: Mapped[Any | None] = mapped_column(JsonText)
    recent_keys: Mapped[list[str]] = mapped_column(JsonText)
    next_due_at: Mapped[datetime | None] = mapped_column(Instant)
    last_fired_at: Mapped[datetime | None] = mapped_column(Instant)
    last_error: Mapped[str | None]
    # A poll: looks that failed since the last good one. A schedule: slots of the last standstill that did not run.
    missed: Mapped[int] = mapped_column(default=0)
    # When `next_due_at` was last set anew, and when the last look ended, well or not.
    armed_at: Mapped[datetime | None] = mapped_column(Instant)
    looked_at: Mapped[datetime | None] = mapped_column(Instant)
    # The first and the last slot of a standstill, as long as somebody may still say what becomes of them.
    missed_from: Mapped[datetime | None] = mapped_column(Instant)
    missed_until: Mapped[datetime | None] = mapped_column(Instant)
    # Where it got to at other places: it goes on there when somebody leads it back.
    left_off: Mapped[dict[str, Any] | None] = mapped_column(JsonText)


class Hook(Base):
    """The inbound address of a rule: the token is looked up by hash and kept sealed for showing it again."""

    __tablename__ = "hooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    trigger_id: Mapped[str] = mapped_column(ForeignKey("triggers.id", ondelete="CASCADE"), unique=True)
    token_sha256: Mapped[str] = mapped_column(unique=True)
    token_sealed: Mapped[str]
    # Until then a call to a rule that is off is kept as a sample and starts nothing.
    listening_until: Mapped[datetime | None] = mapped_column(Instant)
    refused: Mapped[int] = mapped_column(default=0)
    refused_at: Mapped[datetime | None] = mapped_column(Instant)
    refused_cause: Mapped[str | None]
