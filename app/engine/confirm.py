"""Asking the provider itself whether what nobody knows was done; what it cannot tell stays for a person."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import gevent
import sqlalchemy as sa
import structlog
from gevent import Timeout

from app import clock
from app.database import read_connection
from app.engine import life, material, policy, record
from app.engine.call import Call, HeldError, bug, own_params, prepare
from app.engine.claim import Claimed
from app.engine.core import Engine
from app.engine.execute import said
from app.engine.lend import lend
from app.engine.pace import PacedError
from app.errors import BitQueueError, UnavailableError
from app.models import Attempt, State, Task
from app.sdk import jsonvalues, templates
from app.sdk.errors import IntegrationError, TemporaryError

log = structlog.get_logger()

# So often in vain, and it stays for a person.
MOST_ASKED = 3
_PAUSES = (timedelta(minutes=1), timedelta(minutes=5))
# A worker that is thought dead may still be sending: until then, what is not there may yet come.
SETTLED = timedelta(seconds=policy.ACTION_DEADLINE_S + 60)
# Clocks differ a little; and what was done on purpose before must not be taken for this.
_SKEW = timedelta(seconds=2)
_DEADLINE_S = 60.0
# Who asks has so long before another one may.
_LEASE = timedelta(seconds=_DEADLINE_S + 30)
_HELD = timedelta(minutes=10)
_AT_ONCE = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found out: settled as *done* or *again*, or to be asked once more at `ask_at` (None: no more)."""

    resolution: life.Resolution | None
    output: Any = None
    ask_at: datetime | None = None
    # Why it could not be told.
    in_vain: str | None = None


def look(engine: Engine) -> int:
    """To be called each second, by as many as like: begins to ask, and returns before that ends; how many."""
    found = [row for row in _due(engine) if _take(engine, row)]
    for row in found:
        gevent.spawn(ask, engine, row)
    return len(found)


def is_asked(engine: Engine, task: Any) -> bool:
    """Whether BitQueue still asks by itself about this uncertain task."""
    action = engine.catalogue.action(task.action or "")
    can_tell = action is not None and action.confirm is not None
    return can_tell and task.state is State.UNCERTAIN and (task.asked or 0) < MOST_ASKED


def _due(engine: Engine) -> list[Any]:
    telling = [
        action.key
        for each in engine.catalogue
        for action in each.actions.values()
        if action.confirm is not None
    ]
    due = sa.or_(Task.ask_at.is_(None), Task.ask_at <= clock.now())
    query = (
        sa.select(Task.__table__)
        .where(Task.state == State.UNCERTAIN, Task.action.in_(telling), due)
        .where(sa.func.coalesce(Task.asked, 0) < MOST_ASKED)
        .limit(_AT_ONCE)
    )
    with read_connection(engine.database) as connection:
        return list(connection.execute(query)) if telling else []


def _take(engine: Engine, row: Any) -> bool:
    return _write(engine, row, {"ask_at": clock.now() + _LEASE})


def _write(engine: Engine, row: Any, values: dict[str, Any]) -> bool:
    """Only while it asks the same question, and nobody else wrote first."""
    ours = sa.update(Task).where(
        Task.id == row.id,
        Task.state == State.UNCERTAIN,
        Task.fence == row.fence,
        Task.ask_at.is_not_distinct_from(row.ask_at),
    )
    return bool(engine.writer.submit(lambda connection: connection.execute(ours.values(**values)).rowcount))


def ask(engine: Engine, row: Any) -> None:
    """Ask about one task, and write down what comes of it."""
    try:
        answer = _answer(engine, row)
        if engine.writer.submit(lambda connection: _settle(connection, engine, row, answer)):
            engine.doorbell.ring()
    except UnavailableError:
        log.warning("confirm_put_off", task=row.id)


