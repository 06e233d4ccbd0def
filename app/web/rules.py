"""Pages of rules as a whole: the list, a new one, one with its trigger and steps, and its switches."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from app import clock
from app.database import db, writing
from app.engine import core
from app.engine.core import Engine
from app.errors import BitQueueError, ConflictError, InvalidError, UnavailableError
from app.models import Role, Rule, Run
from app.services import documents, rule_checks, rule_samples, rule_trials, rule_words, rules, trigger_health
from app.services.access import Actor
from app.services.activity import line
from app.services.rules import Listed
from app.services.trigger_health import CHOICES
from app.web import live, rule_pages
from app.web.access import allow, current_actor
from app.web.filters import sentence

blueprint = Blueprint("rules", __name__)

_RUNS_SHOWN = 5


@blueprint.get("/rules")
@allow(Role.VIEWER)
def index() -> str:
    session, actor, text = db.session(), current_actor(), request.args.get("text", "").strip()
    found = rules.search(session, actor, core.current(), text) if text else rules.listing(session, actor)
    counts = rules.run_counts(session, actor, since=clock.now() - timedelta(days=1))
    links = rule_checks.load_links(session, actor)
    health = trigger_health.listing(session, actor, core.current())
    rows = [
        _row(listed, links, counts.get(listed.rule.id, (0, 0))) | {"health": health.get(listed.rule.id)}
        for listed in found
    ]
    return render_template("rules/index.html", rules=rows, text=text)


def _row(listed: Listed, links: rule_checks.Links, counts: tuple[int, int]) -> dict[str, Any]:
    engine, rule = core.current(), listed.rule
    definition = documents.parse(rule.draft)
    wrong = rule_checks.examine(engine.catalogue, links, definition).wrong
    said = [
        rule_words.problem_sentence(engine.catalogue, definition, path, text) for path, text in wrong.items()
    ]
    error = listed.trigger.last_error if listed.trigger else None
    return {
        "id": rule.id,
        "name": rule.name,
        "enabled": rule.enabled,
        "has_draft": listed.has_draft,
        "summary": rule_words.rule_sentence(engine.catalogue, definition),
        "icons": rule_words.icons(definition),
        "problem": sentence(error or said[0]) if error or said else None,
        "last_run": _shown_run(listed.last_run) if listed.last_run else None,
        "runs": counts[0],
        "failed": counts[1],
    }


def _shown_run(run: Run) -> dict[str, Any]:
    return {"id": run.id, "state": run.state, "filtered": run.filtered_by is not None, "at": run.created_at}


@blueprint.get("/rules/new")
@allow(Role.EDITOR)
def new() -> str:
    return _new_page(request.args.get("name", ""), request.args.get("trigger"))


def _new_page(name: str, chosen: str | None, errors: dict[str, str] | None = None) -> str:
    triggers = rule_pages.trigger_choices(core.current())
    return render_template("rules/new.html", name=name, chosen=chosen, triggers=triggers, errors=errors or {})


@blueprint.post("/rules")
@allow(Role.EDITOR)
def create() -> str | tuple[str, int] | Response:
    engine, actor = core.current(), current_actor()
    name, chosen = request.form.get("name", ""), request.form.get("trigger", "")
    declared = engine.catalogue.trigger(chosen)
    if declared is None:
        return _new_page(name, chosen, {"trigger": "choose what starts the rule"}), 422
    params = {"zone": actor.zone} if "zone" in declared.params.model_fields else {}
    draft = {"name": " ".join(name.split()), "trigger": {"type": declared.key, "params": params}, "steps": []}
    try:
        with writing() as session:
            rule = rules.create(session, actor, engine, draft)
    except InvalidError as error:
        return _new_page(name, chosen, error.fields), error.status
    needs_form = declared.params.model_fields or declared.sort == "hook"
    return redirect(url_for("rules.trigger" if needs_form else "rules.show", rule_id=rule.id))


@blueprint.get("/rules/<rule_id>")
@allow(Role.VIEWER)
def show(rule_id: str) -> str:
    session, actor, engine = db.session(), current_actor(), core.current()
    rule = rules.get(session, actor, rule_id)
    opened = rule_pages.opened(session, actor, engine, rule)
    published = rules.published_version(session, rule)
    return live.page(
        "rules/show.html",
        "last_runs",
        rule={
            "id": rule.id,
            "name": rule.name,
            "enabled": rule.enabled,
            "version": rule.published,
            "has_draft": published is None or published.definition != rule.draft,
            "turned_on_at": published.created_at if published else None,
        },
        health=trigger_health.of(session, actor, engine, rule),
        problems=rule_pages.problems(engine, opened),
        trigger=rule_pages.trigger_card(session, actor, engine, opened),
        steps=rule_pages.step_cards(session, actor, engine, opened),
        catalogue=rule_pages.action_choices(engine),
        after=request.args.get("after"),
        runs=[
            _shown_run(run) | {"text": line(data) if data is not None else ""}
            for run, data in rules.last_runs(session, rule, _RUNS_SHOWN)
        ],
        example=rule_samples.as_text(rule_samples.sample_event(session, engine, rule).data),
    )


@blueprint.post("/rules/<rule_id>/publish")
@allow(Role.EDITOR)
def publish(rule_id: str) -> Response:
    return _switch(rules.publish, rule_id, "The changes are on; what happens from now on uses them.")


@blueprint.post("/rules/<rule_id>/enable")
@allow(Role.EDITOR)
def enable(rule_id: str) -> Response:
    return _switch(rules.enable, rule_id, "The rule is on.")


@blueprint.post("/rules/<rule_id>/disable")
@allow(Role.EDITOR)
def disable(rule_id: str) -> Response:
    with writing() as session:
        rules.disable(session, current_actor(), rule_id)
    flash("The rule is off. Runs that are under way are completed.", "success")
    return redirect(url_for("rules.show", rule_id=rule_id))


@blueprint.post("/rules/<rule_id>/discard")
@allow(Role.EDITOR)
def discard(rule_id: str) -> Response:
    return _switch(rules.discard, rule_id, "The draft is what runs again.")


def _switch(turn: Callable[[Session, Actor, Engine, str], Rule], rule_id: str, done: str) -> Response:
    """Do it, or go back to the page, which lists what stands in the way."""
    engine, actor = core.current(), current_actor()
    try:
        with writing() as session:
            turn(session, actor, engine, rule_id)
    except (InvalidError, ConflictError) as error:
        flash(_plain(error, rule_id), "error")
    else:
        flash(done, "success")
    return redirect(url_for("rules.show", rule_id=rule_id))


def _plain(error: BitQueueError, rule_id: str) -> str:
    fields = error.fields if isinstance(error, InvalidError) else {}
    if not fields:
        return sentence(error)
    definition = documents.parse(rules.get(db.session(), current_actor(), rule_id).draft)
    path, text = next(iter(fields.items()))
    return sentence(rule_words.problem_sentence(core.current().catalogue, definition, path, text))


@blueprint.post("/rules/<rule_id>/run")
@allow(Role.EDITOR)
def run(rule_id: str) -> Response:
    """With the JSON of the form as its event, or with who started it."""
    actor, text = current_actor(), request.form.get("data", "").strip()
    back = redirect(url_for("rules.show", rule_id=rule_id))
    try:
        data = rule_trials.parse_data(text) if text else {"started_by": actor.email}
        receipt = rules.run_by_hand(db.session(), actor, core.current(), rule_id, data=data)
    except (ValueError, ConflictError, UnavailableError) as error:
        flash(sentence(error), "error")
        return back
    flash("It is running.", "success")
    return redirect(url_for("runs.show", run_id=receipt.run_id)) if receipt.run_id else back


@blueprint.post("/rules/<rule_id>/look")
@allow(Role.EDITOR)
def look(rule_id: str) -> Response:
    """At once, whatever its interval."""
    try:
        with writing() as session:
            rules.look_now(session, current_actor(), rule_id)
    except ConflictError as error:
        flash(sentence(error), "error")
    else:
        flash("It looks now. What it finds starts a run, which shows under Last runs.", "success")
    return redirect(url_for("rules.show", rule_id=rule_id))


@blueprint.post("/rules/<rule_id>/catch-up")
@allow(Role.EDITOR)
def catch_up(rule_id: str) -> Response:
    """What becomes of the times that passed."""
    choice = request.form.get("choice", "")
    back = redirect(url_for("rules.show", rule_id=rule_id))
    if choice not in CHOICES:
        flash("Choose once, all or skip.", "error")
        return back
    engine = core.current()
    try:
        with writing() as session:
            started = trigger_health.catch_up(session, current_actor(), engine, rule_id, choice=choice)
    except ConflictError as error:
        flash(sentence(error), "error")
        return back
    engine.doorbell.ring()
    flash(_caught_up(started), "success")
    return back


def _caught_up(started: int) -> str:
    if not started:
        return "Nothing more runs for the times it missed."
    return (
        "It runs once for the times it missed."
        if started == 1
        else f"It runs {started:,} times for those it missed."
    )


@blueprint.post("/rules/<rule_id>/duplicate")
@allow(Role.EDITOR)
def duplicate(rule_id: str) -> Response:
    with writing() as session:
        copy = rules.duplicate(session, current_actor(), core.current(), rule_id)
    flash("This is the copy. It is off, and has an address of its own if calls start it.", "success")
    return redirect(url_for("rules.show", rule_id=copy.id))


@blueprint.post("/rules/<rule_id>/delete")
@allow(Role.EDITOR)
def delete(rule_id: str) -> Response:
    with writing() as session:
        rules.delete(session, current_actor(), rule_id)
    flash("The rule is deleted. What it did stays under Activity.", "success")
    return redirect(url_for("rules.index"))
