"""The page of a rule's trigger: its fields, its address or its next times, and learning from a real call."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import redirect, render_template, request, url_for
from jinja2_fragments.flask import render_block
from werkzeug.wrappers import Response

from app import clock
from app.database import db, writing
from app.engine import core
from app.errors import InvalidError
from app.models import Event, Hook, Role, Rule
from app.sdk import jsonvalues
from app.sdk.declare import Trigger
from app.services import documents, rule_checks, rule_edits, rule_samples, rule_switch, rules
from app.services.activity import line
from app.services.documents import TriggerPart
from app.services.rule_samples import SampleEvent
from app.web import fields, rule_pages
from app.web.access import allow, current_actor
from app.web.filters import sentence
from app.web.rules import blueprint

_CURL_CHARS = 600


@blueprint.get("/rules/<rule_id>/trigger")
@allow(Role.EDITOR)
def trigger(rule_id: str) -> str:
    rule = rules.get(db.session(), current_actor(), rule_id)
    if "HX-Request" in request.headers:
        panel = {"rule": {"id": rule.id}} | _listening(rule)
        fragment: str = render_block("rules/trigger.html", "listen_panel", **panel)
        return fragment
    part = TriggerPart.model_validate(rule.draft["trigger"])
    other = core.current().catalogue.trigger(request.args.get("type", ""))
    if other is not None and other.key != part.type:
        params = {"zone": current_actor().zone} if "zone" in other.params.model_fields else {}
        part = TriggerPart(type=other.key, params=params)
    return _page(rule, part)


@blueprint.post("/rules/<rule_id>/trigger")
@allow(Role.EDITOR)
def save_trigger(rule_id: str) -> str | tuple[str, int] | Response:
    engine, actor = core.current(), current_actor()
    rule = rules.get(db.session(), actor, rule_id)
    declared = engine.catalogue.trigger(request.form.get("type", ""))
    if declared is None:
        part = TriggerPart.model_validate(rule.draft["trigger"])
        return _page(rule, part, errors={"type": "is not installed any more; choose another trigger"}), 422
    typed = fields.read(declared.params, request.form)
    part = TriggerPart(
        type=declared.key, params=typed.values, connection=request.form.get("connection", "")[:100] or None
    )
    name = request.form.get("name", "")
    errors = _errors(part, typed) | _name_error(name)
    if errors:
        return _page(rule, part, name=name, typed=typed, errors=errors), 422
    with writing() as session:
        definition = documents.parse(rules.get(session, actor, rule_id).draft)
        changed = rule_edits.with_trigger(definition, part)
        rules.rename(session, actor, rule_id, name)
        rules.store_draft(session, actor, engine, rule_id, definition=changed)
    stay = request.form.get("next") == "stay"
    return redirect(url_for("rules.trigger" if stay else "rules.show", rule_id=rule_id))


@blueprint.post("/rules/<rule_id>/listen")
@allow(Role.EDITOR)
def listen(rule_id: str) -> Response:
    """Wait for a call, or use the values of one that came."""
    actor, event_id = current_actor(), request.form.get("event", "")
    with writing() as session:
        if event_id:
            rule_samples.choose_event(session, actor, rule_id, event_id)
        else:
            rules.listen(session, actor, rule_id)
            rule_samples.forget_choice(session, actor, rule_id)
    return redirect(url_for("rules.trigger", rule_id=rule_id))


def _errors(part: TriggerPart, typed: fields.Typed) -> dict[str, str]:
    examiner = rule_checks.Examiner(
        core.current().catalogue, rule_checks.load_links(db.session(), current_actor())
    )
    examiner.trigger(part)
    return examiner.findings.under("trigger") | {
        f"params.{name}": text for name, text in typed.problems.items()
    }


def _name_error(name: str) -> dict[str, str]:
    try:
        rules.clean_name(name)
    except InvalidError as error:
        return error.fields
    return {}


def _page(
    rule: Rule,
    part: TriggerPart,
    *,
    name: str | None = None,
    typed: fields.Typed | None = None,
    errors: Mapping[str, str] | None = None,
) -> str:
    engine, session = core.current(), db.session()
    declared = engine.catalogue.trigger(part.type)
    event = rule_samples.sample_event(session, engine, rule)
    url, _ = (
        rule_pages.hook_address(session, engine, rule)
        if declared and declared.sort == "hook"
        else (None, None)
    )
    return render_template(
        "rules/trigger.html",
        rule={"id": rule.id, "name": rule.name, "enabled": rule.enabled},
        name=rule.name if name is None else name,
        trigger=_head(part, declared) | {"hook_url": url},
        triggers=rule_pages.trigger_choices(engine),
        fields=_fields(part, declared, typed, errors or {}),
        errors=_summary(declared, errors or {}),
        next_times=rule_pages.next_times(engine, part),
        curl=_curl(url, event) if url else None,
        sample=rule_pages.sample(session, engine, rule, _first_key(rule)),
        **_listening(rule),
    )


def _first_key(rule: Rule) -> str | None:
    """Before the first step: nothing but the event is there."""
    return rule.draft["steps"][0]["key"] if rule.draft["steps"] else None


def _head(part: TriggerPart, declared: Trigger | None) -> dict[str, Any]:
    if declared is None:
        gone = "This trigger is not installed any more. Choose another one below."
        nothing = dict.fromkeys(("sort", "integration", "service"))
        return nothing | {"type": part.type, "title": part.type, "text": gone}
    head = rule_pages.trigger_head(core.current(), declared)
    return head | {"text": " ".join(declared.description.replace("`", "").split())}


def _fields(
    part: TriggerPart, declared: Trigger | None, typed: fields.Typed | None, errors: Mapping[str, str]
) -> list[dict[str, Any]]:
    if declared is None:
        return []
    inside = {
        path.removeprefix("params."): text for path, text in errors.items() if path.startswith("params.")
    }
    shown = fields.show(declared.params, part.params, inside, typed=typed)
    if declared.need == "none":
        return shown
    return [account_field(declared, part.connection, errors.get("connection")), *shown]


def account_field(declared: Any, chosen: str | None, error: str | None) -> dict[str, Any]:
    """The choice of an account where one may be used."""
    engine, integration = core.current(), declared.key.partition(".")[0]
    accounts = rule_pages.account_choices(db.session(), current_actor(), integration)
    model = engine.catalogue.integrations[integration].settings
    required = declared.need == "required"
    return {
        "name": "connection",
        "label": "Connection",
        "kind": "select",
        "value": chosen or rule_pages.only_account(accounts, required=required),
        "required": required,
        "help": " ".join((model.__doc__ or "").split()) if model else None,
        "where": "Connect another",
        "where_url": url_for("connections.new", integration=integration, next_page=request.path),
        "choices": [{"value": account["id"], "label": account["name"]} for account in accounts],
        "error": error,
    }


def _summary(declared: Trigger | None, errors: Mapping[str, str]) -> list[dict[str, str]]:
    inside = {
        path.removeprefix("params."): text for path, text in errors.items() if path.startswith("params.")
    }
    own = {"name": "Rule's name", "connection": "Connection", "type": "Trigger"}
    shown = [
        {"field_id": f"f-{name}", "label": label, "text": errors[name]}
        for name, label in own.items()
        if name in errors
    ]
    return shown + (fields.summary(inside, fields.labels(declared.params)) if declared else [])


def _curl(url: str, event: SampleEvent) -> str:
    body = jsonvalues.dumps(event.data)
    short = body if len(body) <= _CURL_CHARS else "{}"
    return f"curl -X POST -H 'Content-Type: application/json' -d {shlex.quote(short)} {shlex.quote(url)}"


def _heard(until: datetime, events: list[Event]) -> bool:
    """Whether a call came since the waiting began."""
    return bool(events) and events[0].received_at >= until - rule_switch.LISTEN


def _refused(hook: Hook | None, events: list[Event]) -> dict[str, str] | None:
    """What a sender did wrong, until a call is accepted."""
    if hook is None or hook.refused_at is None or (events and events[0].received_at > hook.refused_at):
        return None
    return {"cause": sentence(hook.refused_cause or "it could not be verified")}


def _listening(rule: Rule) -> dict[str, Any]:
    session = db.session()
    hook: Hook | None = rule_switch.hook_of(session, rule)
    until = hook.listening_until if hook else None
    event = rule_samples.sample_event(session, core.current(), rule)
    events = rule_samples.recent_events(session, rule)
    return {
        "listening": until is not None and until > clock.now() and not _heard(until, events),
        "until": until,
        "refused": _refused(hook, events),
        "events": [
            {
                "id": row.id,
                "at": row.received_at,
                "text": line(row.data),
                "chosen": row.id == event.event_id,
            }
            for row in events
        ],
    }
