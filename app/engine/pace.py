"""How fast a connection is used, over all rules: its limit, told or learnt, and the breaker of a service that fails."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine.upsert import insert_once
from app.engine.window import Window, instant_of, tick_of
from app.models import Connection, Pace, State, Task

# In a row: from then on the service is left alone, twice as long after each try that fails again.
FAILURES = 5
_FIRST_REST_S = 10.0
_LONGEST_REST_S = 300.0
# One call may find out whether the service is back; the others wait for it so long.
_PROBE = timedelta(seconds=20)
# A service that asks for more than this is not waited for in one go.
_LONGEST_ASKED_S = 3600.0
# What was learnt from a refusal counts so long; then the limit is tried again.
_LEARNT_LASTS = timedelta(hours=1)
# A minute with fewer calls teaches nothing about the limit.
_LEAST_LEARNT = 5
# Longer than this without one call that went well, and each refusal uses up an attempt.
_PATIENCE = timedelta(hours=24)
# What waits for a rest to end does not come in the same instant.
_SPREAD_S = 5.0
# When the service is back, what waited comes one after the other.
_APART = timedelta(milliseconds=100)
_MOST_WOKEN = 2000

# What a task that waits for its connection says.
WAITS = "paced: "


@dataclass(frozen=True, slots=True)
class Wanted:
    """A call somebody wants to make; `turn`: when it was told to come, None for one that comes first now.

    `ahead`: it counts, and stands in no line.
    """

    connection_id: str
    name: str
    turn: datetime | None
    ahead: bool = False


class PacedError(Exception):
    """Not now: the task comes back at `due_at`; `turn` is its place in the line, if it has one."""

    def __init__(self, cause: str, due_at: datetime, turn: datetime | None = None) -> None:
        super().__init__(f"{WAITS}{cause}")
        self.due_at, self.turn = due_at, turn


def concerns(now: datetime) -> sa.ColumnElement[bool]:
    """For a query of connections: whether a call through one must ask first."""
    return sa.exists().where(
        Pace.connection_id == Connection.id,
        sa.or_(
            Pace.per_minute.is_not(None),
            Pace.ailing_since.is_not(None),
            Pace.refused_at > now - _LEARNT_LASTS,
        ),
    )


def ailing_since() -> Any:
    """For a query of connections: since when no call has gone well."""
    return sa.select(Pace.ailing_since).where(Pace.connection_id == Connection.id).scalar_subquery()


def is_patient(since: datetime | None, now: datetime) -> bool:
    """Whether a refusal for too many calls leaves a task's attempts as they are."""
    return since is None or now - since < _PATIENCE


def enter(connection: sa.Connection, wanted: Sequence[Wanted]) -> list[PacedError | None]:
    """For each in turn: None, it may go, and is counted; or when to come back."""
    rows = _locked(connection, {each.connection_id for each in wanted})
    entries = {row.connection_id: _Entry(row, clock.now()) for row in rows}
    answers = [
        entries[each.connection_id].ask(each) if each.connection_id in entries else None for each in wanted
    ]
    for entry in entries.values():
        entry.store(connection)
    return answers


class _Entry:
    """One connection's row while calls ask to go."""

    def __init__(self, row: Any, now: datetime) -> None:
        self._row, self._now, self._tick = row, now, tick_of(now)
        self._window = Window.of(row.calls, row.turns, self._tick)
        self._limit = limit_now(row, now)
        self._rest = {"rests_from": row.rests_from, "rests_until": row.rests_until}

    def ask(self, wanted: Wanted) -> PacedError | None:
        turn = tick_of(wanted.turn) if wanted.turn else None
        if turn is not None:
            self._window.take_turn(turn)
        return self._resting(wanted) or self._lined_up(wanted, has_turn=turn is not None)

    def _resting(self, wanted: Wanted) -> PacedError | None:
        until = self._rest["rests_until"]
        if until is None:
            return None
        if until > self._now:
            cause = f"waits for {wanted.name}, which is left alone for a while: {self._row.cause}"
            spread_s = random.uniform(0, _SPREAD_S)  # noqa: S311 (spreads load, guards nothing)
            return PacedError(cause, until + timedelta(seconds=spread_s))
        if self._row.failures >= FAILURES:
            # This one finds out whether the service is back.
            self._rest = {"rests_from": self._now, "rests_until": self._now + _PROBE}
        return None

    def _lined_up(self, wanted: Wanted, *, has_turn: bool) -> PacedError | None:
        limit, window, tick = self._limit, self._window, self._tick
        if limit is None or wanted.ahead:
            window.call(tick)
            return None
        # Who comes first now stands behind all that have a turn.
        free = tick if has_turn or not window.waits() else tick + 1
        if free == tick and (free := window.room_at(tick, limit)) <= tick:
            window.call(tick)
            return None
        if has_turn:
            window.keep_turn(free)
        else:
            free = window.give_turn(tick, limit)
        cause = f"waits for {wanted.name}, which takes {limit} calls a minute"
        return PacedError(cause, instant_of(free), instant_of(free))

    def store(self, connection: sa.Connection) -> None:
        calls, turns = self._window.lists()
        connection.execute(
            sa.update(Pace)
            .where(Pace.connection_id == self._row.connection_id)
            .values(calls=calls, turns=turns, **self._rest)
        )


