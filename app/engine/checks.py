"""Checking accounts: that their credentials still work, when somebody asks, and once a day by itself."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from gevent import Timeout
from gevent.pool import Pool

from app import clock
from app.database import read_connection
from app.engine import hold, life, tokens
from app.engine.core import Engine
from app.errors import SealError
from app.models import Connection
from app.sdk.context import Context
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.fields import Settings

log = structlog.get_logger()

_DAY = timedelta(days=1)
# Where nothing was learnt, it is asked again after an hour.
_AGAIN = timedelta(hours=1)
_DEADLINE_S = 60.0
_AT_ONCE = 3


def check(engine: Engine, key: str, settings: Settings) -> str:
    """Prove an account with a harmless call: a sentence of success. Raises the errors of app.sdk.errors.

    Goes over the network: never within a transaction.
    """
    integration = engine.catalogue.integrations.get(key)
    if integration is None:
        raise RejectedError(f"the integration {key} is not installed here")
    if integration.check_call is None:
        return "saved; there is nothing to check here"
    context = Context(http=engine.http, guard=engine.guard, now=clock.now(), base_url=engine.base_url(key))
    return integration.check_call(context, settings)


def recheck(engine: Engine, row: Any) -> tuple[bool, str]:
    """(works, sentence). Raises TemporaryError and SealError: then nothing is known about the account."""
    try:
        # What is broken may mend by itself: an access that was lost is asked for anew.
        return True, check(engine, row.integration, tokens.fresh(engine, row, force=not row.healthy))
    except (AuthError, RejectedError) as error:
        return False, str(error)


class Checker:
    """The daily checks that this process has under way."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool = Pool(_AT_ONCE)

    def check_due(self) -> int:
        """Begin the check that has been due the longest; how many. Returns before it ends."""
        row = self._due() if self._pool.free_count() else None
        if row is None or not self._engine.writer.submit(partial(_take, row=row)):
            return 0
        self._pool.spawn(_check, self._engine, row)
        return 1

    def join(self, timeout_s: float) -> None:
        self._pool.join(timeout=timeout_s)

    def _due(self) -> Any:
        checkable = [each.key for each in self._engine.catalogue if each.check_call is not None]
        with read_connection(self._engine.database) as connection:
            if hold.held(connection):
                return None
            return connection.execute(
                sa.select(Connection.__table__)
                .where(Connection.integration.in_(checkable), _is_due(clock.now()))
                .order_by(Connection.check_due_at)
                .limit(1)
            ).first()


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    new = Connection.check_due_at.is_(None) & (Connection.created_at < now - _DAY)
    return sa.or_(Connection.check_due_at < now, new)


def _take(connection: sa.Connection, row: Any) -> bool:
    """Whether this check is ours: the next one is due in an hour, also when this process dies now."""
    ours = sa.update(Connection).where(
        Connection.id == row.id, Connection.check_due_at.is_not_distinct_from(row.check_due_at)
    )
    return bool(connection.execute(ours.values(check_due_at=clock.now() + _AGAIN)).rowcount)


def _check(engine: Engine, row: Any) -> None:
    try:
        with Timeout(_DEADLINE_S, TemporaryError(f"it took longer than {_DEADLINE_S:.0f} seconds")):
            works, sentence = recheck(engine, row)
    except (TemporaryError, SealError) as error:
        log.info("connection_check_put_off", connection=row.id, cause=str(error))
        return
    except Exception:  # an integration's bug must not end the day's checks
        log.exception("connection_check_broke", connection=row.id)
        return
    log.info("connection_checked", connection=row.id, works=works)
    if engine.writer.submit(partial(_note, row=row, works=works, sentence=sentence)):
        engine.doorbell.ring()


def _note(connection: sa.Connection, *, row: Any, works: bool, sentence: str) -> bool:
    """What a check found, unless somebody changed the account meanwhile; whether that let go of held tasks."""
    now = clock.now()
    changed = connection.execute(
        sa.update(Connection)
        .where(Connection.id == row.id, Connection.updated_at == row.updated_at)
        .values(
            healthy=works,
            health_cause=None if works else sentence,
            checked_at=now,
            check_due_at=now + _DAY,
        )
    )
    mended = bool(changed.rowcount) and works and not row.healthy
    return mended and life.release_held(connection, row.id) > 0
