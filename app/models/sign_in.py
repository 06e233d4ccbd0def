"""A sign-in that was begun at another service's page, kept until the person comes back."""

from datetime import datetime

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant


class SignIn(Base):
    __tablename__ = "sign_ins"

    # The SHA-256 of the state that the person has to bring back.
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str]
    # Everything else (the account as typed, its name, the PKCE verifier) as one sealed JSON text.
    sealed: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(Instant, index=True)
