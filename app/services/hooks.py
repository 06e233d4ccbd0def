"""Inbound calls: finding the rule behind an address, letting its integration verify, and storing the event."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa

from app import clock
from app.database import write_connection
from app.engine import enqueue, policy, secrets
from app.engine.core import Engine
from app.engine.enqueue import Armed, Receipt
from app.errors import ConflictError, GoneError, NotFoundError
from app.models import Connection, Hook, Rule, Trigger
from app.sdk.declare import InboundRequest, Occurrence, Reply
from app.sdk.declare import Trigger as Declared
from app.sdk.errors import RefusedError
from app.sdk.fields import Settings

# Refusals are counted at most so often: a stranger must not be able to keep the database writing.
_COUNT_EVERY: Final = timedelta(seconds=5)
_LONGEST_KEY: Final = 500

_FIND = (
    sa.select(
        Hook.id.label("hook_id"), Hook.token_sha256, Hook.listening_until, Hook.refused_at,
        Trigger.id.label("trigger_id"), Trigger.workspace_id, Trigger.rule_id, Trigger.type, Trigger.params,
        Trigger.connection_id, Trigger.version_id, Rule.deleted_at,
    )
    .select_from(Hook.__table__)
    .join(Trigger, Trigger.id == Hook.trigger_id)
    .join(Rule, Rule.id == Trigger.rule_id)
    .where(Hook.token_sha256.in_(sa.bindparam("tokens", expanding=True)))
)  # fmt: skip
_ACCOUNTS = sa.select(Connection.__table__).where(Connection.id.in_(sa.bindparam("ids", expanding=True)))


def receive(engine: Engine, token: str, request: InboundRequest, *, depth: int = 0) -> Receipt | Reply:
    """Stored when it returns.

    Raises NotFoundError for a wrong address, GoneError for a rule that is off, RefusedError where verification
    fails, ConflictError for a rule that keeps starting itself, UnavailableError when nothing was stored.
    """
    row, settings = _find(engine, token)
    armed = _armed(row)
    try:
        found = _understood(engine, row, request, settings)
    except RefusedError as error:
        _count_refusal(engine, row, str(error))
        raise
    if isinstance(found, Reply):
        return found
    receipts = enqueue.accept_all(engine, armed, found, depth=depth)
    if depth >= policy.MAX_DEPTH:
        raise ConflictError(f"stopped: this rule keeps starting itself, {depth} times in a row; change it")
    # One call may tell of many things; the answer names the first.
    return _declared(engine, row).answer or receipts[0]


@dataclass(frozen=True, slots=True)
class _Found:
    """A hook's row, and that of the account whose secret verifies the call."""

    row: Any
    account: Any


def _look(connection: sa.Connection, tokens: Sequence[str]) -> list[_Found | None]:
    """By the hash of the address's token. Of the account nothing is kept."""
    rows = connection.execute(_FIND, {"tokens": list(set(tokens))}).all()
    wanted = [row.connection_id for row in rows if row.connection_id is not None]
    accounts = {row.id: row for row in connection.execute(_ACCOUNTS, {"ids": wanted})} if wanted else {}
    found = {row.token_sha256: _Found(row, accounts.get(row.connection_id)) for row in rows}
    return [found.get(token) for token in tokens]


def _find(engine: Engine, token: str) -> tuple[Any, Settings | None]:
    found = engine.reader.submit_to(_look, hashlib.sha256(token.encode()).hexdigest())
    if found is None or found.row.deleted_at is not None:
        raise NotFoundError("there is no hook at this address; copy it again from its rule")
    return found.row, _opened(engine, found)


def _opened(engine: Engine, found: _Found) -> Settings | None:
    if found.row.connection_id is None:
        return None
    # Ownership again, at every call: a rule must never reach another workspace's account.
    if found.account is None or found.account.workspace_id != found.row.workspace_id:
        raise GoneError(
            "the connection that verifies calls to this rule was deleted; choose another one there"
        )
    return secrets.open_connection(engine.keyring, engine.catalogue, found.account)


def _armed(row: Any) -> Armed:
    listening = row.listening_until is not None and row.listening_until > clock.now()
    if row.version_id is None and not listening:
        raise GoneError("the rule of this hook is off; turn it on, or let it listen for a sample")
    return Armed(
        workspace_id=row.workspace_id,
        trigger_id=row.trigger_id,
        type=row.type,
        rule_id=row.rule_id,
        version_id=row.version_id,
    )


def _declared(engine: Engine, row: Any) -> Declared:
    declared = engine.catalogue.trigger(row.type)
    if declared is None or declared.sort != "hook" or declared.call is None:
        raise GoneError(f"the trigger {row.type} of this rule is not installed here or takes no calls")
    return declared


def _params(declared: Declared, row: Any) -> Settings:
    try:
        return declared.params.model_validate(row.params)
    except ValueError:
        raise GoneError("the trigger of this rule is not complete; open the rule and mend it") from None


def _understood(
    engine: Engine, row: Any, request: InboundRequest, settings: Settings | None
) -> list[Occurrence] | Reply:
    """What the integration makes of the call, once it has verified it; raises RefusedError."""
    declared = _declared(engine, row)
    assert declared.call is not None
    found = declared.call(request, settings, _params(declared, row))
    if isinstance(found, Reply):
        return found
    occurrences = [_with_storable_key(each) for each in found]
    if not occurrences:
        raise RefusedError("the call tells of nothing that this rule waits for", status=422)
    return occurrences


def _with_storable_key(occurrence: Occurrence) -> Occurrence:
    """Keys come from strangers: PostgreSQL refuses NUL, both databases lone surrogates."""
    key = occurrence.key
    if key is None or (key.isprintable() and len(key) <= _LONGEST_KEY):
        return occurrence
    return replace(occurrence, key="sha256:" + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest())


def _count_refusal(engine: Engine, row: Any, cause: str) -> None:
    now = clock.now()
    if row.refused_at is not None and now - row.refused_at < _COUNT_EVERY:
        return
    with write_connection(engine.database, patience_s=0.2) as connection:
        connection.execute(
            sa.update(Hook)
            .where(Hook.id == row.hook_id)
            .values(refused=Hook.refused + 1, refused_at=now, refused_cause=cause)
        )
