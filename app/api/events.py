"""Events over the API: what happened, as it arrived."""

from app.api.edge import noun, operation
from app.api.fields import Id, List, Spanned
from app.api.shapes import EventOut, event_out
from app.database import db
from app.models import Role
from app.services import events
from app.services.access import Actor
from app.services.events import EventFilter

blueprint = noun("events", __name__)


class EventsQuery(Spanned):
    rule: Id | None = None


@blueprint.get("/events")
@operation(Role.VIEWER, tag="events", query=EventsQuery, answers=List[EventOut])
def listing(actor: Actor, query: EventsQuery) -> List[EventOut]:
    """Events, newest first."""
    wanted = EventFilter(rule_id=query.rule, text=query.text, since=query.since, until=query.until)
    page = events.listing(db.session(), actor, wanted, cursor=query.cursor, limit=query.limit)
    return List(items=[event_out(view) for view in page.items], next_cursor=page.next_cursor)


@blueprint.get("/events/<event_id>")
@operation(Role.VIEWER, tag="events", answers=EventOut)
def get(actor: Actor, event_id: str) -> EventOut:
    """An event with its data and the runs it started."""
    return event_out(events.get(db.session(), actor, event_id))
