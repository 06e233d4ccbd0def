"""Trying a step before it is on: what would be sent, and really doing it once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.engine import masking, secrets
from app.engine.core import Engine
from app.engine.execute import judge, valid_params
from app.errors import NotFoundError
from app.extensions import read_connection
from app.models import Connection
from app.sdk import templates
from app.sdk.conditions import Verdict
from app.sdk.declare import Action, Context
from app.sdk.errors import RejectedError
from app.sdk.fields import Settings

Step = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Preview:
    """What a step would be given with this context: `params` as sent, secrets masked."""

    action: str
    title: str
    params: Any
    repeatable: bool


def render(engine: Engine, step: Step, context: Mapping[str, Any]) -> Preview:
    """A dry-run of an action step. Raises RejectedError that names what is missing or wrong."""
    action, given, params = _prepared(engine, step, context)
    return Preview(action.key, action.title, masking.mask(given), action.is_repeatable(params))


def filter_verdict(step: Step, context: Mapping[str, Any]) -> Verdict:
    """Whether a filter step would let this context pass, and why not."""
    return judge(step, context)


def call(engine: Engine, workspace_id: str, step: Step, context: Mapping[str, Any]) -> Any:
    """Really do an action step, once and at once; its output. Raises what integrations raise, and SealError."""
    action, _, params = _prepared(engine, step, context)
    key = action.key.partition(".")[0]
    lent = Context(
        http=engine.http,
        guard=engine.guard,
        now=clock.now(),
        idempotency_key=ids.new("try"),
        base_url=engine.base_url(key),
        depth=1,
    )
    return action.call(lent, _connection(engine, workspace_id, step.get("connection")), params)


def _prepared(engine: Engine, step: Step, context: Mapping[str, Any]) -> tuple[Action, Any, Settings]:
    action = engine.catalogue.action(step.get("action") or "")
    if action is None:
        raise RejectedError(f"the action {step.get('action')} is not installed here; choose another one")
    given = templates.render(step.get("params", {}), context)
    return action, given, valid_params(action, given)


def _connection(engine: Engine, workspace_id: str, connection_id: str | None) -> Settings | None:
    if connection_id is None:
        return None
    with read_connection(engine.database) as connection:
        row = connection.execute(
            sa.select(Connection.__table__).where(
                Connection.id == connection_id, Connection.workspace_id == workspace_id
            )
        ).first()
    if row is None:
        raise NotFoundError("the connection of this step was deleted; choose another one")
    return secrets.open_connection(engine.keyring, engine.catalogue, row)
