"""Work done in batches that are over in moments, so that others get the database in between."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import sqlalchemy as sa

from app.engine.commit import GroupCommit
from app.engine.core import Engine

T = TypeVar("T")

_LEAST, _MOST = 5, 1000
_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class _Manners:
    """How long a batch may take, and for how much of that time one rests after it."""

    batch_s: float
    rest: float


# SQLite has one writer: others wait for a batch, and are to get the database for at least as long after it.
# On PostgreSQL only those wait who want the same rows.
_MANNERS: Final = {"sqlite": _Manners(0.04, 1.0), "postgresql": _Manners(0.15, 0.0)}


class Stretch:
    """Some of such work: it is over after `seconds`, and learns how large its batches may be."""

    def __init__(self, engine: Engine, seconds: float) -> None:
        kind = engine.database.dialect.name
        self._manners = _MANNERS[kind]
        # Where there are many writers, nobody's commit waits for a batch.
        self._writer = engine.writer if kind == "sqlite" else GroupCommit(engine.database, linger_s=0)
        self._until = time.monotonic() + seconds
        self._size = 50
        # Whether something was still being done when the time was over.
        self.is_cut_short = False

    def goes_on(self, done: int) -> bool:
        """To be asked before each batch, with how many rows those before it had."""
        if time.monotonic() < self._until:
            return True
        self.is_cut_short |= done > 0
        return False

    def write(self, unit: Callable[[sa.Connection, int], T]) -> T:
        """One batch: `unit` is told how many rows it may take, and may be called again if the commit fails."""
        size, took_s = self._size, 0.0

        def timed(connection: sa.Connection) -> T:
            nonlocal took_s
            began_at = time.monotonic()
            value = unit(connection, size)
            took_s = time.monotonic() - began_at
            return value

        value = self._writer.submit(timed)
        self._rest(took_s)
        return value

    def repeat(self, unit: Callable[[sa.Connection, int], int]) -> int:
        """Batches until one finds nothing, or the time is over; how many rows in all."""
        done = 0
        while self.goes_on(done):
            batch = self.write(unit)
            done += batch
            if not batch:
                break
        return done

    def repeat_alone(self, batch: Callable[[int], int]) -> int:
        """The same for batches that need a transaction of their own."""
        done = 0
        while self.goes_on(done):
            began_at = time.monotonic()
            some = batch(self._size)
            self._rest(time.monotonic() - began_at)
            done += some
            if not some:
                break
        return done

    def _rest(self, took_s: float) -> None:
        self._learn(took_s)
        time.sleep(max(_PAUSE_S, took_s * self._manners.rest))

    def _learn(self, took_s: float) -> None:
        batch_s = self._manners.batch_s
        if took_s > batch_s:
            self._size = max(_LEAST, int(self._size * max(0.25, batch_s / took_s)))
        elif took_s < batch_s / 2:
            self._size = min(_MOST, self._size * 2)
