"""How much of a paid service was used: by connection and by rule, a day a row."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant


class Usage(Base):
    __tablename__ = "usage"

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    # A connection's id or a rule's.
    subject_id: Mapped[str] = mapped_column(primary_key=True)
    # UTC, as 2026-11-21.
    day: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int] = mapped_column(default=0)
    tokens: Mapped[int] = mapped_column(BigInteger, default=0)
    # Millionths of a US dollar.
    micros: Mapped[int] = mapped_column(BigInteger, default=0)
    # When its owner was told that a limit is near.
    warned_at: Mapped[datetime | None] = mapped_column(Instant)
