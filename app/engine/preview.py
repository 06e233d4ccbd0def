"""Trying a step before it is on: what would be sent, and really doing it once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app import ids
from app.engine import masking, secrets, tokens
from app.engine.call import called, valid_params
from app.engine.core import Engine
from app.engine.execute import judge
from app.engine.lend import lend
from app.sdk import templates
from app.sdk.conditions import Verdict
from app.sdk.declare import Action
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
    connection_id = step.get("connection")
    settings = None
    if connection_id is not None:
        row = secrets.account(engine, workspace_id, connection_id)
        settings = tokens.fresh(engine, row)
    lent = lend(
        engine,
        action.key,
        workspace_id=workspace_id,
        key=ids.new("try"),
        connection_id=connection_id,
        depth=1,
    )
    return called(action, lent, settings, params)


def _prepared(engine: Engine, step: Step, context: Mapping[str, Any]) -> tuple[Action, Any, Settings]:
    action = engine.catalogue.action(step.get("action") or "")
    if action is None:
        raise RejectedError(f"the action {step.get('action')} is not installed here; choose another one")
    given = templates.render(step.get("params", {}), context)
    return action, given, valid_params(action, given)
