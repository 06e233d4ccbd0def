"""Many that tick at once, beside the workers: `python -m tests.faults.ticker SECONDS THREADS`."""

import sys
import threading
import time
from contextlib import suppress

from app import foundation
from app.config import Config
from app.database import db
from app.engine import schedule
from app.errors import UnavailableError


def _tick(engine: object, until: float) -> None:
    while time.monotonic() < until:
        with suppress(UnavailableError):
            schedule.fire_due(engine)  # type: ignore[arg-type]
        time.sleep(0.05)


def main(seconds: float, threads: int) -> None:
    app = foundation.lay(Config.from_environment())
    engine = app.extensions["engine"]
    until = time.monotonic() + seconds
    running = [threading.Thread(target=_tick, args=(engine, until)) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    with app.app_context():
        db.engine.dispose()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
