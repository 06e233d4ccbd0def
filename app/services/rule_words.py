"""A rule in plain sentences: what starts it and what each step does."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app.engine import masking
from app.sdk import slots, values
from app.sdk.conditions import Condition, Match, Op
from app.sdk.declare import Action, Catalogue, Trigger
from app.services.documents import ActionStep, Definition, FilterStep, Step, TriggerPart

_SHOWN = 3
_CHARS = 70


def rule_sentence(catalogue: Catalogue, definition: Definition) -> str:
    """`Call received: only go on if…, then send a mail`."""
    trigger = catalogue.trigger(definition.trigger.type)
    when = trigger.title if trigger else definition.trigger.type
    titles = [_lowered(step_title(catalogue, step)) for step in definition.steps]
    if not titles:
        return f"{when}: nothing yet"
    more = [f"{len(titles) - _SHOWN} more steps"] if len(titles) > _SHOWN else []
    return f"{when}: {', then '.join(titles[:_SHOWN] + more)}"


def icons(definition: Definition) -> list[str]:
    """The integrations in the order in which they take part."""
    keys = [
        definition.trigger.type,
        *(step.action for step in definition.steps if isinstance(step, ActionStep)),
    ]
    return list(dict.fromkeys(key.partition(".")[0] for key in keys))


def trigger_sentence(catalogue: Catalogue, part: TriggerPart) -> str:
    trigger = catalogue.trigger(part.type)
    if trigger is None:
        return f"{part.type} is not installed here any more"
    if "expression" in part.params and trigger.sort == "slots":
        return _cron_sentence(part.params) or first_sentence(trigger.description)
    chosen = _chosen(trigger, part.params)
    return f"{first_sentence(trigger.description)} {chosen}".strip()


def step_title(catalogue: Catalogue, step: Step) -> str:
    if step.name:
        return step.name
    if isinstance(step, FilterStep):
        return "Only go on if…"
    action = catalogue.action(step.action)
    return action.title if action else step.action


def step_sentence(catalogue: Catalogue, step: Step) -> str:
    if isinstance(step, FilterStep):
        return filter_sentence(step)
    action = catalogue.action(step.action)
    if action is None:
        return f"{step.action} is not installed here any more"
    return _chosen(action, step.params) or first_sentence(action.description)


def filter_sentence(step: FilterStep) -> str:
    """`event.total is greater than 100 and event.paid is true`."""
    said = [condition_sentence(row) for row in step.conditions]
    return (" and " if step.match is Match.ALL else " or ").join(said) or "no condition yet"


def condition_sentence(row: Mapping[str, Any]) -> str:
    try:
        condition = Condition.model_validate(row)
    except ValidationError:
        return f"{row.get('field') or '…'} …"
    compared = f" {_short(condition.value)}" if condition.op.needs_value else ""
    return f"{condition.field} {Op(condition.op).label}{compared}"


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    line = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    return line.partition(". ")[0].rstrip(".") + "." if line else ""


def _cron_sentence(params: Mapping[str, Any]) -> str | None:
    try:
        said = slots.describe(str(params.get("expression", "")), str(params.get("zone", "UTC")))
    except slots.BadSlotsError:
        return None
    return said[:1].upper() + said[1:]


def _chosen(declared: Action | Trigger, params: Mapping[str, Any]) -> str:
    """The first values that were filled in, secrets hidden: `To: {{ event.email }}, Subject: Big order`."""
    params = masking.mask(params)
    said = [
        f"{field.title or name}: {_short(params[name])}"
        for name, field in declared.params.model_fields.items()
        if params.get(name) not in (None, "", [], {}) and params[name] != field.default
    ]
    return ", ".join(said[:_SHOWN])


def _short(value: Any) -> str:
    line = " ".join(_listed(value).split())
    return line if len(line) <= _CHARS else line[: _CHARS - 1] + "…"


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {values.text(item)}" for name, item in value.items())
    return ", ".join(map(values.text, value)) if isinstance(value, list) else values.text(value)


def _lowered(title: str) -> str:
    return title[:1].lower() + title[1:] if title[1:2].islower() or title[1:2] == " " else title


def problem_sentence(catalogue: Catalogue, definition: Definition, path: str, text: str) -> str:
    """`steps.1.params.to` + `is needed` → `Step 2, Send a mail: To is needed`."""
    head, _, rest = path.partition(".")
    if head == "trigger":
        trigger = catalogue.trigger(definition.trigger.type)
        return f"The trigger: {_said(trigger, rest, text)}"
    if head != "steps" or not rest:
        return f"The rule {text}" if head == "steps" else f"{path} {text}"
    index, _, inside = rest.partition(".")
    step = definition.steps[int(index)]
    action = catalogue.action(step.action) if isinstance(step, ActionStep) else None
    return f"Step {int(index) + 1}, {step_title(catalogue, step)}: {_said(action, inside, text)}"


def _said(declared: Action | Trigger | None, path: str, text: str) -> str:
    """The sentence with the field's name in front, where it stands at a field of the form."""
    parts = path.split(".")
    if (
        declared is None
        or parts[0] != "params"
        or len(parts) < 2
        or parts[1] not in declared.params.model_fields
    ):
        return text
    return f"{declared.params.model_fields[parts[1]].title or parts[1]} {text}"
