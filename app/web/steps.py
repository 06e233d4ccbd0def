"""The pages of a rule's steps: adding, filling in, moving, deleting, and trying one out."""

from collections.abc import Callable, Mapping
from typing import Any

from flask import flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import core
from app.errors import BitQueueError, ConflictError, InvalidError
from app.models import Role, Rule, StepKind
from app.sdk import values
from app.sdk.conditions import Match, Op
from app.services import documents, rule_checks, rule_edits, rule_trials, rule_words, rules
from app.services.documents import ActionStep, Definition, FilterStep, Step
from app.services.rule_checks import Examiner, Findings
from app.services.rule_trials import TrialResult
from app.web import fields, rule_pages
from app.web.access import allow, current_actor
from app.web.filters import sentence
from app.web.rule_trigger import account_field
from app.web.rules import blueprint

Answer = str | tuple[str, int] | Response

# Held against numbers: what looks like one is stored as one.
_NUMERIC = frozenset({Op.EQ, Op.NE, Op.GT, Op.GTE, Op.LT, Op.LTE})


@blueprint.post("/rules/<rule_id>/steps")
@allow(Role.EDITOR)
def add_step(rule_id: str) -> Response:
    engine, after = core.current(), request.form.get("after") or None

    def add(definition: Definition) -> tuple[Definition, str]:
        if request.form.get("kind") == StepKind.FILTER:
            return rule_edits.add_filter(definition, after=after)
        return rule_edits.add_action(
            engine.catalogue, definition, request.form.get("action", ""), after=after
        )

    try:
        key = _change(rule_id, add)
    except (ConflictError, InvalidError) as error:
        flash(sentence(error), "error")
        return redirect(url_for("rules.show", rule_id=rule_id))
    return redirect(url_for("rules.step", rule_id=rule_id, key=key))


@blueprint.post("/rules/<rule_id>/steps/<key>/move")
@allow(Role.EDITOR)
def move_step(rule_id: str, key: str) -> Response:
    up = request.form.get("direction") == "up"
    _change(rule_id, lambda definition: (rule_edits.move(definition, key, up=up), key))
    return redirect(url_for("rules.show", rule_id=rule_id))


@blueprint.post("/rules/<rule_id>/steps/<key>/delete")
@allow(Role.EDITOR)
def delete_step(rule_id: str, key: str) -> Response:
    _change(rule_id, lambda definition: (rule_edits.delete(definition, key), key))
    return redirect(url_for("rules.show", rule_id=rule_id))


def _change(rule_id: str, edit: Callable[[Definition], tuple[Definition, str]]) -> str:
    """Edit the draft as it is at this moment; returns the key of the step."""
    actor = current_actor()
    with writing() as session:
        definition = documents.parse(rules.get(session, actor, rule_id).draft)
        changed, key = edit(definition)
        rules.store_draft(session, actor, core.current(), rule_id, definition=changed)
    return key


@blueprint.get("/rules/<rule_id>/steps/<key>")
@allow(Role.EDITOR)
def step(rule_id: str, key: str) -> str:
    rule, definition = _opened(rule_id)
    index = rule_edits.index_of(definition, key)
    # A step that was just added is empty, not wrong.
    opened = definition.steps[index]
    touched = bool(opened.conditions if isinstance(opened, FilterStep) else opened.params)
    errors = _findings(definition, index).under(f"steps.{index}") if touched else {}
    return _page(rule, definition, index, errors=errors)


@blueprint.post("/rules/<rule_id>/steps/<key>")
@allow(Role.EDITOR)
def save_step(rule_id: str, key: str) -> Answer:
    rule, definition = _opened(rule_id)
    index = rule_edits.index_of(definition, key)
    typed, change = _read(definition.steps[index])
    try:
        changed = rule_edits.change(definition, key, change)
    except InvalidError as error:
        return _page(
            rule, definition, index, typed=typed, refused=_below(error.fields, index) or {"": str(error)}
        ), 422
    findings = _findings(changed, index)
    wrong = _below(findings.wrong, index) | {f"params.{name}": text for name, text in typed.problems.items()}
    if wrong:
        return _page(rule, changed, index, typed=typed, refused=_below(findings.missing, index) | wrong), 422
    _change(rule_id, lambda present: (rule_edits.change(present, key, change), key))
    if findings.missing:
        path, text = next(iter(findings.missing.items()))
        said = rule_words.problem_sentence(core.current().catalogue, changed, path, text)
        flash(f"Saved. Before the rule can be turned on: {sentence(said)}", "info")
    page = "rules.test_step" if request.form.get("next") == "test" else "rules.show"
    return redirect(url_for(page, rule_id=rule_id, key=key if page == "rules.test_step" else None))


def _opened(rule_id: str) -> tuple[Rule, Definition]:
    rule = rules.get(db.session(), current_actor(), rule_id)
    return rule, documents.parse(rule.draft)


def _findings(definition: Definition, index: int) -> Findings:
    examiner = Examiner(core.current().catalogue, rule_checks.load_links(db.session(), current_actor()))
    examiner.step(definition, index)
    return examiner.findings


def _below(errors: Mapping[str, str], index: int) -> dict[str, str]:
    return Findings(wrong=dict(errors)).under(f"steps.{index}")


def _read(step: Step) -> tuple[fields.Typed, dict[str, Any]]:
    """What was typed, and the members of the step that it changes."""
    name = {"name": " ".join(request.form.get("name", "").split()) or None}
    if isinstance(step, FilterStep):
        return fields.Typed(), name | {
            "conditions": _conditions(),
            "match": request.form.get("match", Match.ALL),
        }
    action = core.current().catalogue.action(step.action)
    if action is None:
        return fields.Typed(), name
    typed = fields.read(action.params, request.form)
    return typed, name | {"params": typed.values, "connection": request.form.get("connection") or None}


