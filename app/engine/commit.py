"""Group commit: the writes of many greenlets in one transaction, each told when its own is on disk."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from app.errors import UnavailableError
from app.extensions import AWAY, is_crossed, write_connection

T = TypeVar("T")
Unit = Callable[[sa.Connection], Any]


@dataclass(slots=True)
class _Ticket:
    unit: Unit
    # Posted: nobody waits for it.
    posted: bool = False
    settled: bool = False
    value: Any = None
    error: BaseException | None = None

    def settle(self, value: Any = None, error: BaseException | None = None) -> None:
        self.settled, self.value, self.error = True, value, error


@dataclass(slots=True)
class _Batch:
    tickets: list[_Ticket] = field(default_factory=list)
    # Whether somebody waits at the turn to commit it.
    led: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class GroupCommit:
    """Who opens a batch commits it for all who join; they join while the batch before is being committed.

    A unit is a function of a connection. It must be safe to run again: when one unit of a batch fails,
    the batch is rolled back and each unit runs in a transaction of its own, so that only the guilty fails.
    """

    def __init__(self, database: sa.Engine, *, linger_s: float = 0.003, patience_s: float = 5.0) -> None:
        self._database = database
        # How long the first waits for company.
        self._linger_s = linger_s
        self._patience_s = patience_s
        self._batch = _Batch()
        self._turn = threading.Lock()
        self._door = threading.Lock()

    def submit(self, unit: Callable[[sa.Connection], T]) -> T:
        """Returns what the unit returned, once it is committed; raises what it raised.

        Raises UnavailableError when the database cannot be written: then nothing was stored.
        """
        ticket = _Ticket(unit)
        batch, leads = self._join(ticket, leads=True)
        if leads:
            self._lead(batch)
        else:
            batch.over.wait()
        if ticket.error is not None:
            raise ticket.error
        if not ticket.settled:
            raise UnavailableError(
                "the server is stopping; nothing is known to be stored, try again in a moment"
            )
        value: T = ticket.value
        return value

    def post(self, unit: Unit) -> None:
        """Leave a unit for the next commit, in order; it is lost if the process dies before.

        Where the database cannot be written, it stays for the commit after that.
        """
        self._join(_Ticket(unit, posted=True), leads=False)

    def flush(self) -> None:
        """Commit what was posted."""
        self.submit(lambda _connection: None)

    def _join(self, ticket: _Ticket, *, leads: bool) -> tuple[_Batch, bool]:
        with self._door:
            batch = self._batch
            batch.tickets.append(ticket)
            leads = leads and not batch.led
            batch.led = batch.led or leads
            return batch, leads

    def _lead(self, batch: _Batch) -> None:
        try:
            with self._turn:
                time.sleep(self._linger_s)
                self._close(batch)
                self._settle(batch.tickets)
        finally:
            # Also when this greenlet is killed on its way: nobody may join what nobody will commit.
            self._close(batch)
            self._keep_posted(batch)
            batch.over.set()

    def _close(self, batch: _Batch) -> None:
        """From here on others open the next one."""
        with self._door:
            if self._batch is batch:
                self._batch = _Batch()

    def _keep_posted(self, batch: _Batch) -> None:
        left = [ticket for ticket in batch.tickets if ticket.posted and not ticket.settled]
        if left:
            with self._door:
                self._batch.tickets[:0] = left

    def _settle(self, tickets: list[_Ticket]) -> None:
        try:
            self._commit(tickets)
        except Exception as error:  # noqa: BLE001 - handed to whoever submitted the unit that raised it
            plain = _plain(error)
            away = isinstance(plain, UnavailableError)
            # Two batches that wait for each other: one by one they cannot.
            if len(tickets) > 1 and (not away or _is_crossed(error)):
                for ticket in tickets:
                    self._settle([ticket])
                return
            for ticket in tickets:
                if not (away and ticket.posted):
                    ticket.settle(error=plain)

    def _commit(self, tickets: list[_Ticket]) -> None:
        with write_connection(self._database, patience_s=self._patience_s) as connection:
            values = [ticket.unit(connection) for ticket in tickets]
        for ticket, value in zip(tickets, values, strict=True):
            ticket.settle(value)


def _plain(error: Exception) -> Exception:
    """A database that cannot be written is UnavailableError to everyone above."""
    if isinstance(error, AWAY):
        return UnavailableError(
            "the database cannot be written now; nothing was stored, try again in a moment"
        )
    return error


def _is_crossed(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and is_crossed(error)
