"""Housekeeping: what is kept for a time goes when that is over, a small batch at a time."""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa
import structlog

from app import clock
from app.engine import files, memory
from app.engine.core import Engine

log = structlog.get_logger()

Sweep = Callable[[sa.Connection, datetime], int]

# A call ends soon even where much is left: the next one is a minute away.
_MOST_BATCHES = 20
# Looking for chunks without a file reads the whole index: not each minute.
_SELDOM_MINUTES = 10


def run(engine: Engine) -> int:
    """To be called each minute; how many rows went. Any number of processes may run it at once."""
    now = clock.now()
    seldom: tuple[Sweep, ...] = (files.sweep_abandoned,) if now.minute % _SELDOM_MINUTES == 0 else ()
    return sum(_sweep(engine, sweep, now) for sweep in (files.sweep, memory.sweep, *seldom))


def _sweep(engine: Engine, sweep: Sweep, now: datetime) -> int:
    gone = 0
    for _ in range(_MOST_BATCHES):
        batch = engine.writer.submit(lambda connection: sweep(connection, now))
        gone += batch
        if not batch:
            break
    if gone:
        log.info("swept", what=f"{sweep.__module__}.{sweep.__name__}", rows=gone)
    return gone
