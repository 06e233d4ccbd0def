"""Home: what needs somebody, what ran today, and the first steps of a new workspace."""

from typing import Any, Final

from flask import Blueprint, url_for

from app.database import db
from app.engine import core
from app.models import Role, State
from app.services import activity, alerts, overview, processes, today
from app.services.activity import Wanted
from app.services.overview import Need
from app.services.runs import FILTERED
from app.services.today import Tally
from app.web import live
from app.web.access import allow, current_actor
from app.web.alerts import shown as shown_alert
from app.web.filters import zone
from app.web.task_parts import said

blueprint = Blueprint("home", __name__)

_RECENT: Final = 5
_OPEN: Final = (State.QUEUED, State.RUNNING, State.WAITING, State.UNCERTAIN)


@blueprint.get("/")
@allow(Role.VIEWER)
def index() -> str:
    session, actor, engine = db.session(), current_actor(), core.current()
    day = today.today(session, actor, zone())
    return live.page(
        "home/index.html",
        "home_live",
        needs=[_shown_need(need) for need in overview.needs(session, actor, engine)],
        alerts=[shown_alert(told) for told in alerts.unread(session, actor)],
        workers=processes.workers(session),
        today=day.counts,
        hours=day.hours,
        complete=day.complete,
        rules=[_shown_tally(tally) for tally in day.tallies],
        recent=activity.listing(session, actor, engine, Wanted(), limit=_RECENT).items,
        start=overview.start(session, actor),
    )


def _shown_need(need: Need) -> dict[str, Any]:
    title, url, action = _words(need)
    icon = {"trigger": "warning", "failed_tasks": "failed"}.get(need.kind, need.kind)
    return {
        "kind": icon,
        "title": title,
        "text": said(need.cause) or "",
        "at": need.at,
        "url": url,
        "action": action,
    }


def _words(need: Need) -> tuple[str, str, str]:
    """Its title, where to go, and what that link says."""
    if need.kind == "uncertain":
        return f"{need.name}: was it done?", url_for("tasks.show", task_id=need.id), "Answer"
    if need.kind == "failed":
        return _failed(need)
    if need.kind == "failed_tasks":
        many = (
            "A task from the API failed" if need.count == 1 else f"{need.count:,} tasks from the API failed"
        )
        return many, url_for("tasks.show", task_id=need.id), "Look at the last"
    if need.kind == "broken":
        held = (
            f"; {need.count:,} {'task waits' if need.count == 1 else 'tasks wait'} for it"
            if need.count
            else ""
        )
        url = url_for("connections.edit", connection_id=need.id)
        return f"The connection {need.name} is broken{held}", url, "Connect again"
    return f"{need.name} cannot be started", url_for("rules.show", rule_id=need.id), "Open the rule"


def _failed(need: Need) -> tuple[str, str, str]:
    if need.count == 1:
        return f"{need.name} failed", url_for("runs.show", run_id=need.id), "See why"
    url = url_for("runs.index", rule=need.rule_id, state="failed")
    return f"{need.name} failed {need.count:,} times", url, "See them"


def _shown_tally(tally: Tally) -> dict[str, Any]:
    return {
        "id": tally.id,
        "name": tally.name,
        "succeeded": tally.counts.get("succeeded", 0),
        "failed": tally.counts.get("failed", 0),
        "filtered": tally.counts.get(FILTERED, 0),
        "open": sum(tally.counts.get(state, 0) for state in _OPEN),
        "last_at": tally.last_at,
    }
