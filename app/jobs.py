"""What RQ calls in a worker process: the drain, and the tick."""

from flask import current_app

from app.engine import core
from app.engine import tick as ticks
from app.engine.work import Worker


def drain(lane: str) -> None:
    """Empty the queues; `lane` names the line of workers that was rung."""
    worker: Worker = current_app.extensions["worker"]
    worker.drain()


def tick() -> None:
    ticks.run(core.current())
