"""A person who logs in."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant


class User(Base):
    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(default="")
    password_hash: Mapped[str]
    # Part of every session: raising it ends all sessions made before.
    session_epoch: Mapped[int] = mapped_column(default=0)
    operator: Mapped[bool] = mapped_column(default=False)
    zone: Mapped[str] = mapped_column(default="UTC")
    theme: Mapped[str] = mapped_column(default="auto")
    created_at: Mapped[datetime] = mapped_column(Instant)
    seen_at: Mapped[datetime | None] = mapped_column(Instant)
