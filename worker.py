"""A worker process: two RQ workers in one gevent-patched process, one for the drain and one for the tick."""

from gevent import monkey

from app import garbage

monkey.patch_all()
garbage.hold_off()

# ruff: noqa: E402 (patching comes before everything that could import a socket or a lock)
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import structlog
from gevent.event import Event
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.exceptions import DeserializationError, InvalidJobOperation, StopRequested
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.worker import WorkerStatus

from app import foundation, memory
from app.config import of_this_process
from app.engine import shrink, sweep, tick
from app.engine.doorbell import DRAIN_QUEUE, TICK_QUEUE, KnownJob, KnownQueue, UnknownJobError, connect
from app.engine.policy import RENEW_EVERY_S
from app.engine.work import Worker
from app.errors import UnavailableError

log = structlog.get_logger()

# With what comes after it, less than the ten seconds after which hosts send SIGKILL.
_GRACE_S = 8.0
_HANGS_S = 30.0
_WATCH_S = 0.1
_MB = 1 << 20
_BEAT_S = 5.0
_SWEEP_S = 60.0
# What is over its budget goes more often: data may come fast.
_PRESS_S = 5.0
# A job that is none of ours, cannot be read, or was gone when it ended; one that a stop or an outage cut short.
_STRANGE = (UnknownJobError, DeserializationError, InvalidJobOperation)
_CUT_SHORT = (StopRequested, UnavailableError, RedisError)


class GeventDeathPenalty(BaseDeathPenalty):
    """RQ's own uses SIGALRM, of which a process has one; here each greenlet has its own time."""

    def setup_death_penalty(self) -> None:
        self._timer = gevent.Timeout(self._timeout, self._exception)
        self._timer.start()

    def cancel_death_penalty(self) -> None:
        self._timer.close()


class QuietWorker(SimpleWorker):
    """An RQ worker that leaves the process's signals to us."""

    death_penalty_class = GeventDeathPenalty
    # While Redis is away; RQ's own minute would be the time until work is taken up again.
    max_connection_wait_time = 2.0
    job_class = KnownJob
    queue_class = KnownQueue

    def _install_signal_handlers(self) -> None:
        """Two workers share this process: `main` listens and stops both."""

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """What somebody wrote into Redis, or emptied it of, is no fault of ours to log at length; nor is a stop."""
        if isinstance(exc_info[1], _CUT_SHORT):
            log.info("job_cut_short", job=job.id, error=type(exc_info[1]).__name__)
            return
        if isinstance(exc_info[1], _STRANGE):
            log.warning("strange_job", job=job.id, error=type(exc_info[1]).__name__)
            return
        super().handle_exception(job, *exc_info)


class Lane:
    """A greenlet that serves one RQ queue until stopped; Redis may come and go."""

    def __init__(self, app: Any, url: str, queue: str) -> None:
        self._app, self._url, self._queue = app, url, queue
        self._rq_worker: QuietWorker | None = None
        self._stopped = Event()
        self._greenlet = gevent.spawn(self._serve)

    def stop(self, timeout_s: float) -> None:
        """A job under way ends first, if it does in time; nothing is taken any more."""
        self._stopped.set()
        if self._rq_worker is not None and self._rq_worker.get_state() == WorkerStatus.BUSY:
            # The word by which RQ's own signal handler ends the loop after the job.
            self._rq_worker._stop_requested = True  # noqa: SLF001
            self._greenlet.join(timeout_s)
        self._greenlet.kill(StopRequested, timeout=1)

    def _serve(self) -> None:
        with self._app.app_context():
            while not self._stopped.is_set():
                try:
                    self._work()
                except RedisError as error:
                    log.warning("redis_away", queue=self._queue, error=type(error).__name__)
                except StopRequested:
                    return
                # RQ leaves its loop without an error, too, when Redis goes away.
                self._stopped.wait(1)

    def _work(self) -> None:
        redis = connect(self._url, timeout_s=30.0)
        queue = KnownQueue(self._queue, connection=redis)
        self._rq_worker = QuietWorker([queue], connection=redis, serializer=JSONSerializer)
        self._rq_worker.work(logging_level="WARNING")


def every(period_s: float, stopped: Event, call: Callable[[], Any]) -> None:
    """Call now, and again and again; a database that is away for a while is not the end of the process."""
    while not stopped.is_set():
        try:
            call()
        except UnavailableError as error:
            log.warning("database_away", error=str(error))
        stopped.wait(period_s)


def watch_hub(hangs_s: float = _HANGS_S, *, most_mb: int = 0) -> None:
    """End the process when its hub does not turn: a greenlet that never yields would hold every lease.

    And when it takes more than `most_mb` (0: as much as there is): the system would end another one as well.
    """
    turned_at = [time.monotonic()]

    def turn() -> None:
        while True:
            turned_at[0] = time.monotonic()
            gevent.sleep(1)

    def watch() -> None:
        sleep = monkey.get_original("time", "sleep")
        while True:
            sleep(_WATCH_S)
            if time.monotonic() - turned_at[0] > hangs_s:
                _end(f"worker_hangs: no greenlet ran for {hangs_s:.0f} s")
            if most_mb and (taken := memory.private_bytes()) > most_mb * _MB:
                _end(f"worker_eats: it takes {taken // _MB} MB, more than WORKER_MEMORY_MB={most_mb}")

    gevent.spawn(turn)
    monkey.get_original("_thread", "start_new_thread")(watch, ())


def _end(why: str) -> None:
    sys.stderr.write(f"{why}; the process ends\n")
    os._exit(70)


def beat(worker: Worker) -> None:
    tick.seen(worker.engine, worker.id, "worker")


def main() -> None:
    config = of_this_process()
    app = foundation.lay(config)
    garbage.settle()
    app.app_context().push()
    worker = Worker(app.extensions["engine"])
    app.extensions["worker"] = worker
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopped.set)
    watch_hub(most_mb=config.worker_memory_mb)
    lanes = [Lane(app, config.redis_url, queue) for queue in (DRAIN_QUEUE, TICK_QUEUE)]
    beat(worker)
    for period_s, call in (
        (RENEW_EVERY_S, worker.renew),
        (1.0, worker.look_after_time),
        (_BEAT_S, partial(beat, worker)),
        (_SWEEP_S, partial(sweep.run, worker.engine)),
        (_PRESS_S, partial(sweep.press, worker.engine)),
        # Beside it: a vacuum takes seconds, in which more is to be removed.
        (shrink.REUSE_EVERY_S, partial(shrink.reuse, worker.engine.database)),
    ):
        gevent.spawn(every, period_s, stopped, call)
    worker.engine.doorbell.ring()
    log.info("worker_ready", worker=worker.id, concurrency=config.worker_concurrency)
    stopped.wait()
    log.info("worker_stops", worker=worker.id)
    worker.finish(_GRACE_S)
    for lane in lanes:
        lane.stop(1)


if __name__ == "__main__":
    main()
