"""The words of a task's and a run's life, and of a person's role."""

from enum import StrEnum


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    UNCERTAIN = "uncertain"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED})


class Role(StrEnum):
    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    def covers(self, needed: "Role") -> bool:
        order = list(Role)
        return order.index(self) >= order.index(needed)


class TriggerKind(StrEnum):
    HOOK = "hook"
    SCHEDULE = "schedule"
    POLL = "poll"
    QUEUE = "queue"
    MANUAL = "manual"


class StepKind(StrEnum):
    ACTION = "action"
    FILTER = "filter"
