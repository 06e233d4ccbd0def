"""Group commit: the writes of many greenlets in one transaction, each told when its own is on disk."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from app.database import AWAY, is_crossed, read_connection, write_connection
from app.errors import UnavailableError

T = TypeVar("T")
Item = TypeVar("Item")
Unit = Callable[[sa.Connection], Any]
# Serves items together and gives what became of each, in their order.
Together = Callable[[sa.Connection, Sequence[Item]], Sequence[T]]
# A transaction for one batch, over when the batch is.
Open = Callable[[], AbstractContextManager[sa.Connection]]


@dataclass(slots=True)
class _Ticket:
    serve: Together[Any, Any]
    item: Any
    # What it is about: of two tickets on one subject the later is served later.
    subject: str | None = None
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


class _Group:
    """Who opens a batch serves it for all who join; they join while the batch before is being served.

    Of a batch, the items for one function (`Together`) are served by one call of it. It must be safe to call
    again: when a batch fails it is undone and each item is served in a transaction of its own, so that only
    the guilty fails.
    """

    def __init__(self, opens: Open, *, linger_s: float) -> None:
        self._open = opens
        # How long the first waits for company.
        self._linger_s = linger_s
        self._batch = _Batch()
        self._turn = threading.Lock()
        self._door = threading.Lock()

    def submit_to(self, serve: Together[Item, T], item: Item, *, subject: str | None = None) -> T:
        """What `serve` gave for this item, once its transaction is over; raises what it raised.

        Raises UnavailableError when the database cannot be reached: then nothing was stored.
        """
        ticket = _Ticket(serve, item, subject)
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
                if self._linger_s:
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
            self._serve(tickets)
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

    def _serve(self, tickets: list[_Ticket]) -> None:
        served: list[tuple[_Ticket, Any]] = []
        with self._open() as connection:
            for together in _in_turn(tickets):
                values = together[0].serve(connection, [ticket.item for ticket in together])
                served.extend(zip(together, values, strict=True))
        for ticket, value in served:
            ticket.settle(value)


class GroupCommit(_Group):
    """Writes that come together share a transaction, and so one wait for the disk."""

    def __init__(self, database: sa.Engine, *, linger_s: float = 0.003, patience_s: float = 5.0) -> None:
        super().__init__(partial(write_connection, database, patience_s=patience_s), linger_s=linger_s)

    def submit(self, unit: Callable[[sa.Connection], T], *, subject: str | None = None) -> T:
        """What the unit returned, once it is committed; raises as `submit_to`."""
        value: T = self.submit_to(_each, unit, subject=subject)
        return value

    def post(self, unit: Unit) -> None:
        """Leave a unit for the next commit, in order; it is lost if the process dies before.

        Where the database cannot be written, it stays for the commit after that.
        """
        self.post_to(_each, unit)

    def post_to(self, serve: Together[Item, Any], item: Item, *, subject: str | None = None) -> None:
        """The same for an item that is served together with others."""
        self._join(_Ticket(serve, item, subject, posted=True), leads=False)

    def flush(self) -> None:
        """Commit what was posted."""
        self.submit(lambda _connection: None)


class GroupRead(_Group):
    """Looks that come together share a round trip; each begins after it was asked for."""

    def __init__(self, database: sa.Engine) -> None:
        super().__init__(partial(read_connection, database), linger_s=0)


def _each(connection: sa.Connection, units: Sequence[Unit]) -> list[Any]:
    return [unit(connection) for unit in units]


def _in_turn(tickets: list[_Ticket]) -> Iterator[list[_Ticket]]:
    """Tickets of one function side by side, but each subject's in their order: its second in the second round."""
    rounds: dict[tuple[int, Any], list[_Ticket]] = {}
    turns: dict[str, Iterator[int]] = {}
    for ticket in tickets:
        turn = next(turns.setdefault(ticket.subject, count())) if ticket.subject else 0
        rounds.setdefault((turn, ticket.serve), []).append(ticket)
    for _, together in sorted(rounds.items(), key=lambda found: found[0][0]):
        yield together


def _plain(error: Exception) -> Exception:
    """A database that cannot be written is UnavailableError to everyone above."""
    if isinstance(error, AWAY):
        return UnavailableError(
            "the database cannot be written now; nothing was stored, try again in a moment"
        )
    return error


def _is_crossed(error: Exception) -> bool:
    return isinstance(error, DBAPIError) and is_crossed(error)
