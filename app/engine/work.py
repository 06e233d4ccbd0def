"""A worker process at work: it drains queues into a pool of greenlets and keeps their leases."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import gevent
import sqlalchemy as sa
import structlog
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

from app import clock, ids
from app.database import read_connection
from app.engine import hold, known, material, record, tick
from app.engine.checks import Checker
from app.engine.claim import Claimed, claim, claim_suspect, suspects
from app.engine.core import Engine
from app.engine.execute import execute_chain
from app.engine.policy import LEASE, RENEW_EVERY_S
from app.engine.poll import Poller
from app.errors import UnavailableError
from app.models import Attempt, Queue, State, Task

log = structlog.get_logger()

_DRAIN_S = 60.0
# A drain looks again this often while it has work, and leaves after that long without any.
_LOOK_S = 0.02
_IDLE_S = 0.15
_BLOCKED_S = 0.1
_SUSPECTS_S = 0.25


class Worker:
    """The tasks this process has claimed, and what it does with them. One per process."""

    def __init__(self, engine: Engine) -> None:
        self.id = ids.new("wrk")
        self.engine = engine
        self.pool = Pool(engine.config.worker_concurrency)
        self.stopping = False
        # Chain number → the task it is at; leases of these are renewed and no others.
        self._active: dict[int, Claimed] = {}
        self._chains = 0
        self._drains = BoundedSemaphore(1)
        self._suspects = _Suspects()
        self._actions = known.actions(engine.catalogue)
        self.poller = Poller(engine)
        self.checker = Checker(engine)

    def drain(self) -> None:
        """Claim and execute until nothing is due, or a minute has passed; a second drain returns at once."""
        if not self._drains.acquire(blocking=False):
            return
        try:
            self._drain()
        finally:
            self._drains.release()

    def _drain(self) -> None:
        self.engine.doorbell.clear()
        leave_at = time.monotonic() + _DRAIN_S
        worked_at = time.monotonic()
        while not self.stopping and time.monotonic() < leave_at:
            if self._claim():
                worked_at = time.monotonic()
            elif self._is_blocked():
                gevent.sleep(_BLOCKED_S)
                continue
            elif time.monotonic() - worked_at > _IDLE_S:
                return
            gevent.sleep(_LOOK_S)
        if not self.stopping:
            self.engine.doorbell.ring_now(force=True)

    def _claim(self) -> int:
        room = self.pool.free_count()
        if not room:
            self.pool.wait_available(timeout=1)
            return 1
        try:
            if not self._has_work() or self.stopping:
                return 0
            if self._makes_way():
                return 1
            tasks = self.engine.writer.submit(
                lambda connection: claim(connection, self.id, room, actions=self._actions)
            )
            self._start(tasks)
        except UnavailableError:
            # What was claimed and not begun is given back by the tick when its lease is over.
            log.warning("claim_waits")
            gevent.sleep(0.5)
            return 1
        if len(tasks) == room:
            self.engine.doorbell.ring()
        return len(tasks)

    def _makes_way(self) -> bool:
        """Whether a task that two workers died with waits or runs here: it runs alone."""
        if self._suspects.alone and len(self.pool):
            return True
        self._suspects.look(self.engine, self._actions)
        if not self._suspects.waiting or len(self.pool):
            self._suspects.alone = False
            return self._suspects.waiting
        tasks = self.engine.writer.submit(
            lambda connection: claim_suspect(connection, self.id, actions=self._actions)
        )
        if tasks:
            # Another worker does the rest meanwhile: this one may die of it before it rings again.
            self.engine.doorbell.ring_now(force=True)
        self._start(tasks)
        # Where its queue is full, the others go on meanwhile.
        self._suspects.alone = self._suspects.waiting = bool(tasks)
        return bool(tasks)

    def _start(self, tasks: list[Claimed]) -> None:
        # Those that `finish` has given back meanwhile are no longer ours.
        if not tasks or self.stopping:
            return
        with read_connection(self.engine.database) as connection:
            runs = material.load(connection, tasks)
        for task in tasks:
            self._chains += 1
            self._active[self._chains] = task
            self.pool.spawn(self._execute, self._chains, task, runs.get(task.run_id or ""))

    def _execute(self, chain: int, task: Claimed, run: material.RunMaterial | None) -> None:
        try:
            execute_chain(self.engine, task, run, lambda following: self._active.update({chain: following}))
        finally:
            del self._active[chain]

    def _has_work(self) -> bool:
        """A look without the write lock."""
        with read_connection(self.engine.database) as connection:
            return not hold.held(connection) and connection.scalar(_WORK) is not None

    def _is_blocked(self) -> bool:
        """There is work that its queue's concurrency or rate keeps back, or nobody can tell: a drain stays for it."""
        try:
            return self._has_work()
        except UnavailableError:
            return True

    def renew(self) -> None:
        """Keep the leases of all that runs here."""
        self.engine.writer.flush()
        mine = [task.id for task in self._active.values()]
        if mine:
            self.engine.writer.submit(lambda connection: self._renew(connection, mine))

    def _renew(self, connection: sa.Connection, mine: list[str]) -> None:
        connection.execute(
            sa.update(Task)
            .where(Task.id.in_(mine), Task.worker_id == self.id, Task.state == State.RUNNING)
            .values(lease_until=clock.now() + LEASE)
        )

    def look_after_time(self) -> None:
        """Run the tick if nobody else does; without Redis, drain without being rung."""
        tick.clock_watch.steady_now()
        age_s = tick.age_s(self.engine)
        reachable = self.engine.doorbell.is_reachable()
        if age_s > tick.LATE_S and reachable:
            self.engine.doorbell.ensure_tick()
        if age_s > tick.STALE_S or not reachable:
            log.warning("tick_by_worker", age_s=age_s)
            tick.run(self.engine)
        if not reachable:
            gevent.spawn(self.drain)
        if not self.stopping:
            self.poller.look_due()
            self.checker.check_due()

    def finish(self, grace_s: float) -> None:
        """Take nothing more, let what runs end, give back what has not begun to send."""
        self.stopping = True
        give_up_at = time.monotonic() + grace_s
        while len(self.pool) and (left_s := give_up_at - time.monotonic()) > 0:
            self.pool.join(timeout=min(left_s, RENEW_EVERY_S))
            self._try(self.renew)
        self.pool.kill(timeout=1)
        self._try(lambda: self.engine.writer.submit(self._give_back))
        self.engine.doorbell.ring_now(force=True)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except UnavailableError:
            log.warning("stops_without_database", worker=self.id)

    def _give_back(self, connection: sa.Connection) -> None:
        now = clock.now()
        sending = sa.exists().where(
            Attempt.task_id == Task.id, Attempt.fence == Task.fence, Attempt.finished_at.is_(None)
        )
        mine = (Task.worker_id == self.id, Task.state == State.RUNNING)
        # What had begun to send is settled by the next tick, which finds the lease over.
        connection.execute(sa.update(Task).where(*mine, sending).values(lease_until=_just_before(now)))
        rows = connection.execute(
            sa.update(Task)
            .where(*mine, sa.not_(sending))
            .values(
                state=State.QUEUED, attempt=Task.attempt - 1, fence=Task.fence + 1, lease_until=None,
                worker_id=None, due_at=now,
            )
            .returning(Task.run_id)
        ).all()  # fmt: skip
        for row in rows:
            record.mark_run(connection, row.run_id, State.QUEUED, None)


class _Suspects:
    """What a worker knows of tasks that are to run alone."""

    def __init__(self) -> None:
        self.waiting = False
        # One of them runs here.
        self.alone = False
        self._looked_at = 0.0

    def look(self, engine: Engine, actions: frozenset[str]) -> None:
        """Now and then: there is hardly ever one."""
        if time.monotonic() - self._looked_at > _SUSPECTS_S:
            self._looked_at = time.monotonic()
            with read_connection(engine.database) as connection:
                self.waiting = bool(suspects(connection, actions))


def _just_before(now: datetime) -> datetime:
    return now.replace(microsecond=0)


_WORK = (
    sa.select(Task.id)
    .join(Queue, Queue.id == Task.queue_id)
    .where(Task.state == State.QUEUED, sa.not_(Queue.paused), sa.not_(Queue.external))
    .limit(1)
)
