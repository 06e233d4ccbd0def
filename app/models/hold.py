"""That outgoing work is held on this server, from its restoring until somebody lets it go on."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant


class Hold(Base):
    """One row while it is held, none otherwise."""

    __tablename__ = "holds"

    id: Mapped[str] = mapped_column(primary_key=True)
    # When the backup was made: what happened after it is not known here.
    backup_at: Mapped[datetime] = mapped_column(Instant)
    held_at: Mapped[datetime] = mapped_column(Instant)
