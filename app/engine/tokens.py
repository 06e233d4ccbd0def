"""Accounts that people sign in to: their access is renewed before it ends, by one worker, and kept sealed."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import sqlalchemy as sa
import structlog

from app import clock
from app.database import read_connection
from app.engine import secrets
from app.engine.core import Engine
from app.models import Connection
from app.sdk.context import Context
from app.sdk.errors import RejectedError, TemporaryError
from app.sdk.fields import Settings
from app.sdk.oauth import OAuthAccount

log = structlog.get_logger()

Row: TypeAlias = Connection | sa.Row[Any]

# Longer than a token endpoint may take (app.sdk.oauth.DEADLINE_S): after it, whoever held it is taken for dead.
LEASE = timedelta(seconds=30)
_PATIENCE_S = 35.0
_PAUSE_S = 0.1
_MOMENT = timedelta(seconds=30)


def fresh(engine: Engine, row: Row, *, force: bool = False) -> Settings:
    """The account with its secrets in clear and an access that works now; `force` renews one that seems to.

    Never to be called inside a transaction: it may go over the network. Raises what `open_connection` raises,
    AuthError when somebody has to sign in again, TemporaryError (never sent) when the service is away.
    """
    account = _opened(engine, row)
    if not isinstance(account, OAuthAccount) or not (force or account.is_due(clock.now())):
        return account
    give_up_at = time.monotonic() + _PATIENCE_S
    while not (until := _take(engine, row)):
        row = _read_again(engine, row)
        account = _opened(engine, row)
        # Either renewed meanwhile, or being renewed by somebody while the old one still works.
        if not isinstance(account, OAuthAccount) or not account.is_due(clock.now(), early=_MOMENT):
            return account
        if time.monotonic() > give_up_at:
            raise TemporaryError(f"the access of {row.name} is being renewed", after=5.0, sent=False)
        time.sleep(_PAUSE_S)
    lease = _Lease(engine, row.id, until)
    try:
        return lease.renew(row, account)
    finally:
        lease.let_go()


def _opened(engine: Engine, row: Row) -> Settings:
    return secrets.open_connection(engine.keyring, engine.catalogue, row)


@dataclass(frozen=True, slots=True)
class _Lease:
    """The right to renew one account's access; while it lasts, nobody else does."""

    engine: Engine
    connection_id: str
    until: datetime

    def renew(self, row: Row, account: OAuthAccount) -> Settings:
        engine, now = self.engine, clock.now()
        context = Context(
            http=engine.http, guard=engine.guard, now=now, base_url=engine.base_url(row.integration)
        )
        try:
            renewed = account.renewed(context)
        except TemporaryError:
            if account.is_due(now, early=_MOMENT):
                raise
            log.warning("access_renewal_put_off", connection=row.id)
            return account
        log.info("access_renewed", connection=row.id)
        return self._keep(row, account, renewed)

    def _keep(self, row: Row, account: OAuthAccount, renewed: OAuthAccount) -> Settings:
        """Store what renewing brought. Whoever changed the account meanwhile wins; who only sealed it anew does not."""
        while not self._store(row, renewed):
            row = _read_again(self.engine, row)
            now = _opened(self.engine, row)
            if row.token_lease_until != self.until or not isinstance(now, OAuthAccount):
                return now
            if (now.refresh_token, now.client_credentials()) != (
                account.refresh_token,
                account.client_credentials(),
            ):
                return now
            renewed = now.model_copy(update={name: getattr(renewed, name) for name in OAuthAccount.filled})
        return renewed

    def _store(self, row: Row, renewed: OAuthAccount) -> int:
        plain, secret = secrets.split(renewed)
        sealed = secrets.seal(self.engine.keyring, secret, bound_to=row.id)
        update = (
            sa.update(Connection)
            .where(*self._ours(), Connection.sealed == row.sealed)
            .values(settings=plain, sealed=sealed)
        )
        return self.engine.writer.submit(lambda connection: connection.execute(update).rowcount)

    def let_go(self) -> None:
        update = sa.update(Connection).where(*self._ours()).values(token_lease_until=None)
        self.engine.writer.submit(lambda connection: connection.execute(update))

    def _ours(self) -> tuple[sa.ColumnElement[bool], ...]:
        return Connection.id == self.connection_id, Connection.token_lease_until == self.until


def _take(engine: Engine, row: Row) -> datetime | None:
    """Until when renewing is ours; None when somebody else does it or has done it since `row` was read."""
    now = clock.now()
    until = now + LEASE
    free = sa.or_(Connection.token_lease_until.is_(None), Connection.token_lease_until < now)
    update = (
        sa.update(Connection)
        .where(Connection.id == row.id, Connection.sealed == row.sealed, free)
        .values(token_lease_until=until)
    )
    return until if engine.writer.submit(lambda connection: connection.execute(update).rowcount) else None


def _read_again(engine: Engine, row: Row) -> sa.Row[Any]:
    with read_connection(engine.database) as connection:
        found = connection.execute(
            sa.select(Connection.__table__).where(
                Connection.id == row.id, Connection.workspace_id == row.workspace_id
            )
        ).first()
    if found is None:
        raise RejectedError("the connection of this step was deleted; choose another one")
    return found
