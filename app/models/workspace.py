"""The tenant, the people in it with their roles, and the links that invite more."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.models.base import Base, Instant
from app.models.states import Role
from app.models.user import User

KEEP_DAYS = 30
BUDGET_BYTES = 5 * 1024**3


class Workspace(Base):
    __tablename__ = "workspaces"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
    # How long runs that have ended are kept, and how many at most; null is no limit.
    keep_days: Mapped[int | None] = mapped_column(default=KEEP_DAYS)
    keep_runs: Mapped[int | None]
    # The most that it may take of the database.
    budget_bytes: Mapped[int] = mapped_column(BigInteger, default=BUDGET_BYTES)


class Membership(Base):
    __tablename__ = "memberships"
    __table_args__ = (UniqueConstraint("workspace_id", "user_id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    role: Mapped[Role]
    created_at: Mapped[datetime] = mapped_column(Instant)

    workspace: Mapped[Workspace] = relationship()
    user: Mapped[User] = relationship()


class Invitation(Base):
    """A link that makes whoever opens it a member, once, until it expires."""

    __tablename__ = "invitations"

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    email: Mapped[str]
    role: Mapped[Role]
    token_sha256: Mapped[str] = mapped_column(unique=True)
    invited_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
    expires_at: Mapped[datetime] = mapped_column(Instant)
    accepted_at: Mapped[datetime | None] = mapped_column(Instant)
