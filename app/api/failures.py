"""Failures over the API: what failed alike, and doing the same to all of it, once however often it is asked."""

from typing import Literal, cast

from app.api.edge import noun, operation
from app.api.fields import Body, Id, Instant, Shown
from app.database import db, writing
from app.engine import bulk_orders, core
from app.engine.bulk_orders import What
from app.models import BulkOrder, Role, State
from app.services import bulk_orders as orders
from app.services import failures
from app.services.access import Actor
from app.services.failures import Group

blueprint = noun("failures", __name__)

_AT_ONCE_S = 0.5


class FailuresOut(Shown):
    """Runs (or tasks of the API) that failed, or are uncertain, alike. `cause` has … where theirs differ.

    `newest` holds the newest ids of the group; `may` says what can be done with all of them.
    """

    id: str
    state: State
    count: int
    cause: str
    rule: str | None
    step: str | None
    action: str | None
    connection: str | None
    first_at: Instant
    last_at: Instant
    newest: list[str]
    may: list[str]


class FailureGroupsOut(Shown):
    """`complete` is false where there are more failures than the newest 5,000, which are looked at."""

    items: list[FailuresOut]
    complete: bool


class ReplayAllIn(Body):
    """retry: from where it stopped · replay: from the start · newest: from the start, by the newest version.

    `upto`: leave out what failed after this one; `only`: this one alone.
    """

    what: Literal["retry", "replay", "newest"] = "retry"
    upto: Id | None = None
    only: Id | None = None


class ResolveAllIn(Body):
    """done: it was done, go on · again: do it again · skip: it was not done, go on without."""

    resolution: Literal["done", "again", "skip"]
    upto: Id | None = None
    only: Id | None = None


class DismissAllIn(Body):
    """Leaves them out of the list; they stay failed."""

    upto: Id | None = None
    only: Id | None = None


class OrderOut(Shown):
    """`done` of `total` are through; `skipped` of them could not be done, the last for `cause`."""

    id: str
    what: str
    total: int
    done: int
    skipped: int
    cause: str | None
    created_at: Instant
    finished_at: Instant | None


@blueprint.get("/failures")
@operation(Role.VIEWER, tag="failures", answers=FailureGroupsOut)
def listing(actor: Actor) -> FailureGroupsOut:
    """What failed and nobody has seen to, grouped by what is alike; the newest group first."""
    desk = failures.desk(db.session(), actor, core.current())
    return FailureGroupsOut(items=[_group_out(group) for group in desk.groups], complete=desk.complete)


@blueprint.post("/failures/<group>/replay")
@operation(Role.EDITOR, tag="failures", body=ReplayAllIn, answers=OrderOut, status=202)
def replay(actor: Actor, group: str, body: ReplayAllIn) -> OrderOut:
    """Do all of a group again. What was ordered before is answered with that order."""
    return _ordered(actor, group, body.what, body)


@blueprint.post("/failures/<group>/resolve")
@operation(Role.EDITOR, tag="failures", body=ResolveAllIn, answers=OrderOut, status=202)
def resolve(actor: Actor, group: str, body: ResolveAllIn) -> OrderOut:
    """Say what happened to all of a group that is uncertain."""
    return _ordered(actor, group, body.resolution, body)


@blueprint.post("/failures/<group>/dismiss")
@operation(Role.EDITOR, tag="failures", body=DismissAllIn, answers=OrderOut, status=202)
def dismiss(actor: Actor, group: str, body: DismissAllIn) -> OrderOut:
    """Put all of a group aside."""
    return _ordered(actor, group, "dismiss", body)


@blueprint.get("/failures/orders/<order_id>")
@operation(Role.VIEWER, tag="failures", answers=OrderOut)
def order(actor: Actor, order_id: str) -> OrderOut:
    """How far an order has got."""
    return _order_out(orders.get(db.session(), actor, order_id))


def _ordered(
    actor: Actor, group: str, what: str, body: ReplayAllIn | ResolveAllIn | DismissAllIn
) -> OrderOut:
    engine = core.current()
    with writing() as session:
        given, _ = orders.order(
            session, actor, engine, key=group, what=cast(What, what), only=body.only, upto=body.upto
        )
        order_id = given.id
    bulk_orders.work(engine, seconds=_AT_ONCE_S, order_id=order_id)
    engine.doorbell.ring()
    db.session.rollback()
    return _order_out(orders.get(db.session(), actor, order_id))


def _group_out(group: Group) -> FailuresOut:
    newest = group.newest[0]
    return FailuresOut(
        id=group.key,
        state=group.state,
        count=group.count,
        cause=group.cause,
        rule=group.rule_id,
        step=group.step,
        action=newest.action,
        connection=group.account.id if group.account else None,
        first_at=group.first_at,
        last_at=group.last_at,
        newest=[failure.id for failure in group.newest],
        may=list(orders.may(group)),
    )


def _order_out(row: BulkOrder) -> OrderOut:
    return OrderOut(
        id=row.id,
        what=row.what,
        total=row.total,
        done=row.done,
        skipped=row.skipped,
        cause=row.cause,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
