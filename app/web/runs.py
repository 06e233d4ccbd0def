"""Activity, and one run: what happened, step by step, and doing it again."""

from datetime import UTC, datetime
from typing import Any, Final

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import core
from app.models import Role, Run, State
from app.services import activity, runs, timeline
from app.services.activity import Entry, Wanted
from app.services.runs import FILTERED, RunView
from app.web import live
from app.web.access import allow, current_actor
from app.web.clip import clipped
from app.web.filters import zone
from app.web.task_parts import ahead, said, shown_task

blueprint = Blueprint("runs", __name__)

_STATES: Final = (*State, FILTERED)
_TEXT_CHARS: Final = 200
_NAMES: Final = ("state", "rule", "text", "since", "until")


@blueprint.get("/activity")
@allow(Role.VIEWER)
def index() -> str:
    session, actor = db.session(), current_actor()
    typed = {name: request.args.get(name, "").strip()[:_TEXT_CHARS] for name in _NAMES}
    cursor = request.args.get("cursor") or None
    page = activity.listing(session, actor, core.current(), _wanted(typed), cursor=cursor)
    given: dict[str, Any] = {name: text for name, text in typed.items() if text}
    return live.page(
        "runs/index.html",
        "activity_rows",
        entries=[_shown_entry(entry) for entry in page.items],
        filters=typed,
        filtering=bool(given),
        states=[{"value": state, "label": state} for state in _STATES],
        rules=[{"id": rule_id, "name": name} for rule_id, name in activity.rule_names(session, actor)],
        here=url_for("runs.index", **given),
        newest_url=url_for("runs.index", **given) if cursor else None,
        older_url=url_for("runs.index", **given, cursor=page.next_cursor) if page.next_cursor else None,
    )


def _wanted(typed: dict[str, str]) -> Wanted:
    return Wanted(
        state=typed["state"] or None,
        rule_id=typed["rule"] or None,
        text=typed["text"] or None,
        since=_instant(typed["since"]),
        until=_instant(typed["until"]),
    )


def _instant(text: str) -> datetime | None:
    """A date and time as browsers send it, meant in the reader's zone; what cannot be read is no limit."""
    try:
        typed = datetime.fromisoformat(text)
        return (typed if typed.tzinfo else typed.replace(tzinfo=zone())).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _shown_entry(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "id": entry.id,
        "title": entry.title,
        "state": entry.state,
        "filtered": entry.filtered,
        "at": entry.at,
        "took_ms": entry.took_ms,
        "text": entry.text,
        "cause": said(entry.cause),
        "due_at": ahead(entry.due_at),
    }


@blueprint.get("/runs/<run_id>")
@allow(Role.VIEWER)
def show(run_id: str) -> str:
    session, engine = db.session(), core.current()
    view = runs.get(session, current_actor(), run_id)
    stages = timeline.stages(session, engine, view)
    return live.page(
        "runs/show.html",
        "run_live",
        run=_shown_run(view),
        event=_shown_event(view),
        steps=[_shown_stage(stage) for stage in stages],
    )


def _shown_run(view: RunView) -> dict[str, Any]:
    row = view.row
    return {
        "id": row.id,
        "rule": {"id": row.rule_id, "name": view.rule},
        "version": view.version,
        "state": row.state,
        "filtered": row.filtered_by is not None,
        "cause": said(row.cause),
        "live": row.finished_at is None,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "took_ms": activity.took_ms(row),
        "can_cancel": row.finished_at is None,
        "can_replay": _can_replay(row),
        "has_newer_version": view.version < _newest(row),
        "replay_of": row.replay_of,
        "replayed_by": row.replayed_by,
    }


def _can_replay(row: Run) -> bool:
    return row.finished_at is not None and row.replayed_by is None


def _newest(row: Run) -> int:
    return timeline.newest_version(db.session(), row.rule_id)


def _shown_event(view: RunView) -> dict[str, Any] | None:
    event = view.event
    if event is None:
        return None
    return {
        "id": event.id,
        "at": event.received_at,
        "source": activity.trigger_title(core.current(), event.type),
        "integration": event.type.partition(".")[0],
        "duplicates": event.duplicates,
        "data": clipped(view.event_data),
    }


def _shown_stage(stage: timeline.Stage) -> dict[str, Any]:
    return {
        "number": stage.number,
        "key": stage.key,
        "kind": stage.kind,
        "integration": stage.integration,
        "title": stage.title,
        "shown": stage.shown,
        "took_ms": stage.took_ms,
        "kept": stage.kept,
        "checks": [{"text": clipped(check.text), "matched": check.matched} for check in stage.checks],
        "task": shown_task(stage.task) if stage.task and not stage.checks else None,
    }


@blueprint.post("/runs/<run_id>/replay")
@allow(Role.EDITOR)
def replay(run_id: str) -> Response:
    """The whole again, or from a step; by the version it had, or the newest."""
    from_step = request.form.get("from_step") or None
    return _again(run_id, from_step=from_step, newest=request.form.get("version") == "newest")


@blueprint.post("/runs/<run_id>/retry")
@allow(Role.EDITOR)
def retry(run_id: str) -> Response:
    """From the step where it stopped."""
    view = runs.get(db.session(), current_actor(), run_id)
    return _again(run_id, from_step=timeline.last_step(view))


def _again(run_id: str, *, from_step: str | None, newest: bool = False) -> Response:
    with writing() as session:
        made = runs.replay(session, current_actor(), run_id, from_step=from_step, newest=newest)
        new_id = made.row.id
    core.current().doorbell.ring()
    flash("It runs again; this is the new run.", "success")
    return redirect(url_for("runs.show", run_id=new_id))


@blueprint.post("/runs/<run_id>/cancel")
@allow(Role.EDITOR)
def cancel(run_id: str) -> Response:
    with writing() as session:
        runs.cancel(session, current_actor(), run_id)
    flash("The run is canceled.", "success")
    return redirect(url_for("runs.show", run_id=run_id))
