"""Changes of one part of a draft: adding, moving, filling in and deleting steps."""

from collections.abc import Mapping
from typing import Any

from app.errors import ConflictError, InvalidError, NotFoundError
from app.models import StepKind
from app.sdk.declare import Catalogue
from app.sdk.fields import spread
from app.services.documents import MAX_STEPS, Definition, Step, TriggerPart, new_key, parse


def with_trigger(definition: Definition, part: TriggerPart) -> Definition:
    return parse({**definition.as_json(), "trigger": part.model_dump(mode="json")})


def add_action(
    catalogue: Catalogue, definition: Definition, name: str, *, after: str | None
) -> tuple[Definition, str]:
    """(definition, key of the new step); `after` is a step's key, "trigger", or None for the end."""
    action = catalogue.action(name)
    if action is None:
        raise InvalidError("choose what the step shall do", {"action": f"{name[:60]} is not installed here"})
    key = new_key(action.title, _keys(definition))
    return _insert(definition, {"key": key, "kind": StepKind.ACTION, "action": action.key}, after), key


def add_filter(definition: Definition, *, after: str | None) -> tuple[Definition, str]:
    key = new_key("only if", _keys(definition))
    return _insert(definition, {"key": key, "kind": StepKind.FILTER}, after), key


def move(definition: Definition, key: str, *, up: bool) -> Definition:
    """One place up or down; at the end of the list nothing changes."""
    steps = list(definition.steps)
    index = index_of(definition, key)
    other = index - 1 if up else index + 1
    if 0 <= other < len(steps):
        steps[index], steps[other] = steps[other], steps[index]
    return definition.model_copy(update={"steps": steps})


def delete(definition: Definition, key: str) -> Definition:
    index = index_of(definition, key)
    return definition.model_copy(update={"steps": definition.steps[:index] + definition.steps[index + 1 :]})


def change(definition: Definition, key: str, values: Mapping[str, Any]) -> Definition:
    """The step with some of its members replaced; raises InvalidError when that is no step any more."""
    index = index_of(definition, key)
    body = definition.as_json()
    body["steps"][index] |= values
    return parse(body)


def spread_lists(catalogue: Catalogue, definition: Definition) -> Definition:
    """Lists that were written as text with commas become lists, before any template is rendered."""
    body = definition.as_json()
    for step in body["steps"]:
        action = catalogue.action(step.get("action") or "")
        if action is not None:
            step["params"] = spread(action.params, step["params"])
    return parse(body)


def index_of(definition: Definition, key: str) -> int:
    """Raises NotFoundError."""
    for index, step in enumerate(definition.steps):
        if step.key == key:
            return index
    raise NotFoundError(f"this rule has no step {key[:40]}; somebody may have deleted it")


def step_of(definition: Definition, key: str) -> Step:
    step: Step = definition.steps[index_of(definition, key)]
    return step


def _keys(definition: Definition) -> set[str]:
    return {step.key for step in definition.steps}


def _insert(definition: Definition, step: Mapping[str, Any], after: str | None) -> Definition:
    if len(definition.steps) >= MAX_STEPS:
        raise ConflictError(f"a rule has at most {MAX_STEPS} steps; let a second rule do the rest")
    body = definition.as_json()
    body["steps"].insert(_place(definition, after), dict(step))
    return parse(body)


def _place(definition: Definition, after: str | None) -> int:
    if after == "trigger":
        return 0
    return index_of(definition, after) + 1 if after else len(definition.steps)
