"""A trigger and its steps: the thing a user builds, its draft and its published versions."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText


class Rule(Base):
    __tablename__ = "rules"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    enabled: Mapped[bool] = mapped_column(default=False)
    # {"trigger": …, "steps": […]} as being edited; equal to the published definition when nothing changed.
    draft: Mapped[dict[str, Any]] = mapped_column(JsonText)
    # What the last try of a draft's step gave, by step key: feeds the picker of later steps.
    samples: Mapped[dict[str, Any]] = mapped_column(JsonText)
    # Number of the version that new events start; null until first turned on.
    published: Mapped[int | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
    updated_at: Mapped[datetime] = mapped_column(Instant)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant)


class RuleVersion(Base):
    """Immutable; a run keeps the one it started with."""

    __tablename__ = "rule_versions"
    __table_args__ = (UniqueConstraint("rule_id", "number"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    rule_id: Mapped[str] = mapped_column(ForeignKey("rules.id", ondelete="CASCADE"))
    number: Mapped[int]
    definition: Mapped[dict[str, Any]] = mapped_column(JsonText)
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
