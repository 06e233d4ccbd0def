"""One event: what arrived, how often, and what it started."""

from typing import Any

from flask import Blueprint, Response, render_template

from app.database import db
from app.engine import core
from app.models import Role, Rule
from app.services import activity, events
from app.services.access import scoped
from app.services.events import EventView
from app.web.access import allow, current_actor
from app.web.clip import clipped
from app.web.tasks import download

blueprint = Blueprint("events", __name__)


@blueprint.get("/events/<event_id>")
@allow(Role.VIEWER)
def show(event_id: str) -> str:
    session, actor = db.session(), current_actor()
    view = events.get(session, actor, event_id)
    return render_template(
        "events/show.html",
        event=_shown(view),
        runs=[
            {
                "id": run.id,
                "rule": {"id": run.rule_id, "name": name},
                "state": run.state,
                "filtered": run.filtered_by is not None,
                "at": run.created_at,
            }
            for run, name in activity.runs_of(session, actor, event_id)
        ],
    )


def _shown(view: EventView) -> dict[str, Any]:
    row, data = view.row, clipped(view.data)
    return {
        "id": row.id,
        "at": row.received_at,
        "source": activity.trigger_title(core.current(), row.type),
        "type": row.type,
        "integration": row.type.partition(".")[0],
        "key": clipped(row.key),
        "duplicates": row.duplicates,
        "data": data,
        "cut": data != view.data,
        "rule": _rule(view.rule_id),
    }


def _rule(rule_id: str | None) -> dict[str, str] | None:
    row = db.session().scalar(scoped(Rule, current_actor()).where(Rule.id == rule_id)) if rule_id else None
    return {"id": row.id, "name": row.name} if row else None


@blueprint.get("/events/<event_id>/data.json")
@allow(Role.VIEWER)
def whole(event_id: str) -> Response:
    """All of its data, to keep."""
    return download(events.get(db.session(), current_actor(), event_id).data, f"{event_id}.json")
