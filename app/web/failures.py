"""Failures: what failed or is uncertain, grouped by cause, each with the button that mends it."""

from typing import Any, Final, cast, get_args

from flask import Blueprint, flash, redirect, request, url_for
from werkzeug.wrappers import Response

from app.database import db, writing
from app.engine import bulk_orders, core
from app.engine.bulk_orders import What
from app.errors import InvalidError
from app.models import BulkOrder, Role
from app.services import bulk_orders as orders
from app.services import failures
from app.services.access import Actor
from app.services.failures import Failure, Group
from app.web import live
from app.web.access import allow, current_actor
from app.web.task_parts import said

blueprint = Blueprint("failures", __name__)

# After a click so much is done at once; what is left, the next seconds' ticks do.
_AT_ONCE_S: Final = 0.5
_BEGUN: Final[dict[What, str]] = {
    "retry": "begun again from where it stopped",
    "replay": "begun again from the start",
    "newest": "begun again with the newest version",
    "dismiss": "dismissed",
    "done": "noted as done",
    "again": "done again",
    "skip": "skipped",
}


@blueprint.get("/failures")
@allow(Role.VIEWER)
def index() -> str:
    session, actor = db.session(), current_actor()
    desk = failures.desk(session, actor, core.current())
    under_way = orders.recent(session, actor)
    return live.page(
        "failures/index.html",
        "failures_live",
        groups=[_shown_group(group) for group in desk.groups],
        count=desk.count,
        complete=desk.complete,
        orders=[_shown_order(order) for order in under_way],
        goes_on=any(order.finished_at is None for order in under_way),
    )


def _shown_group(group: Group) -> dict[str, Any]:
    return {
        "key": group.key,
        "state": group.state,
        "count": group.count,
        "noun": group.kind,
        "cause": said(group.cause) or "Nobody wrote down why",
        "title": group.title,
        "integration": (group.newest[0].action or "").partition(".")[0] or None,
        "rule": {"id": group.rule_id, "name": group.rule} if group.rule_id and group.rule else None,
        "step": group.step if group.editable and group.way != "answer" else None,
        "connection": group.account,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "way": group.way,
        "may": orders.may(group),
        "upto": group.members[0],
        "newest": [_shown_failure(failure) for failure in group.newest],
    }


def _shown_failure(failure: Failure) -> dict[str, Any]:
    url = (
        url_for("runs.show", run_id=failure.id)
        if failure.kind == "run"
        else url_for("tasks.show", task_id=failure.id)
    )
    return {"id": failure.id, "url": url, "at": failure.at, "cause": said(failure.cause)}


def _shown_order(order: BulkOrder) -> dict[str, Any]:
    return {
        "id": order.id,
        "about": order.about,
        "words": _BEGUN[cast(What, order.what)],
        "done": order.done - order.skipped,
        "at": order.done,
        "total": order.total,
        "skipped": order.skipped,
        "cause": said(order.cause),
        "by": order.made_by_name,
        "created_at": order.created_at,
        "over": order.finished_at is not None,
    }


@blueprint.post("/failures/<group>")
@allow(Role.EDITOR)
def act(group: str) -> Response:
    """The same to all of a group, or to one of it."""
    what = request.form.get("what", "retry")
    if what not in get_args(What):
        raise InvalidError("say what is to be done with what failed")
    with writing() as session:
        order, repeated = orders.order(
            session,
            current_actor(),
            core.current(),
            key=group,
            what=cast(What, what),
            only=request.form.get("only") or None,
            upto=request.form.get("upto") or None,
        )
        order_id = order.id
    carry_out(order_id)
    flash(*_sentence(orders.get(db.session(), current_actor(), order_id), current_actor(), repeated=repeated))
    return redirect(url_for("failures.index"))


def carry_out(order_id: str) -> None:
    """The first part at once; then workers are told."""
    engine = core.current()
    bulk_orders.work(engine, seconds=_AT_ONCE_S, order_id=order_id)
    db.session.rollback()
    engine.doorbell.ring()


def _sentence(order: BulkOrder, actor: Actor, *, repeated: bool) -> tuple[str, str]:
    words = _BEGUN[cast(What, order.what)]
    who = "" if order.made_by == actor.user_id else f" by {order.made_by_name}"
    if repeated:
        return f"That was ordered before{who}; nothing is done twice.", "info"
    if order.finished_at is None:
        return f"{order.total:,} are {words}, a few at a time.", "info"
    done = order.done - order.skipped
    if not order.skipped:
        return f"{done:,} {'is' if done == 1 else 'are'} {words}.", "success"
    return f"{done:,} {words}, {order.skipped:,} not: {order.cause}.", "warning"
