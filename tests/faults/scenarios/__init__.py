"""The scenarios, a module a family; importing this registers them all."""

from tests.faults.scenarios import clock, database, desk, limits, moves, processes, provider, queue, redis

__all__ = ["clock", "database", "desk", "limits", "moves", "processes", "provider", "queue", "redis"]
