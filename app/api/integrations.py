"""The catalogue over the API: what can be connected, what can start a rule and what it can do."""

from typing import Any

from pydantic import BaseModel

from app.api.edge import noun, operation
from app.api.fields import Json, List, Shown
from app.engine import core
from app.errors import NotFoundError
from app.models import Role
from app.sdk.declare import Action, Integration, Trigger
from app.services.access import Actor

blueprint = noun("integrations", __name__)


class ActionOut(Shown):
    """`connection` is required, optional or none. Without `idempotent` it is never repeated silently."""

    action: str
    title: str
    description: str
    connection: str
    idempotent: bool | None
    params: Json
    samples: list[Json]


class TriggerOut(Shown):
    """`kind` is hook, slots (a schedule), poll or manual; `samples` are events as they arrive."""

    type: str
    kind: str
    title: str
    description: str
    connection: str
    params: Json
    samples: list[Json]


class IntegrationLineOut(Shown):
    key: str
    title: str
    about: str
    actions: list[str]
    triggers: list[str]


class IntegrationOut(Shown):
    """`settings`, `params`: JSON Schemas; secrets are marked writeOnly. `settings` is null without an account."""

    key: str
    title: str
    about: str
    settings: Json
    actions: list[ActionOut]
    triggers: list[TriggerOut]


@blueprint.get("/integrations")
@operation(Role.VIEWER, tag="integrations", answers=List[IntegrationLineOut])
def listing(_actor: Actor) -> List[IntegrationLineOut]:
    """The integrations that are installed, by name; always all of them."""
    found = sorted(core.current().catalogue, key=lambda each: each.title.lower())
    return List(items=[_line(each) for each in found], next_cursor=None)


@blueprint.get("/integrations/<key>")
@operation(Role.VIEWER, tag="integrations", answers=IntegrationOut)
def get(_actor: Actor, key: str) -> IntegrationOut:
    """An integration with the JSON Schemas of its account, actions and triggers."""
    found = core.current().catalogue.integrations.get(key)
    if found is None:
        raise NotFoundError(f"there is no integration {key[:40]}; GET /api/v1/integrations lists them")
    return IntegrationOut(
        key=found.key,
        title=found.title,
        about=found.about,
        settings=None if found.settings is None else schema(found.settings),
        actions=[_action(each) for each in found.actions.values()],
        triggers=[_trigger(each) for each in found.triggers.values()],
    )


def schema(model: type[BaseModel]) -> dict[str, Any]:
    """Pydantic writes secrets as format password and writeOnly already."""
    return model.model_json_schema(mode="validation")


def _line(found: Integration) -> IntegrationLineOut:
    return IntegrationLineOut(
        key=found.key,
        title=found.title,
        about=found.about,
        actions=[each.key for each in found.actions.values()],
        triggers=[each.key for each in found.triggers.values()],
    )


def _action(each: Action) -> ActionOut:
    return ActionOut(
        action=each.key,
        title=each.title,
        description=each.description,
        connection=each.need,
        idempotent=each.idempotent if isinstance(each.idempotent, bool) else None,
        params=schema(each.params),
        samples=[{"params": dict(sample.params), "output": dict(sample.output)} for sample in each.samples],
    )


def _trigger(each: Trigger) -> TriggerOut:
    return TriggerOut(
        type=each.key,
        kind=each.sort,
        title=each.title,
        description=each.description,
        connection=each.need,
        params=schema(each.params),
        samples=[dict(sample) for sample in each.samples],
    )
