"""The scenarios, a module a family; importing this registers them all."""

from tests.faults.scenarios import (
    backlog,
    clock,
    database,
    desk,
    limits,
    moves,
    processes,
    provider,
    queue,
    redis,
)

__all__ = [
    "backlog",
    "clock",
    "database",
    "desk",
    "limits",
    "moves",
    "processes",
    "provider",
    "queue",
    "redis",
]