def _conditions() -> list[dict[str, Any]]:
    rows = zip(*(request.form.getlist(name) for name in ("field", "op", "value")), strict=False)
    return [_condition(*row) for row in rows if row[0].strip() or row[2].strip()]


def _condition(field: str, op: str, text: str) -> dict[str, Any]:
    """Braces around a path are taken away: here a path alone is asked for."""
    path = field.strip().removeprefix("{{").removesuffix("}}").strip()
    found: dict[str, Any] = {"field": path, "op": op}
    needs_value = op not in list(Op) or Op(op).needs_value
    if needs_value and (text.strip() or op in (Op.EQ, Op.NE)):
        found["value"] = _value(op, text.strip())
    return found


def _value(op: str, text: str) -> Any:
    number = values.number(text) if op in _NUMERIC else None
    if number is None:
        return text
    return int(number) if number == number.to_integral_value() and "." not in text else float(number)


def _page(
    rule: Rule,
    definition: Definition,
    index: int,
    *,
    typed: fields.Typed | None = None,
    errors: Mapping[str, str] | None = None,
    refused: Mapping[str, str] | None = None,
) -> str:
    """`refused` kept it from being saved; `errors` only keep the rule from being turned on."""
    engine, session, step = core.current(), db.session(), definition.steps[index]
    beside = refused or errors or {}
    shared = {
        "rule": {"id": rule.id, "name": rule.name},
        "step": rule_pages.step_head(engine, step, index),
        "errors": _summary(step, refused or {}),
        "sample": rule_pages.sample(session, engine, rule, step.key),
        "needs_connection": False,
    }
    if isinstance(step, FilterStep):
        rows = rule_pages.filter_rows(step.conditions, beside)
        ops = [{"value": op.value, "label": op.label} for op in Op]
        return render_template("rules/step.html", **shared, conditions=rows, ops=ops, match=step.match.value)
    return render_template("rules/step.html", **(shared | _action_form(step, beside, typed)))


def _action_form(step: ActionStep, errors: Mapping[str, str], typed: fields.Typed | None) -> dict[str, Any]:
    action = core.current().catalogue.action(step.action)
    if action is None:
        return {"fields": [], "gone": True}
    inside = {
        path.removeprefix("params."): text for path, text in errors.items() if path.startswith("params.")
    }
    shown = fields.show(action.params, step.params, inside, templated=True, typed=typed)
    integration = action.key.partition(".")[0]
    accounts = rule_pages.account_choices(db.session(), current_actor(), integration)
    optional = (
        [account_field(action, step.connection, errors.get("connection"))]
        if action.need == "optional"
        else []
    )
    return {
        "fields": [*optional, *shown],
        "needs_connection": action.need == "required",
        "connections": accounts,
        "connection_id": step.connection or rule_pages.only_account(accounts, required=True),
        "connection_error": errors.get("connection"),
    }


def _summary(step: Step, errors: Mapping[str, str]) -> list[dict[str, str]]:
    action = core.current().catalogue.action(step.action) if isinstance(step, ActionStep) else None
    labels = fields.labels(action.params) if action else {}
    found = []
    for path, text in errors.items():
        parts = path.split(".")
        if parts[0] == "params" and len(parts) > 1:
            found += fields.summary({path.removeprefix("params."): text}, labels)
        elif parts[0] == "conditions" and len(parts) > 2:
            row = int(parts[1]) + 1
            found.append({"field_id": f"c{row}-{parts[2]}", "label": f"Condition {row}", "text": text})
        else:
            label = parts[0].capitalize() or "This step"
            found.append(
                {"field_id": "f-connection" if parts[0] == "connection" else "", "label": label, "text": text}
            )
    return found


@blueprint.route("/rules/<rule_id>/steps/<key>/test", methods=["GET", "POST"])
@allow(Role.EDITOR)
def test_step(rule_id: str, key: str) -> str:
    rule, definition = _opened(rule_id)
    index = rule_edits.index_of(definition, key)
    result = _try(rule_id, key) if request.method == "POST" else None
    engine, session = core.current(), db.session()
    rule = rules.get(session, current_actor(), rule_id)
    heads = [rule_pages.step_head(engine, each, number) for number, each in enumerate(definition.steps)]
    return render_template(
        "rules/test.html",
        rule={"id": rule.id, "name": rule.name},
        steps=[head | {"current": head["key"] == key} for head in heads],
        step=heads[index],
        sample=rule_pages.sample(session, engine, rule, key),
        result=_result(result) if result else None,
    )


def _try(rule_id: str, key: str) -> TrialResult:
    engine, actor = core.current(), current_actor()
    trial = rule_trials.prepare_trial(db.session(), actor, engine, rule_id, key=key)
    db.session.rollback()
    try:
        result = rule_trials.test_step(engine, actor, trial, really=request.form.get("mode") == "real")
    except BitQueueError as error:
        return TrialResult(False, "failed", "This step could not be tried", cause=str(error))
    if result.really and result.state == "succeeded":
        with writing() as session:
            rule_trials.keep_output(session, actor, trial, result)
    return result


def _result(result: TrialResult) -> dict[str, Any]:
    return {
        "mode": "real" if result.really else "dry",
        "state": result.state,
        "text": sentence(result.text),
        "sent": result.sent,
        "output": result.output,
        "cause": sentence(result.cause) if result.cause else None,
        "took_ms": result.took_ms,
        "checks": [{"text": check.text, "matched": check.matched} for check in result.checks],
    }
