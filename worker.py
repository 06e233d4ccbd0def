"""A worker process: two RQ workers in one gevent-patched process, one for the drain and one for the tick."""

from gevent import monkey

monkey.patch_all()

# ruff: noqa: E402 (patching comes before everything that could import a socket or a lock)
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
import structlog
from gevent.event import Event
from redis.exceptions import RedisError
from rq import SimpleWorker
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty

from app import create_app
from app.config import Config
from app.engine import tick
from app.engine.doorbell import DRAIN_QUEUE, TICK_QUEUE, KnownJob, KnownQueue, connect
from app.engine.policy import RENEW_EVERY_S
from app.engine.work import Worker
from app.errors import UnavailableError

log = structlog.get_logger()

_GRACE_S = 10.0
_HANGS_S = 30.0
_BEAT_S = 5.0


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
    job_class = KnownJob
    queue_class = KnownQueue

    def _install_signal_handlers(self) -> None:
        """Two workers share this process: `main` listens and stops both."""


def serve(url: str, queue: str, stopped: Event) -> None:
    """Serve one RQ queue until stopped; Redis may come and go."""
    while not stopped.is_set():
        try:
            redis = connect(url, timeout_s=30.0)
            rq_worker = QuietWorker(
                [KnownQueue(queue, connection=redis)], connection=redis, serializer=JSONSerializer
            )
            rq_worker.work(logging_level="WARNING")
        except RedisError as error:
            log.warning("redis_away", queue=queue, error=type(error).__name__)
        except gevent.GreenletExit:
            return
        # RQ leaves its loop without an error, too, when Redis goes away.
        stopped.wait(1)


def every(period_s: float, stopped: Event, call: Callable[[], Any]) -> None:
    """Call again and again; a database that is away for a while is not the end of the process."""
    while not stopped.wait(period_s):
        try:
            call()
        except UnavailableError as error:
            log.warning("database_away", during=call.__name__, error=str(error))


def watch_hub(hangs_s: float = _HANGS_S) -> None:
    """End the process when its hub does not turn: a greenlet that never yields would hold every lease."""
    turned_at = [time.monotonic()]

    def turn() -> None:
        while True:
            turned_at[0] = time.monotonic()
            gevent.sleep(1)

    def watch() -> None:
        sleep = monkey.get_original("time", "sleep")
        while True:
            sleep(1)
            if time.monotonic() - turned_at[0] > hangs_s:
                sys.stderr.write(f"worker_hangs: no greenlet ran for {hangs_s:.0f} s; the process ends\n")
                os._exit(70)

    gevent.spawn(turn)
    monkey.get_original("_thread", "start_new_thread")(watch, ())


def main() -> None:
    config = Config.from_environment()
    app = create_app(config)
    app.app_context().push()
    worker = Worker(app.extensions["engine"])
    app.extensions["worker"] = worker
    stopped = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stopped.set)
    watch_hub()
    with app.app_context():
        spawn = [
            gevent.spawn(_in_context, app, serve, config.redis_url, queue, stopped)
            for queue in (DRAIN_QUEUE, TICK_QUEUE)
        ]
        spawn += [
            gevent.spawn(every, RENEW_EVERY_S, stopped, worker.renew),
            gevent.spawn(every, 1.0, stopped, worker.look_after_time),
            gevent.spawn(every, _BEAT_S, stopped, lambda: tick.seen(worker.engine, worker.id, "worker")),
        ]
    tick.seen(worker.engine, worker.id, "worker")
    worker.engine.doorbell.ring()
    log.info("worker_ready", worker=worker.id, concurrency=config.worker_concurrency)
    stopped.wait()
    log.info("worker_stops", worker=worker.id)
    worker.finish(_GRACE_S)
    gevent.killall(spawn, timeout=1)


def _in_context(app: Any, call: Callable[..., None], *given: Any) -> None:
    with app.app_context():
        call(*given)


if __name__ == "__main__":
    main()
