"""What is wrong with a rule and what it still lacks: definition against catalogue, connections and templates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.models import Connection, Queue
from app.models.queue import DEFAULT_QUEUE
from app.sdk import paths, templates
from app.sdk.conditions import Condition, Op
from app.sdk.declare import Action, Catalogue, Trigger
from app.sdk.fields import Settings, sentences, spread
from app.services.access import Actor
from app.services.documents import ActionStep, Definition, FilterStep, TriggerPart

Path = tuple[str | int, ...]

_ROOTS = ("event", "rule", "run")
_EMPTY: tuple[Any, ...] = ("", None, [], {})


@dataclass(slots=True)
class Findings:
    """Dotted path → sentence. `wrong` cannot be saved; `missing` only keeps a rule from being turned on."""

    wrong: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, str]:
        return self.missing | self.wrong

    def under(self, prefix: str) -> dict[str, str]:
        """What stands below a part, by the path inside of it (`""`: the part itself)."""
        return {
            path[len(prefix) :].lstrip("."): text
            for path, text in self.all.items()
            if path == prefix or path.startswith(prefix + ".")
        }


@dataclass(frozen=True, slots=True)
class Links:
    """What a definition may name in its workspace: connection id → (integration, name), and queues."""

    connections: Mapping[str, tuple[str, str]]
    queues: frozenset[str]


def load_links(session: Session, actor: Actor) -> Links:
    rows = session.execute(
        sa.select(Connection.id, Connection.integration, Connection.name).where(
            Connection.workspace_id == actor.workspace_id
        )
    )
    queues = session.scalars(sa.select(Queue.name).where(Queue.workspace_id == actor.workspace_id))
    return Links({row.id: (row.integration, row.name) for row in rows}, frozenset(queues) | {DEFAULT_QUEUE})


def examine(catalogue: Catalogue, links: Links, definition: Definition) -> Findings:
    examiner = Examiner(catalogue, links)
    examiner.trigger(definition.trigger)
    if not definition.steps:
        examiner.findings.missing["steps"] = "has no step yet; add what shall be done"
    for index in range(len(definition.steps)):
        examiner.step(definition, index)
    return examiner.findings


@dataclass(frozen=True, slots=True)
class Examiner:
    """Looks at the parts of a definition and gathers what it finds."""

    catalogue: Catalogue
    links: Links
    findings: Findings = field(default_factory=Findings)

    def trigger(self, part: TriggerPart) -> None:
        trigger = self.catalogue.trigger(part.type)
        if trigger is None:
            sentence = f"{part.type[:60]} is no trigger that is installed here; choose another"
            self.findings.wrong["trigger.type"] = sentence
            return
        self._connection(("trigger",), part.connection, trigger)
        self._values(("trigger", "params"), spread(trigger.params, part.params), trigger.params)

    def step(self, definition: Definition, index: int) -> None:
        """The step at `index`; its templates may name the actions before it."""
        step, where = definition.steps[index], ("steps", index)
        earlier = [before.key for before in definition.steps[:index] if isinstance(before, ActionStep)]
        if isinstance(step, FilterStep):
            self._filter(where, step, earlier)
            return
        self._action(where, step, earlier)

    def _action(self, where: Path, step: ActionStep, earlier: Sequence[str]) -> None:
        if step.queue is not None and step.queue not in self.links.queues:
            self.findings.wrong[_dotted(*where, "queue")] = f"there is no queue {step.queue[:60]} here"
        action = self.catalogue.action(step.action)
        if action is None:
            sentence = (
                f"{step.action[:60]} is no action that is installed here; delete this step or choose another"
            )
            self.findings.wrong[_dotted(*where, "action")] = sentence
            return
        self._connection(where, step.connection, action)
        params = spread(action.params, step.params)
        self._templates((*where, "params"), params, earlier)
        self._values((*where, "params"), params, action.params)

    def _connection(self, where: Path, connection: str | None, declared: Action | Trigger) -> None:
        path = _dotted(*where, "connection")
        if connection is None:
            if declared.need == "required":
                self.findings.missing[path] = "choose a connection"
            return
        fault = _connection_fault(self.links, connection, declared)
        if fault:
            self.findings.wrong[path] = fault

    def _values(self, where: Path, params: Mapping[str, Any], model: type[Settings]) -> None:
        """Params against their model. What a template will decide is left to the run, which checks again."""
        try:
            model.model_validate(params)
        except ValidationError as error:
            said, templated = sentences(error), _templated(params)
            for item in error.errors(include_url=False, include_input=False, include_context=False):
                spot = _spot(item["loc"], params, missing=item["type"] == "missing")
                if any(_touch(spot, path) for path in templated):
                    continue
                target = self.findings.missing if _lookup(params, spot) in _EMPTY else self.findings.wrong
                target.setdefault(_dotted(*where, *spot), said[_dotted(*item["loc"])])

    def _templates(self, where: Path, params: Mapping[str, Any], earlier: Sequence[str]) -> None:
        for path in _templated(params):
            fault = template_fault(_lookup(params, path), earlier)
            if fault:
                self.findings.wrong[_dotted(*where, *path)] = fault

    def _filter(self, where: Path, step: FilterStep, earlier: Sequence[str]) -> None:
        if not step.conditions:
            self.findings.missing[_dotted(*where, "conditions")] = "add at least one condition"
        for index, row in enumerate(step.conditions):
            self._condition((*where, "conditions", index), row, earlier)

    def _condition(self, where: Path, row: Mapping[str, Any], earlier: Sequence[str]) -> None:
        try:
            condition = Condition.model_validate(row)
        except ValidationError as error:
            self._unfit_condition(where, row, error)
            return
        fault = path_fault(condition.field, earlier)
        if fault:
            self.findings.wrong[_dotted(*where, "field")] = fault
        fault = template_fault(condition.value, earlier)
        if fault:
            self.findings.wrong[_dotted(*where, "value")] = fault

    def _unfit_condition(self, where: Path, row: Mapping[str, Any], error: ValidationError) -> None:
        for name, sentence in (("field", "choose a field"), ("op", "choose how to compare")):
            if row.get(name) in _EMPTY:
                self.findings.missing[_dotted(*where, name)] = sentence
                return
        lacks_value = row.get("value") is None and row["op"] in list(Op) and _is_path(row["field"])
        target = self.findings.missing if lacks_value else self.findings.wrong
        target.update({_dotted(*where, path or "value"): text for path, text in sentences(error).items()})


def _connection_fault(links: Links, connection: str, declared: Action | Trigger) -> str | None:
    if connection not in links.connections:
        return f"there is no connection {connection[:40]} here; choose another"
    integration, name = links.connections[connection]
    wanted = declared.key.partition(".")[0]
    if declared.need == "none":
        return "takes no connection"
    return (
        None if integration == wanted else f"{name} is a connection of {integration}; choose one of {wanted}"
    )


def template_fault(value: Any, earlier: Sequence[str]) -> str | None:
    """What is wrong with a template's writing, or with what it names."""
    faults = templates.check(value)
    if faults:
        return next(iter(faults.values()))
    return next(
        (fault for path in sorted(templates.paths(value)) if (fault := path_fault(path, earlier))), None
    )


