"""The doorbell: tells workers through RQ that there is work. The only module here that knows Redis and RQ."""

import threading
import time
from datetime import timedelta
from typing import Any

import structlog
from redis import BlockingConnectionPool
from redis import Redis as Redis  # noqa: PLC0414 - the one way to its type for others
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue as RQQueue
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq_scheduler import Scheduler

from app import clock

log = structlog.get_logger()

DRAIN_QUEUE = "bitqueue-drain"
TICK_QUEUE = "bitqueue-tick"
DRAIN_JOB = "app.jobs.drain"
TICK_JOB = "app.jobs.tick"
KNOWN_JOBS = frozenset({DRAIN_JOB, TICK_JOB})
TICK_ENTRY = "bitqueue-tick"
# A ring that got lost is made up for by the tick after this time at the latest.
BELL_LIFE_S = 4
_BELL = "bitqueue:bell:{lane}"
_DRAIN_TIMEOUT_S = 180
_TICK_TIMEOUT_S = 60
_FAILURE_TTL_S = 3600
_AWAY_LOG_S = 30
_NEAR_S = 5.0


def connect(url: str, *, timeout_s: float = 2.0, connections: int = 20) -> Redis:
    """A client that fails fast: redis-py's own default is ten retries a command."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )
    return Redis(connection_pool=pool)


class Doorbell:
    """Rings in the background, so that nobody who stored work waits for Redis."""

    def __init__(self, redis: Redis, *, lane: str = "default") -> None:
        self._redis = redis
        self._lane = lane
        self._bell = _BELL.format(lane=lane)
        self._drains = KnownQueue(DRAIN_QUEUE, connection=redis)
        self._wanted = threading.Event()
        self._ringer: threading.Thread | None = None
        self._start = threading.Lock()
        self._away_logged_at = 0.0

    def ring(self) -> None:
        """Returns at once. Rings that come while one is under way are one."""
        self._wanted.set()
        if self._ringer is None:
            with self._start:
                if self._ringer is None:
                    self._ringer = threading.Thread(
                        target=self._ring_when_wanted, name="doorbell", daemon=True
                    )
                    self._ringer.start()

    def ring_now(self, *, force: bool = False) -> bool:
        """Ring in this greenlet; `force` does not ask whether the bell is still ringing. False: Redis is away."""
        try:
            if self._redis.set(self._bell, "1", nx=not force, ex=BELL_LIFE_S):
                self._drains.enqueue(
                    DRAIN_JOB,
                    args=(self._lane,),
                    job_timeout=_DRAIN_TIMEOUT_S,
                    result_ttl=0,
                    failure_ttl=_FAILURE_TTL_S,
                    ttl=_DRAIN_TIMEOUT_S,
                )
        except RedisError as error:
            self._log_away(error)
            return False
        return True

    def clear(self) -> None:
        """Before claiming, so that work stored from now on rings again."""
        try:
            self._redis.delete(self._bell)
        except RedisError as error:
            self._log_away(error)

    def is_reachable(self) -> bool:
        try:
            return bool(self._redis.ping())
        except RedisError:
            return False

    def ensure_tick(self) -> bool:
        """Put rq-scheduler's one entry back if it is missing or misplaced; True if it had to be."""
        try:
            return self._ensure_tick()
        except RedisError as error:
            self._log_away(error)
            return False

    def _ensure_tick(self) -> bool:
        due = self._redis.zscore(Scheduler.scheduled_jobs_key, TICK_ENTRY)
        # Far ahead it stands where a clock was fast that has been set right.
        near = due is not None and abs(due - time.time()) < _NEAR_S
        if near and self._redis.exists(KnownJob.key_for(TICK_ENTRY)):
            return False
        scheduler(self._redis).schedule(
            clock.now().replace(tzinfo=None) + timedelta(seconds=1),
            TICK_JOB,
            interval=1,
            id=TICK_ENTRY,
            queue_name=TICK_QUEUE,
            timeout=_TICK_TIMEOUT_S,
            result_ttl=_FAILURE_TTL_S,
        )
        return True

    def _ring_when_wanted(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            self.ring_now()

    def _log_away(self, error: RedisError) -> None:
        if time.monotonic() - self._away_logged_at > _AWAY_LOG_S:
            self._away_logged_at = time.monotonic()
            log.warning("redis_away", error=type(error).__name__)


def scheduler(redis: Redis) -> Scheduler:
    """rq-scheduler, holding the tick alone. It looks four times a second, so that a tick is never long late."""
    return Scheduler(
        queue=TickQueue(TICK_QUEUE, connection=redis),
        connection=redis,
        interval=0.25,
        job_class=KnownJob,
        queue_class=f"{__name__}.TickQueue",
    )


def run_clock(url: str) -> None:
    """Keep rq-scheduler turning until the process is told to stop; Redis may come and go."""
    while True:
        redis = connect(url, timeout_s=10.0)
        try:
            # rq-scheduler stops at one bad entry; only the tick belongs here.
            redis.delete(Scheduler.scheduled_jobs_key)
            Doorbell(redis).ensure_tick()
            scheduler(redis).run()
        except RedisError as error:
            log.warning("redis_away", process="clock", error=type(error).__name__)
            time.sleep(1)


class UnknownJobError(Exception):
    """Somebody wrote a job into Redis that is none of ours."""


class KnownJob(Job):
    """A job in JSON (whoever writes Redis could run code through pickle) that calls one of two functions."""

    def __init__(self, id: str | None = None, connection: Any = None, serializer: Any = None) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    def restore(self, raw_data: Any) -> Any:
        """An unreadable hash is a job that is not there: RQ passes over those, others end its worker."""
        try:
            return super().restore(raw_data)
        except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
            raise NoSuchJobError("its hash is damaged") from error

    @property
    def func(self) -> Any:
        if self.func_name not in KNOWN_JOBS:
            raise UnknownJobError("only bitqueue's own jobs are run")
        return super().func


class KnownQueue(RQQueue):
    job_class = KnownJob

    def __init__(self, name: str, connection: Any = None, **kwargs: Any) -> None:
        kwargs |= {"serializer": JSONSerializer, "job_class": KnownJob}
        super().__init__(name, connection=connection, **kwargs)


class TickQueue(KnownQueue):
    """Holds one tick at most: an hour without workers must not leave an hour of ticks."""

    def enqueue_job(self, job: Job, *args: Any, **kwargs: Any) -> Job:
        if self.connection.llen(self.key):
            return job
        return super().enqueue_job(job, *args, **kwargs)
