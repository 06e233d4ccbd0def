"""What the pages about a rule show: its cards, its problems, its last runs and the values its fields can use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import url_for
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app import clock
from app.engine import masking, schedule
from app.engine.core import Engine
from app.errors import SealError
from app.models import Connection, Rule, TriggerKind
from app.sdk import values
from app.sdk.declare import Action, Trigger
from app.sdk.slots import find_zone
from app.services import connections, documents, rule_checks, rule_samples, rule_words, rules
from app.services.access import Actor
from app.services.documents import ActionStep, Definition, Step, TriggerPart
from app.services.rule_checks import Findings
from app.web.filters import sentence, summary


def connection_state(row: Connection) -> str:
    if not row.healthy:
        return "broken"
    return "working" if row.checked_at else "unchecked"


@dataclass(frozen=True, slots=True)
class Opened:
    """A rule's draft with what is wrong with it and what it lacks."""

    rule: Rule
    definition: Definition
    findings: Findings


def opened(session: Session, actor: Actor, engine: Engine, rule: Rule) -> Opened:
    definition = documents.parse(rule.draft)
    links = rule_checks.load_links(session, actor)
    return Opened(rule, definition, rule_checks.examine(engine.catalogue, links, definition))


def problems(engine: Engine, opened: Opened) -> list[dict[str, str]]:
    """What stands in the way of turning it on, each with the page that mends it."""
    return [
        {
            "text": sentence(rule_words.problem_sentence(engine.catalogue, opened.definition, path, text)),
            "url": _mending_url(opened.rule, opened.definition, path),
        }
        for path, text in opened.findings.all.items()
    ]


def _mending_url(rule: Rule, definition: Definition, path: str) -> str:
    parts = path.split(".")
    if parts[0] == "trigger":
        return url_for("rules.trigger", rule_id=rule.id)
    if len(parts) == 1:
        return url_for("rules.show", rule_id=rule.id) + "#add"
    return url_for("rules.step", rule_id=rule.id, key=definition.steps[int(parts[1])].key)


def first_problem(engine: Engine, opened: Opened, prefix: str) -> str | None:
    """The one that a card shows."""
    for path, text in opened.findings.all.items():
        if path.startswith(prefix + "."):
            said = rule_words.problem_sentence(engine.catalogue, opened.definition, path, text)
            return sentence(said.partition(": ")[2] or said)
    return None


def trigger_card(session: Session, actor: Actor, engine: Engine, opened: Opened) -> dict[str, Any]:
    rule, definition = opened.rule, opened.definition
    declared = engine.catalogue.trigger(definition.trigger.type)
    url, sealed = (
        hook_address(session, engine, rule) if declared and declared.sort == "hook" else (None, None)
    )
    return {
        "title": declared.title if declared else definition.trigger.type,
        "connection": _account(_accounts(session, actor).get(definition.trigger.connection or "")),
        "integration": _icon(engine, definition.trigger.type),
        "service": service(engine, definition.trigger.type),
        "summary": rule_words.trigger_sentence(engine.catalogue, definition.trigger),
        "problem": first_problem(engine, opened, "trigger") or sealed or _last_error(session, rule),
        "hook_url": url,
        "next_times": next_times(engine, definition.trigger),
        "manual": bool(declared and declared.sort == "manual"),
        "sort": declared.sort if declared else None,
        **_looking(session, rule),
    }


def _looking(session: Session, rule: Rule) -> dict[str, Any]:
    """When a rule that looks for something by itself does so next, while it is on."""
    trigger = rules.trigger_of(session, rule)
    due_at = trigger.next_due_at if trigger and trigger.kind is TriggerKind.POLL else None
    return {"next_look_at": due_at, "is_due": due_at is not None and due_at <= clock.now()}


def hook_address(session: Session, engine: Engine, rule: Rule) -> tuple[str | None, str | None]:
    """(address, why it cannot be shown)."""
    try:
        return rules.hook_url(session, engine, rule), None
    except SealError as error:
        return None, sentence(error)


def _last_error(session: Session, rule: Rule) -> str | None:
    trigger = rules.trigger_of(session, rule)
    return sentence(trigger.last_error) if trigger and trigger.last_error else None


def next_times(engine: Engine, part: TriggerPart) -> list[datetime]:
    """On the clock of the schedule's own zone."""
    try:
        zone = find_zone(str(part.params.get("zone", "UTC")))
        return [slot.astimezone(zone) for slot in schedule.upcoming(engine.catalogue, part.type, part.params)]
    except ValueError:
        # Not filled in yet: the form says what is missing.
        return []


def step_cards(session: Session, actor: Actor, engine: Engine, opened: Opened) -> list[dict[str, Any]]:
    rows = _accounts(session, actor)
    cards = []
    for index, step in enumerate(opened.definition.steps):
        cards.append(step_head(engine, step, index))
        cards[-1] |= {
            "summary": rule_words.step_sentence(engine.catalogue, step),
            "problem": first_problem(engine, opened, f"steps.{index}"),
            "connection": _account(rows.get(getattr(step, "connection", None) or "")),
            "tested_at": rule_samples.tested_at(opened.rule, step.key),
        }
    return cards


