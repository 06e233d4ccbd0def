"""What RQ calls in a worker process: the drain, and the tick."""

import structlog
from flask import current_app

from app.engine import core
from app.engine import tick as ticks
from app.engine.work import Worker
from app.errors import UnavailableError

log = structlog.get_logger()


def drain(lane: str) -> None:  # noqa: ARG001 (RQ passes what was enqueued)
    """Empty the queues; `lane` names the line of workers that was rung."""
    worker: Worker = current_app.extensions["worker"]
    worker.drain()


def tick() -> None:
    """What becomes due by the passing of time; the next one makes up for one that failed."""
    try:
        ticks.run(core.current())
    except UnavailableError as error:
        log.warning("database_away", during="tick", error=str(error))
