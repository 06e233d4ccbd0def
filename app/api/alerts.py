"""What a person was told of, over the API."""

from app.api.edge import noun, operation
from app.api.fields import Instant, List, Paged, Shown
from app.database import db, writing
from app.models import AlertKind, Role
from app.services import alerts
from app.services.access import Actor

blueprint = noun("alerts", __name__)


class AlertOut(Shown):
    """`subject` is the rule or the connection it is about; `more`: how often the same was found after it.

    `over_at` is null while it lasts. `task` sends it to you; null where it is only shown.
    """

    id: str
    kind: AlertKind
    title: str
    sentence: str
    subject: str | None
    more: int
    at: Instant
    over_at: Instant | None
    read: bool
    task: str | None


@blueprint.get("/alerts")
@operation(Role.VIEWER, tag="alerts", query=Paged, answers=List[AlertOut])
def listing(actor: Actor, query: Paged) -> List[AlertOut]:
    """What you were told of, newest first."""
    page = alerts.listing(db.session(), actor, cursor=query.cursor, limit=query.limit)
    return List(items=[_out(told) for told in page.items], next_cursor=page.next_cursor)


@blueprint.post("/alerts/<alert_id>/read")
@operation(Role.VIEWER, tag="alerts", answers=AlertOut)
def read(actor: Actor, alert_id: str) -> AlertOut:
    """Mark one as read, for yourself."""
    with writing() as session:
        return _out(alerts.mark_read(session, actor, alert_id))


def _out(told: alerts.Told) -> AlertOut:
    row = told.row
    return AlertOut(
        id=row.id,
        kind=row.kind,
        title=row.title,
        sentence=row.sentence,
        subject=row.subject_id,
        more=row.more,
        at=row.at,
        over_at=row.over_at,
        read=told.read,
        task=told.task_id,
    )