def step_head(engine: Engine, step: Step, index: int) -> dict[str, Any]:
    action = engine.catalogue.action(step.action) if isinstance(step, ActionStep) else None
    return {
        "key": step.key,
        "number": index + 1,
        "kind": step.kind.value,
        "integration": _icon(engine, step.action) if isinstance(step, ActionStep) else None,
        "service": service(engine, step.action) if isinstance(step, ActionStep) else None,
        "title": rule_words.step_title(engine.catalogue, step),
        "text": sentence(rule_words.first_sentence(action.description)) if action else "",
        "name": step.name or "",
        "repeatable": _is_repeatable(action, step),
    }


def _is_repeatable(action: Action | None, step: Step) -> bool:
    """Whether it may be repeated, as far as its fields tell now; unknown counts as no."""
    if not isinstance(step, ActionStep):
        return True
    if action is None or not callable(action.idempotent):
        return bool(action and action.idempotent)
    try:
        return action.is_repeatable(action.params.model_validate(step.params))
    except ValidationError:
        return False


def _accounts(session: Session, actor: Actor) -> dict[str, Connection]:
    return {row.id: row for row in connections.listing(session, actor)}


def _account(row: Connection | None) -> dict[str, Any] | None:
    return {"id": row.id, "name": row.name, "broken": not row.healthy} if row else None


def _icon(engine: Engine, type_: str) -> str | None:
    key = type_.partition(".")[0]
    return key if key in engine.catalogue.integrations else None


def service(engine: Engine, type_: str) -> str | None:
    """Whose it is, in words: three services have a new row, and a picture alone does not say which."""
    integration = engine.catalogue.integrations.get(type_.partition(".")[0])
    return integration.title if integration else None


def action_choices(engine: Engine) -> list[dict[str, Any]]:
    return [
        {
            "key": integration.key,
            "title": integration.title,
            "actions": [
                {"name": each.key, "title": each.title, "text": rule_words.first_sentence(each.description)}
                for each in integration.actions.values()
            ],
        }
        for integration in engine.catalogue
        if integration.actions
    ]


def trigger_choices(engine: Engine) -> list[dict[str, Any]]:
    """What most rules start with first."""
    ranked = sorted(engine.catalogue, key=lambda integration: integration.rank)
    return [
        trigger_head(engine, trigger) for integration in ranked for trigger in integration.triggers.values()
    ]


def trigger_head(engine: Engine, trigger: Trigger) -> dict[str, Any]:
    return {
        "type": trigger.key,
        "sort": trigger.sort,
        "integration": _icon(engine, trigger.key),
        "service": service(engine, trigger.key),
        "title": trigger.title,
        "text": rule_words.first_sentence(trigger.description),
    }


def account_choices(session: Session, actor: Actor, integration: str) -> list[dict[str, Any]]:
    return [
        {"id": row.id, "name": row.name, "state": connection_state(row)}
        for row in connections.listing(session, actor)
        if row.integration == integration
    ]


def only_account(accounts: Sequence[Mapping[str, Any]], *, required: bool) -> str:
    """Where one is needed and there is no choice, it is made."""
    return str(accounts[0]["id"]) if required and len(accounts) == 1 else ""


def sample(session: Session, engine: Engine, rule: Rule, upto_key: str | None = None) -> dict[str, Any]:
    """For the list of values: what the event and the steps before `upto_key` contain."""
    event = rule_samples.sample_event(session, engine, rule)
    context = rule_samples.sample_context(session, engine, rule, upto_key)
    groups = [_group("The event", "event", event.data)]
    groups += [
        _group(f"What {_title(engine, rule, key)} gave", f"steps.{key}", output)
        for key, output in context["steps"].items()
    ]
    groups.append(_group("The rule and its run", "rule", context["rule"]) | {"note": None})
    groups[-1]["values"] += _values("run", context["run"])
    origin = "last event" if event.is_real else "example"
    return {"origin": origin, "at": event.at, "event_id": event.event_id, "groups": groups}


def _group(title: str, name: str, data: Any) -> dict[str, Any]:
    return {"title": title, "note": None, "values": _values(name, data)}


def _values(name: str, data: Any) -> list[dict[str, str]]:
    found = rule_samples.entries(name, masking.mask(data))
    return [{"path": entry.path, "value": summary(entry.value)} for entry in found]


def _title(engine: Engine, rule: Rule, key: str) -> str:
    step = next((step for step in rule.draft["steps"] if step["key"] == key), {"action": key})
    action = engine.catalogue.action(step.get("action") or "")
    return str(step.get("name") or (action.title if action else key))


def filter_rows(conditions: Sequence[Mapping[str, Any]], errors: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of a filter's form; `errors` by the path below the step."""
    rows = []
    for index, row in enumerate(conditions):
        said = [text for path, text in errors.items() if path.startswith(f"conditions.{index}.")]
        value = row.get("value")
        shown = ", ".join(map(values.text, value)) if isinstance(value, list) else values.text(value)
        shown_error = next(iter(said), None)
        rows.append(
            {"field": row.get("field", ""), "op": row.get("op"), "value": shown, "error": shown_error}
        )
    return rows
