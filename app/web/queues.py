"""Queues: how each stands, its pause and its limits."""

import re
from typing import Annotated, Any, Final

from flask import Blueprint, flash, redirect, request, url_for
from pydantic import AfterValidator, ValidationError, model_validator
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import core
from app.errors import ConflictError
from app.models import Queue, Role
from app.models.queue import DEFAULT_QUEUE
from app.sdk.fields import Settings, sentences, setting
from app.services import processes, queues
from app.services.access import fetch
from app.services.queues import QueueView
from app.web import fields, live
from app.web.access import allow, current_actor
from app.web.filters import sentence

blueprint = Blueprint("queues", __name__)

Answer = str | tuple[str, int] | Response
_PERIODS: Final = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}
_NEW: Final = "new"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,49}")


def _plain_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "has small letters, digits and - _ . only, begins with no sign, and is at most 50 long"
        )
    return name


class LimitsForm(Settings):
    """What can be changed of every queue."""

    priority: int = setting("Priority", 0, help="higher is served first", ge=-1000, le=1000)
    concurrency: int | None = setting(
        "At once", None, help="at most so many tasks at the same time; empty is no limit", ge=1, le=100_000
    )
    rate_count: int | None = setting(
        "Rate", None, help="at most so many begun in the period; empty is no limit", ge=1, le=100_000
    )
    rate_period_s: int | None = setting(
        "Period in seconds", None, help="60 is a minute, 3600 an hour", ge=1, le=86_400
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> "LimitsForm":
        if (self.rate_count is None) != (self.rate_period_s is None):
            raise ValueError("a rate needs its period, and a period its rate; fill in both or none")
        return self


class ChangeForm(LimitsForm):
    name: Annotated[str, AfterValidator(_plain_name)] = setting(
        "Name", help="small letters and digits, and the signs . - _", example="mail"
    )


class NewForm(ChangeForm):
    external: bool = setting(
        "Served by your own programs", False, help="they take its tasks over the API; no worker here does"
    )


@blueprint.get("/queues")
@allow(Role.VIEWER)
def index() -> str:
    editing = request.args.get("edit")
    if not editing or not current_actor().role.covers(Role.EDITOR):
        return _page()
    if editing == _NEW:
        return _page(_editing(_NEW, NewForm, {}))
    row = fetch(db.session(), Queue, editing, current_actor())
    return _page(_editing(row.id, _form_of(row), _given(row)))


def _page(editing: dict[str, Any] | None = None) -> str:
    session = db.session()
    return live.page(
        "queues/index.html",
        "queue_rows",
        queues=[_shown(view) for view in queues.stats(session, current_actor())],
        editing=editing,
        workers=processes.workers(session),
    )


def _shown(view: QueueView) -> dict[str, Any]:
    return {
        "id": view.id,
        "name": view.name,
        "text": "served by your own programs" if view.external else "",
        "waiting": view.waiting,
        "later": view.later,
        "running": view.running,
        "oldest_at": view.oldest_at,
        "per_minute": view.done_per_minute,
        "priority": view.priority,
        "concurrency": view.concurrency,
        "rate": view.rate_count,
        "rate_period": _period(view.rate_period_s),
        "paused": view.paused,
        "external": view.external,
    }


def _period(seconds: int | None) -> str:
    return _PERIODS.get(seconds or 0, f"{seconds} seconds")


def _form_of(row: Queue) -> type[LimitsForm]:
    """Tasks without a queue go to the default one by its name."""
    return LimitsForm if row.name == DEFAULT_QUEUE else ChangeForm


def _given(row: Queue) -> dict[str, Any]:
    return {name: getattr(row, name) for name in ChangeForm.model_fields}


def _editing(
    queue_id: str,
    form: type[LimitsForm],
    given: dict[str, Any],
    *,
    typed: fields.Typed | None = None,
    errors: dict[str, str] | None = None,
) -> dict[str, Any]:
    shown = fields.show(form, given, errors, typed=typed)
    return {
        "id": queue_id,
        # The name first, wherever the class declares it.
        "fields": sorted(shown, key=lambda field: field["name"] != f"{fields.PREFIX}name"),
        "errors": fields.summary(errors or {}, fields.labels(form)),
        "can_delete": queue_id != _NEW and form is not LimitsForm,
    }


@blueprint.post("/queues")
@allow(Role.EDITOR)
def create() -> Answer:
    typed = fields.read(NewForm, request.form)
    try:
        form = NewForm.model_validate(typed.values)
        with writing() as session:
            queues.create(session, current_actor(), **form.model_dump())
    except (ValidationError, ConflictError) as error:
        return _page(_editing(_NEW, NewForm, {}, typed=typed, errors=_objections(error))), 422
    return _done(f"The queue {form.name} is there.")


@blueprint.post("/queues/<queue_id>")
@allow(Role.EDITOR)
def update(queue_id: str) -> Answer:
    row = fetch(db.session(), Queue, queue_id, current_actor())
    name, model, given = row.name, _form_of(row), _given(row)
    typed = fields.read(model, request.form)
    try:
        form = model.model_validate(typed.values)
        with writing() as session:
            queues.update(session, current_actor(), name, form.model_dump())
    except (ValidationError, ConflictError) as error:
        return _page(_editing(queue_id, model, given, typed=typed, errors=_objections(error))), 422
    return _done("The queue is saved.")


def _objections(error: ValidationError | ConflictError) -> dict[str, str]:
    return sentences(error) if isinstance(error, ValidationError) else {"name": str(error)}


@blueprint.post("/queues/<queue_id>/pause")
@allow(Role.EDITOR)
def pause(queue_id: str) -> Response:
    with writing() as session:
        name = queues.pause(session, current_actor(), _name(queue_id)).name
    return _done(f"The queue {name} is paused: what runs is finished, nothing more begins.")


@blueprint.post("/queues/<queue_id>/resume")
@allow(Role.EDITOR)
def resume(queue_id: str) -> Response:
    with writing() as session:
        name = queues.resume(session, current_actor(), _name(queue_id)).name
    return _done(f"The queue {name} goes on.")


@blueprint.post("/queues/<queue_id>/delete")
@allow(Role.EDITOR)
def delete(queue_id: str) -> Response:
    try:
        with writing() as session:
            queues.delete(session, current_actor(), _name(queue_id))
    except ConflictError as error:
        flash(sentence(error), "error")
        return redirect(url_for("queues.index", edit=queue_id))
    return _done("The queue is deleted.")


def _name(queue_id: str) -> str:
    return fetch(db.session(), Queue, queue_id, current_actor()).name


def _done(text: str) -> Response:
    core.current().doorbell.ring()
    flash(text, "success")
    return redirect(url_for("queues.index"))