def path_fault(path: str, earlier: Sequence[str]) -> str | None:
    """Why nothing can ever stand at `path`, seen from a step after `earlier`."""
    segments = paths.parse(path)
    if segments[0] in _ROOTS or segments == ("steps",):
        return None
    if segments[0] == "steps" and segments[1] in earlier:
        return None
    known = ", ".join([*_ROOTS, *(f"steps.{key}" for key in earlier[:8])])
    return f"{path[:60]} is nothing that is known at this step; use {known}"


def _is_path(text: Any) -> bool:
    try:
        paths.parse(text)
    except (paths.PathError, TypeError):
        return False
    return True


def _templated(value: Any, where: Path = ()) -> set[Path]:
    """Where the strings that hold a template stand."""
    if isinstance(value, str):
        return {where} if templates.is_template(value) else set()
    return {path for name, item in _items(value) for path in _templated(item, (*where, name))}


def _items(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _spot(loc: Path, params: Any, *, missing: bool) -> Path:
    """The place in the data: without the names of union members and validators that pydantic puts between."""
    spot: list[str | int] = []
    value = params
    for position, part in enumerate(loc):
        inner = dict(_items(value))
        if part in inner:
            spot.append(part)
            value = inner[part]
        elif missing and position == len(loc) - 1:
            spot.append(part)
    return tuple(spot)


def _lookup(value: Any, path: Path) -> Any:
    for part in path:
        value = dict(_items(value)).get(part)
    return value


def _touch(one: Path, other: Path) -> bool:
    """One is the other or stands above it."""
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _dotted(*parts: str | int) -> str:
    return ".".join(str(part) for part in parts)
