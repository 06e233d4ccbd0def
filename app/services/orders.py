"""Taking an order for a task: who may, whether it can be done at all, and only once for one key."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine import masking, policy, secrets
from app.engine.core import Engine
from app.engine.enqueue import NewTask, enqueue_task
from app.errors import ConflictError, InvalidError
from app.models import Connection, Queue, Role, State, Task
from app.models.queue import DEFAULT_QUEUE
from app.sdk.declare import Action
from app.sdk.fields import sentences, spread
from app.services.access import Actor, require, scoped

LONGEST_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class Order:
    """A task as it is asked for; params are taken literally, a template in them is text."""

    action: str
    params: Mapping[str, Any] = field(default_factory=dict)
    connection: str | None = None
    queue: str = DEFAULT_QUEUE
    priority: int = 0
    run_at: datetime | None = None
    max_attempts: int = policy.MAX_ATTEMPTS

    @property
    def sha256(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Taken:
    task_id: str
    state: State
    repeated: bool


def take(session: Session, engine: Engine, actor: Actor, order: Order, *, key: str | None = None) -> Taken:
    """On disk when it returns. The same `key` and order give the same answer again.

    Raises InvalidError naming the field, ConflictError for a key that came with another order.
    """
    require(actor, Role.EDITOR)
    _refuse_bad_key(key)
    before = _before(session, actor, order, key)
    if before is not None:
        return before
    new = _new_task(session, engine, actor, order, key=key)
    # Let go of the reading transaction: the writing one is another connection's.
    session.rollback()
    try:
        enqueued = enqueue_task(engine, new)
    except IntegrityError:
        # The same key arrived twice at the same moment, and the other was first.
        enqueued = enqueue_task(engine, new)
    return Taken(enqueued.task_id, _first_state(order, clock.now()), enqueued.repeated)


def _first_state(order: Order, enqueued_at: datetime) -> State:
    later = order.run_at is not None and order.run_at > enqueued_at
    return State.WAITING if later else State.QUEUED


def _refuse_bad_key(key: str | None) -> None:
    if key is not None and not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        sentence = f"must be 1 to {LONGEST_KEY} printable characters"
        raise InvalidError(f"the Idempotency-Key {sentence}", {"Idempotency-Key": sentence})


def _before(session: Session, actor: Actor, order: Order, key: str | None) -> Taken | None:
    if key is None:
        return None
    row = session.scalar(scoped(Task, actor).where(Task.idempotency_key == key))
    if row is None:
        return None
    if row.request_sha256 != order.sha256:
        raise ConflictError(
            "this Idempotency-Key was used with another request; use a new key for a new task"
        )
    return Taken(row.id, _first_state(order, row.created_at), repeated=True)


def _new_task(session: Session, engine: Engine, actor: Actor, order: Order, *, key: str | None) -> NewTask:
    queue, params = _queue(session, actor, order.queue), order.params
    if not queue.external:
        action = _action(engine, order.action)
        params = _fitting(action, order.params)
        _refuse_bad_connection(session, actor, action, order.connection)
    task_id, shown = ids.new("tsk"), masking.mask(params)
    hidden = shown != params
    return NewTask(
        task_id=task_id,
        workspace_id=actor.workspace_id,
        queue_id=queue.id,
        action=order.action,
        connection_id=order.connection,
        params=shown,
        params_sealed=secrets.seal(engine.keyring, {"params": params}, bound_to=task_id) if hidden else None,
        priority=order.priority,
        run_at=order.run_at,
        max_attempts=order.max_attempts,
        idempotency_key=key,
        request_sha256=order.sha256,
    )


def _queue(session: Session, actor: Actor, name: str) -> Queue:
    row = session.scalar(scoped(Queue, actor).where(Queue.name == name))
    if row is None:
        raise _wrong("queue", f"there is no queue {name[:40]}; make it first with POST /api/v1/queues")
    return row


def _action(engine: Engine, key: str) -> Action:
    action = engine.catalogue.action(key)
    if action is None:
        raise _wrong("action", f"there is no action {key[:60]}; GET /api/v1/integrations lists them")
    return action


def _fitting(action: Action, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The params as they will be executed; `a, b` for a list is what people write."""
    params = spread(action.params, given)
    try:
        action.params.model_validate(params)
    except ValidationError as error:
        fields = {f"params.{path}": sentence for path, sentence in sentences(error).items()}
        raise InvalidError(f"the params do not fit {action.key}", fields) from None
    return params


def _refuse_bad_connection(session: Session, actor: Actor, action: Action, connection_id: str | None) -> None:
    integration = action.key.partition(".")[0]
    if connection_id is None:
        if action.need == "required":
            raise _wrong("connection", f"is needed: {action.key} uses a connection to {integration}")
        return
    if action.need == "none":
        raise _wrong("connection", f"must be left out: {action.key} uses none")
    row = session.scalar(scoped(Connection, actor).where(Connection.id == connection_id))
    if row is None or row.integration != integration:
        raise _wrong("connection", f"there is no connection {connection_id[:40]} to {integration} here")


def _wrong(name: str, sentence: str) -> InvalidError:
    return InvalidError(sentence if sentence.startswith("there") else f"{name} {sentence}", {name: sentence})
