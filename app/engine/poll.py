"""Poll triggers: looking regularly for something new, and making one event of each thing found.

A look counts among the calls of its connection, and lets a service rest like those; it stands in no line behind tasks,
being one call in minutes.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from gevent import Timeout
from gevent.pool import Pool
from pydantic import ValidationError

from app import clock
from app.database import read_connection
from app.engine import alerts, hold, pace, secrets, standstill, tokens
from app.engine.core import Engine
from app.engine.enqueue import Armed, Arrival, store_events
from app.engine.lend import lend
from app.errors import SealError
from app.models import AlertKind, Connection, Rule, Trigger, TriggerKind
from app.sdk.declare import Batch
from app.sdk.declare import Trigger as Declared
from app.sdk.errors import AuthError, IntegrationError, TemporaryError

log = structlog.get_logger()

# Looks of one process at the same time; a slow service must not keep the others waiting.
_AT_ONCE = 20
_DEADLINE_S = 120.0
# Kept per trigger, so that an item that comes again between two looks is known.
KEYS_KEPT = 5000
# So long after its time a look counts as not done; one that has begun is over by then.
LATE_LOOK = timedelta(seconds=_DEADLINE_S + 30)
_SHORTEST = timedelta(seconds=5)
_BUSY = timedelta(minutes=1)


class WaitsError(IntegrationError):
    """There is nothing to look with until somebody connects the account again."""


class Poller:
    """The looks that this process has under way."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool = Pool(_AT_ONCE)

    def look_due(self) -> int:
        """Begin every look that is due and finds a place; how many. Returns before they end."""
        started = 0
        for row in self._due(self._pool.free_count()):
            next_at = clock.now() + interval(self._engine, row)
            if self._engine.writer.submit(partial(_take, engine=self._engine, row=row, next_at=next_at)):
                self._pool.spawn(look, self._engine, row, next_at)
                started += 1
        return started

    def join(self, timeout_s: float) -> None:
        self._pool.join(timeout=timeout_s)

    def _due(self, limit: int) -> list[Any]:
        if not limit:
            return []
        with read_connection(self._engine.database) as connection:
            if hold.held(connection):
                return []
            return list(
                connection.execute(
                    sa.select(Trigger.__table__)
                    .where(Trigger.kind == TriggerKind.POLL, Trigger.next_due_at <= clock.now())
                    .order_by(Trigger.next_due_at)
                    .limit(limit)
                )
            )


def interval(engine: Engine, row: Any) -> timedelta:
    """How long to the next look: the rule's own `every_minutes`, never below the integration's shortest."""
    declared = engine.catalogue.trigger(row.type)
    if declared is None:
        return _BUSY
    default = declared.params.model_fields.get("every_minutes")
    minutes = row.params.get("every_minutes", default.default if default else 0)
    return max(declared.every or _SHORTEST, timedelta(minutes=float(minutes)))


def look(engine: Engine, row: Any, next_at: datetime) -> int:
    """One look: store what is new and where it got to; how many events. A failure is shown at the trigger."""
    try:
        with Timeout(_DEADLINE_S, TemporaryError(f"looking took longer than {_DEADLINE_S:.0f} seconds")):
            batch = _found(engine, row)
    except AuthError as error:
        _broken(engine, row, str(error))
    except TemporaryError as error:
        after = max(_BUSY, timedelta(seconds=error.after or 0))
        _note(engine, row, next_at, str(error), due_at=max(next_at, clock.now() + after))
    except WaitsError as error:
        _note(engine, row, next_at, str(error), due_at=next_at, counts=False)
    except pace.PacedError as error:
        sentence = str(error).removeprefix(pace.WAITS)
        _note(engine, row, next_at, sentence, due_at=max(next_at, error.due_at), counts=False)
    except (IntegrationError, SealError) as error:
        _note(engine, row, next_at, str(error), due_at=next_at)
    except ValidationError:
        _note(
            engine, row, next_at, "its settings do not fit any more; open the rule and save it", due_at=None
        )
    else:
        stored = engine.writer.submit(lambda connection: _store(connection, row, next_at, batch))
        if stored:
            engine.doorbell.ring()
        return stored
    return 0


