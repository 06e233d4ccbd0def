"""One task: what it was given, what became of it, each try; and deciding about it."""

import json
from typing import Any, Final, cast

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug import wrappers

from app.database import db, writing
from app.engine import core
from app.engine.life import Resolution
from app.errors import InvalidError, NotFoundError
from app.models import Connection, Role
from app.services import activity, runs, tasks
from app.services.tasks import TaskView
from app.web import live
from app.web.access import allow, current_actor
from app.web.task_parts import shown_task

blueprint = Blueprint("tasks", __name__)

_ANSWERS: Final = {
    "done": "Noted: it was done.",
    "again": "It is done again.",
    "skip": "It is skipped.",
}


@blueprint.get("/tasks/<task_id>")
@allow(Role.VIEWER)
def show(task_id: str) -> str:
    view = tasks.get(db.session(), current_actor(), task_id)
    return live.page("tasks/show.html", "task_live", task=shown_task(view) | _facts(view))


def _facts(view: TaskView) -> dict[str, Any]:
    row = view.row
    connection = db.session().get(Connection, row.connection_id) if row.connection_id else None
    return {
        "title": activity.task_title(core.current(), row),
        "action": row.action,
        "live": not row.state.is_terminal,
        "queue": view.queue,
        "priority": row.priority,
        "enqueued_at": row.created_at,
        "finished_at": row.finished_at,
        "took_ms": activity.took_ms(row),
        "connection": {"id": connection.id, "name": connection.name} if connection else None,
        "run_id": row.run_id,
        "retry_of": row.retry_of,
        "retried_by": row.retried_by,
    }


@blueprint.get("/tasks/<task_id>/<any(params, output):part>.json")
@allow(Role.VIEWER)
def whole(task_id: str, part: str) -> Response:
    """All of what the page shows a part of, to keep."""
    view = tasks.get(db.session(), current_actor(), task_id)
    value = view.row.params if part == "params" else view.output
    if value is None:
        raise NotFoundError(f"the task {task_id} has no {part}")
    return download(value, f"{task_id}-{part}.json")


def download(value: Any, name: str) -> Response:
    """As a file: shown as a page of ours, somebody's data would be trusted like one."""
    answer = Response(json.dumps(value, indent=2), content_type="application/json")
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


@blueprint.post("/tasks/<task_id>/retry")
@allow(Role.EDITOR)
def retry(task_id: str) -> wrappers.Response:
    """Again: an API task as a new task, a rule's step as a new run from there on."""
    engine = core.current()
    with writing() as session:
        row = tasks.get(session, current_actor(), task_id).row
        if row.run_id:
            made = runs.replay(session, current_actor(), row.run_id, from_step=row.step)
            address = url_for("runs.show", run_id=made.row.id)
        else:
            address = url_for(
                "tasks.show", task_id=tasks.retry(session, current_actor(), engine, task_id).row.id
            )
    engine.doorbell.ring()
    flash("It is done again; this is the new one.", "success")
    return redirect(address)


@blueprint.post("/tasks/<task_id>/cancel")
@allow(Role.EDITOR)
def cancel(task_id: str) -> wrappers.Response:
    with writing() as session:
        tasks.cancel(session, current_actor(), task_id)
    flash("The task is canceled.", "success")
    return redirect(_page_of(task_id))


@blueprint.post("/tasks/<task_id>/resolve")
@allow(Role.EDITOR)
def resolve(task_id: str) -> wrappers.Response:
    """The answer to the question of an uncertain task."""
    answer = request.form.get("answer", "")
    if answer not in _ANSWERS:
        raise InvalidError("say whether it was done, is to be done again, or is to be skipped")
    with writing() as session:
        tasks.resolve(session, current_actor(), task_id, cast(Resolution, answer))
    core.current().doorbell.ring()
    flash(_ANSWERS[answer], "success")
    return redirect(_page_of(task_id))


def _page_of(task_id: str) -> str:
    """A rule's step is looked at in its run."""
    row = tasks.get(db.session(), current_actor(), task_id).row
    return url_for("runs.show", run_id=row.run_id) if row.run_id else url_for("tasks.show", task_id=task_id)
