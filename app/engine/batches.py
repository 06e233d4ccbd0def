"""Work done in batches that hold the database for moments only, with pauses in which others get it."""

import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from app.engine.commit import GroupCommit

T = TypeVar("T")

# SQLite has one writer: for so long others wait for a batch.
_BATCH_S = 0.04
_LEAST, _MOST = 5, 1000
_PAUSE_S = 0.005


class Stretch:
    """Some of such work: it is over after `seconds`, and learns how large its batches may be."""

    def __init__(self, writer: GroupCommit, seconds: float) -> None:
        self._writer = writer
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
        # At least as long as it was held, so that it never is for more than half of the time.
        time.sleep(max(_PAUSE_S, took_s))

    def _learn(self, took_s: float) -> None:
        if took_s > _BATCH_S:
            self._size = max(_LEAST, int(self._size * max(0.25, _BATCH_S / took_s)))
        elif took_s < _BATCH_S / 2:
            self._size = min(_MOST, self._size * 2)