def _found(engine: Engine, row: Any) -> Batch:
    declared = engine.catalogue.trigger(row.type)
    if declared is None or declared.call is None:
        raise IntegrationError(f"the trigger {row.type} is not installed here; choose another one")
    params = declared.params.model_validate(row.params)
    context = lend(engine, declared.key, workspace_id=row.workspace_id, key=row.id)
    account = _account(engine, row, declared)
    settings = tokens.fresh(engine, account) if account is not None else None
    began_at = clock.now()
    try:
        batch: Batch = declared.call(context, settings, params, row.cursor, row.recent_keys)
    except TemporaryError as error:
        if account is not None:
            failure = pace.Failure(account, str(error), began_at, error.after)
            engine.writer.submit(partial(pace.failed, failure=failure))
        raise
    if account is not None and account.paced:
        engine.writer.post(partial(pace.went_well, connection_id=account.id))
    return batch


def _account(engine: Engine, row: Any, declared: Declared) -> Any:
    """The connection's row, once it may be used. Raises WaitsError, PacedError."""
    if row.connection_id is None:
        if declared.need == "required":
            raise IntegrationError("no connection is chosen; choose one in the rule")
        return None
    account = secrets.account(engine, row.workspace_id, row.connection_id)
    if not account.healthy:
        raise WaitsError(f"waits: the connection {account.name} is broken; connect it again")
    if account.paced:
        wanted = pace.Wanted(account.id, account.name, turn=None, ahead=True)
        if wait := engine.writer.submit_to(pace.enter, wanted):
            raise wait
    return account


def _take(connection: sa.Connection, engine: Engine, row: Any, next_at: datetime) -> bool:
    """Whether this look is ours: the next one is due then, also when this process dies now."""
    changed = connection.execute(
        sa.update(Trigger)
        .where(Trigger.id == row.id, Trigger.next_due_at == row.next_due_at)
        .values(next_due_at=next_at)
    )
    if changed.rowcount and clock.now() - row.next_due_at >= interval(engine, row) + LATE_LOOK:
        _tell_late(connection, engine, row)
    return bool(changed.rowcount)


def _tell_late(connection: sa.Connection, engine: Engine, row: Any) -> None:
    name = connection.scalar(sa.select(Rule.name).where(Rule.id == row.rule_id)) or "a rule"
    since = standstill.length(clock.now() - row.next_due_at)
    sentence = f"{name} did not look for {since}; it looks again now, and finds what came meanwhile"
    cause = alerts.Cause(
        workspace_id=row.workspace_id,
        kind=AlertKind.STUCK,
        key=standstill.key(row.id),
        title=f"{name} stood still",
        sentence=sentence,
        subject_id=row.rule_id,
    )
    alerts.tell(connection, engine, cause)


def _store(connection: sa.Connection, row: Any, next_at: datetime, batch: Batch) -> int:
    moved = connection.execute(
        sa.update(Trigger)
        # Moved meanwhile: the rule was edited or turned off, and this look counts no more.
        .where(Trigger.id == row.id, Trigger.next_due_at == next_at)
        .values(
            cursor=batch.cursor,
            recent_keys=batch.recent_keys[-KEYS_KEPT:],
            last_error=None,
            missed=0,
            looked_at=clock.now(),
            last_fired_at=clock.now() if batch.occurrences else row.last_fired_at,
        )
    )
    if not moved.rowcount:
        return 0
    armed = Armed(row.workspace_id, row.id, row.type, row.rule_id, row.version_id)
    receipts = store_events(connection, [Arrival(armed, occurrence) for occurrence in batch.occurrences])
    return sum(not receipt.duplicate for receipt in receipts)


def _note(
    engine: Engine,
    row: Any,
    next_at: datetime,
    sentence: str,
    *,
    due_at: datetime | None,
    counts: bool = True,
) -> None:
    """A look that failed; one that could not even be tried does not count."""
    log.info("poll_failed", trigger=row.id, cause=sentence)
    values: dict[str, Any] = {"last_error": sentence, "next_due_at": due_at, "looked_at": clock.now()}
    if counts:
        values["missed"] = Trigger.missed + 1
    engine.writer.submit(
        lambda connection: (
            connection.execute(
                sa.update(Trigger)
                .where(Trigger.id == row.id, Trigger.next_due_at == next_at)
                .values(**values)
            ).rowcount
        )
    )


def _broken(engine: Engine, row: Any, sentence: str) -> None:
    """The account was refused: the trigger waits for it to be connected again."""

    def unit(connection: sa.Connection) -> None:
        connection.execute(
            sa.update(Connection)
            .where(Connection.id == row.connection_id, Connection.workspace_id == row.workspace_id)
            .values(healthy=False, health_cause=sentence, checked_at=clock.now())
        )
        noted = {"last_error": sentence, "looked_at": clock.now()}
        connection.execute(sa.update(Trigger).where(Trigger.id == row.id).values(**noted))

    engine.writer.submit(unit)
