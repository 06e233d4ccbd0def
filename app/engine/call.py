"""Calling a task's action: its account opened, its params checked, and what it may raise told apart."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from gevent import Timeout
from pydantic import ValidationError

from app.engine import pace, policy, secrets, tokens
from app.engine.claim import Claimed
from app.engine.core import Engine
from app.engine.lend import lend
from app.engine.material import RunMaterial
from app.errors import UnavailableError
from app.sdk.declare import Action, Context
from app.sdk.errors import IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, sentences

log = structlog.get_logger()

T = TypeVar("T")


class HeldError(Exception):
    """The task's connection is broken; a person has to mend it first."""


@dataclass(frozen=True, slots=True)
class Call:
    """An action with everything it is called with."""

    action: Action
    connection: Settings | None
    params: Settings
    given: Any
    repeatable: bool
    # The connection's row as `secrets.account` gives it.
    account: Any


def prepare(engine: Engine, task: Claimed, given: Any) -> Call:
    action = engine.catalogue.action(task.action or "")
    if action is None:
        missing = f"the action {task.action}" if task.action else f"a step of the kind {task.kind}"
        raise RejectedError(f"{missing} is not installed here; choose another one for this step")
    params = valid_params(action, given)
    account = _account(engine, task)
    settings = tokens.fresh(engine, account) if account is not None else None
    return Call(action, settings, params, given, action.is_repeatable(params), account)


def _account(engine: Engine, task: Claimed) -> Any:
    """The task's connection, once it may be used. Raises HeldError, PacedError."""
    if task.connection_id is None:
        return None
    connection_id = task.connection_id
    # Ownership again, at run: a rule must never reach another workspace's account.
    row = when_possible(task, lambda: secrets.account(engine, task.workspace_id, connection_id))
    if not row.healthy:
        raise HeldError(f"held: the connection {row.name} is broken ({row.health_cause}); connect it again")
    if row.paced:
        wanted = pace.Wanted(row.id, row.name, task.turn_at)
        wait = when_possible(task, lambda: engine.writer.submit_to(pace.enter, wanted))
        if wait is not None:
            raise wait
    return row


def call_for(call: Call, engine: Engine, task: Claimed, run: RunMaterial | None) -> Any:
    """What the action gave. Raises what integrations raise."""
    context = lend(
        engine,
        call.action.key,
        workspace_id=task.workspace_id,
        key=f"{task.run_id}-{task.path}" if task.run_id else task.id,
        connection_id=task.connection_id,
        rule_id=run.rule_id if run else None,
        depth=run.depth + 1 if run else 1,
    )
    return called(call.action, context, call.connection, call.params)


def called(action: Action, context: Context, connection: Settings | None, params: Settings) -> Any:
    """What an action gave. Raises what integrations raise; what else it raises is a bug, and logged as one."""
    try:
        with Timeout(policy.ACTION_DEADLINE_S):
            return action.call(context, connection, params)
    except Timeout:
        raise TemporaryError(
            f"{action.title} did not end within {policy.ACTION_DEADLINE_S:.0f} seconds"
        ) from None
    except IntegrationError:
        raise
    except Exception as error:
        log.exception("action_broke", action=action.key)
        raise RejectedError(bug(action.key, error)) from None


def own_params(engine: Engine, task: Claimed) -> Any:
    """The params of a task from the API, secrets included. Raises SealError."""
    if task.params_sealed is None:
        return task.params
    return secrets.open_sealed(engine.keyring, task.params_sealed, bound_to=task.id)["params"]


def valid_params(action: Action, given: Any) -> Settings:
    """Raises RejectedError that names each field at fault."""
    try:
        return action.params.model_validate(given)
    except ValidationError as error:
        objections = "; ".join(f"{path} {sentence}" for path, sentence in sentences(error).items())
        raise RejectedError(f"{action.title}: {objections}") from None


def bug(action: str | None, error: Exception) -> str:
    what = action or "this step"
    return f"{what} broke with an unexpected {type(error).__name__}; this is a bug, the server's log has more"


def when_possible(task: Claimed, call: Callable[[], T]) -> T:
    """What was begun must be brought to its end: a database that is away is waited for, the fence decides then."""
    while True:
        try:
            return call()
        except UnavailableError:
            log.warning("database_waited_for", task=task.id)
            time.sleep(0.5)
