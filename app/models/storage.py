"""How much of the database each workspace takes, kept as counters, and how it has grown."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant

# Subjects beside the ids of rules.
API_TASKS = "tasks"
FILES = "files"
# Events of which only the key is left, so that a late repetition of them is still recognised.
KEYS = "keys"
# What has not ended: counted, and its size estimated, now and then.
OPEN = "open"


class Storage(Base):
    """One rule's share of a workspace, or that of a subject above."""

    __tablename__ = "storage"

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    subject_id: Mapped[str] = mapped_column(primary_key=True)
    # How many runs, tasks, files or events.
    count: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)


class StorageSample(Base):
    """What a workspace took in the hour that begins at `at`: how fast it grows is read from these."""

    __tablename__ = "storage_samples"

    workspace_id: Mapped[str] = mapped_column(
        ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(Instant, primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger)


class SweepMark(Base):
    """How far a sweep that goes through a table piece by piece has got."""

    __tablename__ = "sweep_marks"

    name: Mapped[str] = mapped_column(primary_key=True)
    upto: Mapped[str] = mapped_column(default="")
