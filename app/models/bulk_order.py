"""One click that is meant for many failures: which, what to do, and how far it has got."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText

_UNDER_WAY = text("finished_at IS NULL")


class BulkOrder(Base):
    __tablename__ = "bulk_orders"
    __table_args__ = (
        Index("ix_bulk_orders_workspace", "workspace_id", "id"),
        # Two people at once: the second gets the order of the first.
        Index(
            "uq_bulk_orders_under_way",
            "workspace_id",
            "group_key",
            unique=True,
            sqlite_where=_UNDER_WAY,
            postgresql_where=_UNDER_WAY,
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    group_key: Mapped[str]
    # A word of app.engine.bulk_orders.What.
    what: Mapped[str] = mapped_column(String(20))
    # What failed, as the page called it.
    about: Mapped[str]
    # Ids of runs, or of tasks without a run, in the order in which it is done.
    members: Mapped[list[str]] = mapped_column(JsonText)
    total: Mapped[int]
    # How many of the members it is through with; those that could not be done are among them.
    done: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    # Why the last of those could not.
    cause: Mapped[str | None]
    made_by: Mapped[str]
    made_by_name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
