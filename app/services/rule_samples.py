"""What a rule's fields have to work with: the last real event, or an example, and what the steps gave."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import payloads
from app.engine.core import Engine
from app.errors import NotFoundError
from app.models import Connection, Event, Role, Rule, Run, State, StepKind, Task, Trigger
from app.sdk import paths, values
from app.services.access import Actor, fetch, require

# Under this name `rules.samples` keeps the id of the event that was chosen: no step can have it.
_CHOSEN = "event"
_RUNS_BACK = 5
_MAX_DEPTH = 6
_MAX_PATHS = 200
_MAX_ITEMS = 3
_FILE_PARTS = ("name", "type", "bytes")

LAST_EVENT: Final = "last event"
EXAMPLE: Final = "example"


@dataclass(frozen=True, slots=True)
class SampleEvent:
    """`label` is "last event" or "example"; the latter has neither id nor time."""

    data: Any
    label: str
    is_real: bool
    event_id: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that a field can use: `event.order` and how it looks."""

    path: str
    value: str


def sample_event(session: Session, engine: Engine, rule: Rule) -> SampleEvent:
    """The event that was chosen, or the last one of the draft's trigger, or the integration's own example."""
    event = _real_event(session, rule)
    if event is not None:
        data = payloads.load(session.connection(), event.data, event.payload_id)
        return SampleEvent(data, LAST_EVENT, is_real=True, event_id=event.id, at=event.received_at)
    declared = engine.catalogue.trigger(rule.draft["trigger"]["type"])
    example = declared.samples[0] if declared and declared.samples else {}
    return SampleEvent(dict(example), EXAMPLE, is_real=False)


def recent_events(session: Session, rule: Rule, limit: int = 5) -> list[Event]:
    """The last events of the kind that the draft's trigger makes, newest first."""
    return list(session.scalars(_events(rule).order_by(Event.id.desc()).limit(limit)))


def choose_event(session: Session, actor: Actor, rule_id: str, event_id: str) -> None:
    """Its values are what the fields see from now on."""
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    if session.scalar(_events(rule).where(Event.id == event_id)) is None:
        raise NotFoundError(f"no event {event_id[:40]} of this rule")
    rule.samples = {**rule.samples, _CHOSEN: event_id}
    session.flush()


def forget_choice(session: Session, actor: Actor, rule_id: str) -> None:
    """The next event that arrives is the sample again."""
    rule = fetch(session, Rule, rule_id, actor)
    rule.samples = {key: value for key, value in rule.samples.items() if key != _CHOSEN}
    session.flush()


def keep_sample(session: Session, actor: Actor, rule_id: str, *, key: str, output: Any) -> None:
    """What a tested step gave feeds the later steps."""
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    rule.samples = {**rule.samples, key: {"output": output, "at": clock.rfc3339(clock.now())}}
    session.flush()


def kept_samples(rule: Rule, keys: set[str]) -> dict[str, Any]:
    """The samples that still mean something when the steps are `keys`."""
    return {key: value for key, value in rule.samples.items() if key in keys or key == _CHOSEN}


def tested_at(rule: Rule, key: str) -> datetime | None:
    kept = rule.samples.get(key)
    return datetime.fromisoformat(kept["at"]) if isinstance(kept, Mapping) else None


def sample_context(
    session: Session, engine: Engine, rule: Rule, upto_key: str | None = None
) -> dict[str, Any]:
    """What templates see at the step `upto_key`, or after the last one: as in a run, of sample values."""
    return {
        "event": sample_event(session, engine, rule).data,
        "steps": _outputs(session, engine, rule, upto_key),
        "rule": {"id": rule.id, "name": rule.name},
        "run": {"id": "run_example", "started_at": clock.rfc3339(clock.now())},
    }


def connection_name(session: Session, actor: Actor, connection_id: str | None) -> str | None:
    if connection_id is None:
        return None
    return session.scalar(
        sa.select(Connection.name).where(
            Connection.id == connection_id, Connection.workspace_id == actor.workspace_id
        )
    )


def as_text(data: Any) -> str:
    """JSON as a person edits it."""
    return json.dumps(data, indent=2, ensure_ascii=True)


def entries(name: str, value: Any) -> list[Entry]:
    """Every value below `name`, as paths: objects and lists opened, long lists cut to their first items.

    A list stands there as a whole, too, and so does a stored file, by its name: fields for files take it so.
    """
    leaves = islice(_leaves((*name.split("."),), value), _MAX_PATHS)
    return [Entry(paths.spell(path), shown) for path, shown in leaves]


def _leaves(path: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(value, list) and value:
        yield path, f"a list of {len(value)}"
    if _is_file(value):
        yield path, values.show(value["name"])
        value = {name: value[name] for name in _FILE_PARTS if name in value}
    inner = _inner(value)
    if not inner or len(path) > _MAX_DEPTH:
        yield path, values.show(value)
        return
    for name, item in inner:
        yield from _leaves((*path, name), item)


def _is_file(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and {"name", "sha256"} <= value.keys()
        and str(value.get("id")).startswith("fil_")
    )


def _inner(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list):
        return list(enumerate(value[:_MAX_ITEMS]))
    return []


def _events(rule: Rule) -> sa.Select[Event]:
    source = sa.select(Trigger.id).where(Trigger.rule_id == rule.id).scalar_subquery()
    return sa.select(Event).where(
        Event.workspace_id == rule.workspace_id,
        Event.source == source,
        Event.type == rule.draft["trigger"]["type"],
        Event.removed_at.is_(None),
    )


def _real_event(session: Session, rule: Rule) -> Event | None:
    chosen = rule.samples.get(_CHOSEN)
    if chosen:
        event = session.scalar(_events(rule).where(Event.id == chosen))
        if event is not None:
            return event
    return next(iter(recent_events(session, rule, 1)), None)


def _outputs(session: Session, engine: Engine, rule: Rule, upto_key: str | None) -> dict[str, Any]:
    """Of each earlier action: what its test gave, else the last run, else the example."""
    found: dict[str, Any] = {}
    real = _last_outputs(session, rule)
    for step in rule.draft["steps"]:
        if step["key"] == upto_key:
            break
        if step["kind"] == StepKind.ACTION:
            found[step["key"]] = _output(engine, rule, step, real)
    return found


def _output(engine: Engine, rule: Rule, step: Mapping[str, Any], real: Mapping[tuple[str, str], Any]) -> Any:
    kept = rule.samples.get(step["key"])
    if isinstance(kept, Mapping):
        return kept["output"]
    if (step["key"], step["action"]) in real:
        return real[step["key"], step["action"]]
    action = engine.catalogue.action(step["action"])
    return dict(action.samples[0].output) if action and action.samples else {}


def _last_outputs(session: Session, rule: Rule) -> dict[tuple[str, str], Any]:
    """(step key, action) → output, from the last runs."""
    whole = sa.select(Run.id).where(Run.rule_id == rule.id, Run.removed_at.is_(None))
    runs = whole.order_by(Run.id.desc()).limit(_RUNS_BACK)
    rows = session.scalars(
        sa.select(Task)
        .where(
            Task.run_id.in_(runs.scalar_subquery()),
            Task.state == State.SUCCEEDED,
            Task.kind == StepKind.ACTION,
        )
        .order_by(Task.id)
    )
    connection = session.connection()
    return {
        (str(row.step), str(row.action)): payloads.load(connection, row.output, row.payload_id)
        for row in rows
    }
