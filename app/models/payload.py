"""A JSON value over 64 KB, kept beside the row that refers to it."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant


class Payload(Base):
    __tablename__ = "payloads"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    body: Mapped[str]
    bytes: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Instant)