def went_well(connection: sa.Connection, connection_id: str) -> None:
    """The service answered: whoever waits for it may come."""
    ailed = connection.execute(
        sa.update(Pace)
        .where(Pace.connection_id == connection_id, Pace.ailing_since.is_not(None))
        .values(failures=0, rests_from=None, rests_until=None, ailing_since=None, cause=None)
    )
    if ailed.rowcount:
        _wake(connection, connection_id)


def _wake(connection: sa.Connection, connection_id: str) -> None:
    """Bring forward what waits without a turn of its own, one after the other."""
    now = clock.now()
    waiting = connection.scalars(
        sa.select(Task.id)
        .where(
            Task.connection_id == connection_id,
            Task.state == State.WAITING,
            Task.cause.startswith(WAITS),
            Task.turn_at.is_(None),
        )
        .order_by(Task.id)
        .limit(_MOST_WOKEN)
    ).all()
    if waiting:
        connection.execute(
            _COME_AT, [{"task": task, "at": now + n * _APART} for n, task in enumerate(waiting)]
        )


_COME_AT = (
    sa.update(Task)
    .where(
        Task.id == sa.bindparam("task"),
        Task.state == State.WAITING,
        Task.due_at > sa.bindparam("at", type_=Task.__table__.c.due_at.type),
    )
    .values(due_at=sa.bindparam("at", type_=Task.__table__.c.due_at.type))
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that did not go well; `after_s`: the service said how long to wait, and so that it is too much."""

    # The connection's row.
    account: Any
    cause: str
    began_at: datetime
    after_s: float | None


def failed(connection: sa.Connection, failure: Failure) -> None:
    """Count it, and leave the service alone where it asked for it or fails too often in a row."""
    now = clock.now()
    row = {"connection_id": failure.account.id, "workspace_id": failure.account.workspace_id}
    connection.execute(_ADD[connection.dialect.name], row | {"calls": [], "turns": [], "failures": 0})
    (pace,) = _locked(connection, {failure.account.id})
    # Under way already when the rest began: that it fails too says nothing new.
    begun_before = pace.rests_from is not None and failure.began_at < pace.rests_from
    changes: dict[str, Any] = {}
    if failure.after_s is not None:
        changes |= _lesson(pace, failure, now)
    if not begun_before:
        rest = _counted(pace, now) if failure.after_s is None else _asked(pace, failure.after_s, now)
        changes |= rest | {"cause": failure.cause, "ailing_since": pace.ailing_since or now}
    if changes:
        connection.execute(sa.update(Pace).where(Pace.connection_id == failure.account.id).values(**changes))


def _counted(pace: Any, now: datetime) -> dict[str, Any]:
    failures = pace.failures + 1
    if failures < FAILURES:
        return {"failures": failures}
    rest_s = min(_FIRST_REST_S * 2 ** min(failures - FAILURES, 20), _LONGEST_REST_S)
    return {"failures": failures, "rests_from": now, "rests_until": now + timedelta(seconds=rest_s)}


def _asked(pace: Any, after_s: float, now: datetime) -> dict[str, Any]:
    asked = timedelta(seconds=min(max(after_s, 1.0), _LONGEST_ASKED_S))
    return {"rests_from": now, "rests_until": max(now + asked, pace.rests_until or now), "refused_at": now}


def _lesson(pace: Any, failure: Failure, now: datetime) -> dict[str, Any]:
    """A refusal tells that one call more than those of the last minute is too many; it does not count itself."""
    window = Window.of(pace.calls, pace.turns, tick_of(now))
    window.uncall(tick_of(failure.began_at))
    made = window.recent(tick_of(now))
    learnt = {"learnt_per_minute": max(1, made * 95 // 100)} if made >= _LEAST_LEARNT else {}
    return {"calls": window.lists()[0]} | (learnt if pace.per_minute is None else {})


def limit_now(row: Any, now: datetime) -> int | None:
    """Calls a minute, as told or else as learnt lately."""
    if row.per_minute is not None:
        return int(row.per_minute)
    if row.learnt_per_minute is None or now - row.refused_at > _LEARNT_LASTS:
        return None
    return int(row.learnt_per_minute)


def _locked(connection: sa.Connection, connection_ids: set[str]) -> Sequence[Any]:
    return connection.execute(
        sa.select(Pace.__table__)
        .where(Pace.connection_id.in_(connection_ids))
        .order_by(Pace.connection_id)
        .with_for_update()
    ).all()


_ADD = insert_once(Pace, "connection_id")
