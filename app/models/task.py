"""One execution of one action, the unit in a queue; and each try of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String, UniqueConstraint, desc
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, Instant, JsonText, partial_index
from app.models.states import State


class Task(Base):
    __tablename__ = "tasks"
    __table_args__ = (
        UniqueConstraint("run_id", "path"),
        partial_index(
            "uq_tasks_idempotency",
            "workspace_id",
            "idempotency_key",
            unique=True,
            where="idempotency_key IS NOT NULL",
        ),
        partial_index(
            "ix_tasks_queued", "queue_id", desc("priority"), "due_at", "id", where="state = 'queued'"
        ),
        # The same of each rule.
        partial_index(
            "ix_tasks_queued_of_rule",
            "queue_id",
            "rule_id",
            desc("priority"),
            "due_at",
            "id",
            where="state = 'queued'",
        ),
        # Those that two workers died with; see engine.policy.
        partial_index("ix_tasks_suspect", "due_at", where="state = 'queued' AND lost >= 2"),
        partial_index("ix_tasks_waiting", "due_at", where="state = 'waiting'"),
        partial_index("ix_tasks_running", "lease_until", where="state = 'running'"),
        # How many of a queue ended lately.
        partial_index("ix_tasks_finished", "queue_id", "finished_at", where="finished_at IS NOT NULL"),
        # Tasks from the API are few among those of runs.
        partial_index("ix_tasks_alone", "workspace_id", "id", where="run_id IS NULL"),
        partial_index("ix_tasks_uncertain", "workspace_id", where="state = 'uncertain'"),
        partial_index(
            "ix_tasks_open_failures",
            "workspace_id",
            "id",
            where="run_id IS NULL AND state IN ('failed', 'uncertain') AND retried_by IS NULL "
            "AND dismissed_at IS NULL",
        ),
        # For housekeeping among those of the API.
        partial_index(
            "ix_tasks_unweighed", "id", where="run_id IS NULL AND bytes IS NULL AND finished_at IS NOT NULL"
        ),
        partial_index("ix_tasks_weighed", "workspace_id", "id", where="bytes IS NOT NULL"),
        partial_index("ix_tasks_heavy", "workspace_id", "id", where="bytes >= 4096 AND removed_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    queue_id: Mapped[str] = mapped_column(ForeignKey("queues.id"))
    # Null for a task enqueued over the API.
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    # Of its run; empty for a task enqueued over the API, and for one that an older release put down.
    rule_id: Mapped[str] = mapped_column(default="", server_default="")
    # Its place in the rule's tree: `3`, later `3.yes.1`, `4[17].2`.
    path: Mapped[str]
    step: Mapped[str | None]
    # A StepKind; another word where a newer release put it down.
    kind: Mapped[str] = mapped_column(String(20))
    action: Mapped[str | None]
    connection_id: Mapped[str | None]
    # What the action was given, secrets masked; for a queued API task what it will be given.
    params: Mapped[Any | None] = mapped_column(JsonText)
    # The same with its secrets, sealed; only where masking hid something.
    params_sealed: Mapped[str | None]
    output: Mapped[Any | None] = mapped_column(JsonText)
    payload_id: Mapped[str | None]
    state: Mapped[State]
    cause: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0)
    # Queued: since when it may run. Waiting: when it will be queued.
    due_at: Mapped[datetime] = mapped_column(Instant)
    # Its place in the line for a connection that takes only so many calls a minute.
    turn_at: Mapped[datetime | None] = mapped_column(Instant)
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    # How often a worker died or went away with it.
    lost: Mapped[int] = mapped_column(default=0)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None] = mapped_column(Instant)
    worker_id: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str | None]
    retry_of: Mapped[str | None]
    retried_by: Mapped[str | None]
    # Of one without a run: as in Run.
    dismissed_at: Mapped[datetime | None] = mapped_column(Instant)
    # Uncertain: how often its provider was asked in vain, and when it is asked next.
    asked: Mapped[int | None]
    ask_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant)
    started_at: Mapped[datetime | None] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    # Of one without a run: as in Run.
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    removed_at: Mapped[datetime | None] = mapped_column(Instant)


class Attempt(Base):
    """One try. Written before the action when it may not be repeated, otherwise with its result."""

    __tablename__ = "attempts"

    task_id: Mapped[str] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    # The task's fence at that try: unique, where the attempt's number is not (a lost try keeps it).
    fence: Mapped[int] = mapped_column(primary_key=True)
    workspace_id: Mapped[str]
    number: Mapped[int]
    worker_id: Mapped[str | None]
    started_at: Mapped[datetime] = mapped_column(Instant)
    finished_at: Mapped[datetime | None] = mapped_column(Instant)
    # "succeeded", "failed", "retried", "lost" or "uncertain"; null while it runs.
    outcome: Mapped[str | None]
    cause: Mapped[str | None]
