"""Pages about accounts elsewhere: connect, check, mend, delete. A check never runs inside a transaction."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from app import clock
from app.database import db, writing
from app.engine import checks, core
from app.errors import ConflictError, InvalidError, SealError
from app.models import Connection, Role, Rule
from app.sdk.errors import IntegrationError, TemporaryError
from app.sdk.fields import Settings
from app.services import connections, paces, sign_ins
from app.services.sign_ins import Pending
from app.web import fields, links, oauth
from app.web.access import allow, current_actor
from app.web.filters import sentence
from app.web.rule_pages import connection_state

blueprint = Blueprint("connections", __name__)

Answer = str | tuple[str, int] | Response


@blueprint.get("/connections")
@allow(Role.VIEWER)
def index() -> str:
    session, actor = db.session(), current_actor()
    used, held = connections.usage(session, actor), connections.held(session, actor)
    rows, known = connections.listing(session, actor), paces.views(session, actor)
    return render_template(
        "connections/index.html",
        connections=[
            _shown(row, used.get(row.id, []), held.get(row.id, 0)) | _pace(known.get(row.id, paces.FREE))
            for row in rows
        ],
    )


@blueprint.get("/connections/new")
@allow(Role.EDITOR)
def new() -> str:
    key = request.args.get("integration")
    if not key:
        cards = connections.catalogue_cards(core.current())
        shown = [{"key": card.key, "title": card.title, "text": sentence(card.about)} for card in cards]
        return render_template("connections/new.html", integration=None, integrations=shown)
    title = connections.integration(core.current(), key).title
    name, given = oauth.typed_before(key) or (title, {})
    return _new_page(key, name=name, given=given)


@blueprint.post("/connections")
@allow(Role.EDITOR)
def create() -> Answer:
    engine, actor = core.current(), current_actor()
    key, name = request.form.get("integration", ""), request.form.get("name", "")
    typed = fields.read(connections.model(engine, key), request.form)
    try:
        connections.clean_name(name)
        settings = connections.build_settings(engine, key, typed.values, None)
    except InvalidError as error:
        return _new_page(key, name=name, typed=typed, errors=error.fields), error.status
    settings = sign_ins.with_tokens_of(engine, None, settings)
    if sign_ins.needs_sign_in(settings):
        return oauth.depart(Pending(key, name, settings, next_page=request.form.get("next_page", "")))
    proof = _prove(key, settings)
    if proof.refused:
        return _new_page(key, name=name, typed=typed, proof=proof), 422
    with writing() as session:
        connections.create(session, actor, engine, key, name=name, settings=settings, checked=proof.checked)
    flash(proof.message, "success" if proof.checked else "warning")
    return redirect(links.within_site(request.form.get("next_page"), url_for("connections.index")))


@blueprint.get("/connections/<connection_id>")
@allow(Role.VIEWER)
def edit(connection_id: str) -> str:
    row = connections.get(db.session(), current_actor(), connection_id)
    return _edit_page(row, name=row.name)


@blueprint.post("/connections/<connection_id>")
@allow(Role.EDITOR)
def update(connection_id: str) -> Answer:
    engine, actor, name = core.current(), current_actor(), request.form.get("name", "")
    row = connections.get(db.session(), actor, connection_id)
    typed = fields.read(connections.model(engine, row.integration), request.form)
    try:
        connections.clean_name(name)
        settings = connections.build_settings(engine, row.integration, typed.values, row)
    except InvalidError as error:
        return _edit_page(row, name=name, typed=typed, errors=error.fields), error.status
    except SealError as error:
        return _edit_page(row, name=name, typed=typed, proof=_Proof(refused=sentence(error))), error.status
    settings = sign_ins.with_tokens_of(engine, row, settings)
    if sign_ins.needs_sign_in(settings) or (sign_ins.can_sign_in(settings) and "sign_in" in request.form):
        return oauth.depart(Pending(row.integration, name, settings, connection_id=row.id))
    proof = _prove(row.integration, settings)
    if proof.refused:
        return _edit_page(row, name=name, typed=typed, proof=proof), 422
    with writing() as session:
        # Anew: a worker may have renewed the access while the service was asked.
        now = connections.get(session, actor, row.id)
        settings = sign_ins.with_tokens_of(engine, now, settings)
        connections.update(
            session, actor, engine, row.id, name=name, settings=settings, checked=proof.checked
        )
    engine.doorbell.ring()
    flash(proof.message, "success" if proof.checked else "warning")
    return redirect(url_for("connections.index"))


@blueprint.post("/connections/<connection_id>/check")
@allow(Role.EDITOR)
def check(connection_id: str) -> Response:
    engine, actor = core.current(), current_actor()
    row = connections.get(db.session(), actor, connection_id)
    back = redirect(url_for("connections.edit", connection_id=row.id))
    _let_go(row)
    try:
        works, said = checks.recheck(engine, row)
    except (TemporaryError, SealError) as error:
        flash(f"{sentence(error)} Nothing was learnt about the account; try again later.", "warning")
        return back
    with writing() as session:
        fresh = connections.get(session, actor, row.id)
        connections.mark(session, fresh, healthy=works, cause=None if works else said)
    engine.doorbell.ring()
    flash(sentence(said), "success" if works else "error")
    return back


@blueprint.post("/connections/<connection_id>/pace")
@allow(Role.EDITOR)
def pace(connection_id: str) -> Response:
    entered = request.form.get("per_minute", "").strip()
    try:
        wanted = int(entered) if entered else None
    except ValueError:
        wanted = 0
    try:
        with writing() as session:
            paces.limit(session, current_actor(), connection_id, wanted)
    except InvalidError as error:
        flash(sentence(f"calls a minute: {error.fields['per_minute']}"), "error")
    else:
        core.current().doorbell.ring()
        flash(f"At most {wanted} calls a minute." if wanted else "No limit of our own.", "success")
    return redirect(url_for("connections.edit", connection_id=connection_id))


@blueprint.post("/connections/<connection_id>/delete")
@allow(Role.EDITOR)
def delete(connection_id: str) -> Response:
    try:
        with writing() as session:
            connections.delete(session, current_actor(), connection_id)
    except ConflictError as error:
        flash(sentence(error), "error")
        return redirect(url_for("connections.edit", connection_id=connection_id))
    flash("The connection and its secrets are deleted.", "success")
    return redirect(url_for("connections.index"))


class _Proof:
    """What a check said. `refused` keeps the account from being saved; `may_wait` lets one save it all the same."""

    def __init__(self, message: str = "", *, refused: str | None = None, may_wait: bool = False) -> None:
        self.message, self.refused, self.may_wait = message, refused, may_wait
        self.checked = refused is None and not may_wait


def _prove(key: str, settings: Settings) -> _Proof:
    """Ask the service; an account whose service does not answer now is saved only when that was asked for."""
    db.session.rollback()
    try:
        return _Proof(sentence(checks.check(core.current(), key, settings)))
    except TemporaryError as error:
        if "anyway" in request.form:
            return _Proof("Saved without a check; check it when the service answers again.", may_wait=True)
        return _Proof(refused=sentence(error), may_wait=True)
    except IntegrationError as error:
        return _Proof(refused=sentence(error))


def _let_go(row: Connection) -> None:
    """End the reading transaction before the network is used; `row` stays readable."""
    session = db.session()
    session.expunge(row)
    session.rollback()


def _new_page(
    key: str,
    *,
    name: str,
    given: Mapping[str, Any] | None = None,
    typed: fields.Typed | None = None,
    errors: Mapping[str, str] | None = None,
    proof: _Proof | None = None,
) -> str:
    model = connections.model(core.current(), key)
    return render_template(
        "connections/new.html",
        integration=_integration(key) | {"oauth": oauth.explained(model, key)},
        name=name,
        fields=oauth.typed_only(model, fields.show(model, given or {}, errors, typed=typed)),
        errors=_summary(model, errors),
        refused=proof.refused if proof else None,
        may_wait=bool(proof and proof.may_wait),
        next_page=links.within_site(request.values.get("next_page"), ""),
    )


def _edit_page(
    row: Connection,
    *,
    name: str,
    typed: fields.Typed | None = None,
    errors: Mapping[str, str] | None = None,
    proof: _Proof | None = None,
) -> str:
    engine, session, actor = core.current(), db.session(), current_actor()
    row = connections.get(session, actor, row.id)
    shown, rules = connections.masked(engine, row), connections.used_by(session, actor, row.id)
    model = connections.known_model(engine, row.integration)
    kept = [name for name, value in shown.items() if value == connections.MASK]
    return render_template(
        "connections/edit.html",
        connection=_shown(row, rules, connections.held(session, actor).get(row.id, 0))
        | _pace(paces.views(session, actor).get(row.id, paces.FREE)),
        integration=_integration(row.integration) | {"oauth": oauth.explained(model, row.integration)},
        name=name,
        fields=oauth.typed_only(model, fields.show(model, shown, errors, kept=kept, typed=typed))
        if model
        else [],
        errors=_summary(model, errors) if model else [],
        refused=proof.refused if proof else None,
        may_wait=bool(proof and proof.may_wait),
        can_save=model is not None,
        can_delete=connections.may_delete(actor, row),
    )


def _summary(model: type[Settings], errors: Mapping[str, str] | None) -> list[dict[str, str]]:
    found = fields.summary(errors or {}, fields.labels(model))
    for entry in found:
        # The name is the page's own field, unless the account declares one of that name too.
        if entry["field_id"] == f"f-{fields.PREFIX}name" and "name" not in model.model_fields:
            entry |= {"field_id": "f-name", "label": "Name"}
    return found


def _integration(key: str) -> dict[str, Any]:
    found = core.current().catalogue.integrations.get(key)
    if found is None or found.settings is None:
        gone = "This service is not installed any more: the connection can be looked at and deleted, not changed."
        return {"key": key, "title": key, "text": gone, "how": gone}
    return {
        "key": key,
        "title": found.title,
        "text": sentence(found.about),
        "how": " ".join((found.settings.__doc__ or "").split()) or None,
    }


def _shown(row: Connection, rules: list[Rule], held: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "integration": row.integration,
        "integration_title": _integration(row.integration)["title"],
        "shown": connections.identity(row),
        "state": connection_state(row),
        "cause": None if row.healthy else row.health_cause,
        "checked_at": row.checked_at,
        "held": held,
        "rules": [{"id": rule.id, "name": rule.name} for rule in rules],
    }


def _pace(view: paces.PaceView) -> dict[str, Any]:
    left_s = (view.until - clock.now()).total_seconds() if view.until else 0.0
    return {"pace": view, "waiting_minutes": max(1, round(left_s / 60)) if view.waiting else 0}