def _answer(engine: Engine, row: Any) -> Answer:
    now = clock.now()
    try:
        began_at = _began_at(engine, row)
        call = _call(engine, row)
        found = _told(engine, row, call, began_at - _SKEW)
        jsonvalues.dumps(found)
    except PacedError as error:
        return Answer(None, ask_at=error.due_at)
    except HeldError:
        return Answer(None, ask_at=now + _HELD)
    except UnavailableError:
        raise
    except (IntegrationError, BitQueueError) as error:
        log.info("confirm_could_not_tell", task=row.id, cause=str(error))
        return _in_vain(row, now, str(error))
    except Exception as error:  # an integration's bug must not end the tick's other work
        log.exception("confirm_broke", task=row.id, action=row.action)
        return _in_vain(row, now, bug(row.action, error))
    if found is not None:
        return Answer("done", found)
    if now < began_at + SETTLED:
        return Answer(None, ask_at=began_at + SETTLED)
    if row.attempt >= row.max_attempts:
        # It was not done so often that a person should look.
        return _in_vain(row, now, f"it was not done in {row.attempt} attempts")
    return Answer("again")


def _in_vain(row: Any, now: datetime, cause: str) -> Answer:
    asked = row.asked or 0
    pause = _PAUSES[min(asked, len(_PAUSES) - 1)]
    return Answer(None, ask_at=now + pause, in_vain=cause)


def _began_at(engine: Engine, row: Any) -> datetime:
    """When the attempt began of which nobody knows."""
    query = (
        sa.select(Attempt.started_at)
        .where(Attempt.task_id == row.id, Attempt.outcome == "uncertain")
        .order_by(Attempt.fence.desc())
        .limit(1)
    )
    with read_connection(engine.database) as connection:
        found = connection.scalar(query)
    return found or row.started_at or row.created_at


def _call(engine: Engine, row: Any) -> Call:
    """The action as it was called: a rule's params are rendered anew, what is stored is masked."""
    task = Claimed(**{name: getattr(row, name) for name in Claimed.__slots__})
    if task.run_id is None:
        return prepare(engine, task, own_params(engine, task))
    with read_connection(engine.database) as connection:
        run = material.load(connection, [task])[task.run_id]
    step = run.definition["steps"][int(task.path)]
    return prepare(engine, task, templates.render(step.get("params", {}), run.context()))


def _told(engine: Engine, row: Any, call: Call, since: datetime) -> Any:
    context = lend(
        engine,
        call.action.key,
        workspace_id=row.workspace_id,
        key=f"{row.run_id}-{row.path}" if row.run_id else row.id,
        connection_id=row.connection_id,
    )
    assert call.action.confirm is not None
    with Timeout(_DEADLINE_S, TemporaryError(f"it took longer than {_DEADLINE_S:.0f} seconds")):
        return call.action.confirm(context, call.connection, call.params, since)


def _settle(connection: sa.Connection, engine: Engine, row: Any, answer: Answer) -> bool:
    """Whether there is work again. A person who answered meanwhile was first."""
    title = engine.catalogue.integrations[row.action.partition(".")[0]].title
    if answer.resolution is None:
        _put_off(connection, row, answer, title)
        return False
    causes = {
        "done": f"{title} was asked: it was done",
        "again": f"{title} was asked: it was not done, and is done again",
    }
    settled = life.settle(
        connection, row, answer.resolution, cause=causes[answer.resolution], output=answer.output
    )
    if settled:
        log.info("uncertain_settled", task=row.id, resolution=answer.resolution)
    return settled


def _put_off(connection: sa.Connection, row: Any, answer: Answer, title: str) -> None:
    asked = (row.asked or 0) + (answer.in_vain is not None)
    values: dict[str, Any] = {"asked": asked, "ask_at": answer.ask_at}
    if asked >= MOST_ASKED:
        values["cause"] = said(f"{row.cause}; {title} was asked and could not tell: {answer.in_vain}")
    changed = connection.execute(
        sa.update(Task)
        .where(Task.id == row.id, Task.state == State.UNCERTAIN, Task.fence == row.fence)
        .values(**values)
    )
    if changed.rowcount and "cause" in values:
        record.mark_run(connection, row.run_id, State.UNCERTAIN, values["cause"])
