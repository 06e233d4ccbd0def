"""Queues over the API: their limits, their pause, and the lease of tasks to your own programs."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, model_validator

from app.api.edge import noun, operation
from app.api.fields import Body, Instant, Json, List, Paged, QueueName, Shown, Text
from app.api.shapes import WholeTaskOut, whole_task_out
from app.database import db, writing
from app.engine import core
from app.models import Role
from app.services import leases, queues
from app.services.access import Actor
from app.services.paging import slice_of
from app.services.queues import QueueView

blueprint = noun("queues", __name__)

Priority = Annotated[int, Field(ge=-1000, le=1000)]
Count = Annotated[int, Field(ge=1, le=100_000)]
LeaseSeconds = Annotated[int, Field(ge=1, le=43_200)]


class _Limits(Body):
    concurrency: Count | None = Field(None, description="at most so many at once; null: no limit")
    rate_count: Count | None = Field(None, description="at most so many started in any rate_period_s seconds")
    rate_period_s: Annotated[int, Field(ge=1, le=86_400)] | None = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "_Limits":
        given = {
            name: getattr(self, name)
            for name in ("rate_count", "rate_period_s")
            if name in self.model_fields_set
        }
        if len({value is None for value in given.values()}) > 1 or len(given) == 1:
            raise ValueError("rate_count and rate_period_s go together")
        return self


class QueueIn(_Limits):
    """`external`: its tasks are leased by your own programs; any action name goes."""

    name: QueueName
    priority: Priority = 0
    external: bool = False


class QueueChangeIn(_Limits):
    name: QueueName | None = None
    priority: Priority | None = None


class QueueOut(Shown):
    """`waiting` could start now, `later` have a due time; `oldest_at` is the longest waiting one's."""

    id: str
    name: str
    paused: bool
    external: bool
    priority: int
    concurrency: int | None
    rate_count: int | None
    rate_period_s: int | None
    waiting: int
    later: int
    running: int
    oldest_at: Instant | None
    done_per_minute: int


class LeaseIn(Body):
    limit: int = Field(1, ge=1, le=100)
    lease_s: LeaseSeconds = 60


class LeasedOut(Shown):
    """`lease` proves that the task is yours; send it with ack, nack and extend."""

    id: str
    lease: int
    action: str | None
    run: str | None
    step: str | None
    params: Json
    attempt: int
    max_attempts: int
    lease_until: Instant


class LeasesOut(Shown):
    items: list[LeasedOut]


class AckIn(Body):
    lease: int = Field(ge=1, le=2**31)
    output: dict[str, Json] = Field({})


class NackIn(Body):
    """Not done: tried again after `after_s` (or the usual pause), or given up with `final`."""

    lease: int = Field(ge=1, le=2**31)
    cause: Text = "your program gave it back"
    after_s: int | None = Field(None, ge=0, le=86_400)
    final: bool = False


class ExtendIn(Body):
    lease: int = Field(ge=1, le=2**31)
    lease_s: LeaseSeconds = 60


class ExtendedOut(Shown):
    id: str
    lease_until: Instant


def _out(view: QueueView) -> QueueOut:
    return QueueOut(**{name: getattr(view, name) for name in QueueOut.model_fields})


@blueprint.get("/queues")
@operation(Role.VIEWER, tag="queues", query=Paged, answers=List[QueueOut])
def listing(actor: Actor, query: Paged) -> List[QueueOut]:
    """Queues and how they stand."""
    found = queues.stats(db.session(), actor)
    page = slice_of(found, query.cursor, query.limit, row_id=lambda view: view.id)
    return List(items=[_out(view) for view in page.items], next_cursor=page.next_cursor)


@blueprint.post("/queues")
@operation(Role.EDITOR, tag="queues", body=QueueIn, answers=QueueOut, status=201)
def create(actor: Actor, body: QueueIn) -> QueueOut:
    """Make a queue."""
    with writing() as session:
        queues.create(session, actor, **body.model_dump())
        return _out(queues.get(session, actor, body.name))


@blueprint.get("/queues/<name>")
@operation(Role.VIEWER, tag="queues", answers=QueueOut)
def get(actor: Actor, name: str) -> QueueOut:
    """A queue and how it stands."""
    return _out(queues.get(db.session(), actor, name))


@blueprint.patch("/queues/<name>")
@operation(Role.EDITOR, tag="queues", body=QueueChangeIn, answers=QueueOut)
def update(actor: Actor, name: str, body: QueueChangeIn) -> QueueOut:
    """Change a queue; what is left out stays."""
    changes = body.model_dump(exclude_unset=True)
    wanted = {
        key: value for key, value in changes.items() if value is not None or key not in {"name", "priority"}
    }
    return _changed(lambda session: queues.update(session, actor, name, wanted), actor, ring=True)


@blueprint.delete("/queues/<name>")
@operation(Role.EDITOR, tag="queues", status=204)
def delete(actor: Actor, name: str) -> None:
    """Delete a queue that holds no unfinished task."""
    with writing() as session:
        queues.delete(session, actor, name)


@blueprint.post("/queues/<name>/pause")
@operation(Role.EDITOR, tag="queues", answers=QueueOut)
def pause(actor: Actor, name: str) -> QueueOut:
    """Let no further task of it start."""
    return _changed(lambda session: queues.pause(session, actor, name), actor)


@blueprint.post("/queues/<name>/resume")
@operation(Role.EDITOR, tag="queues", answers=QueueOut)
def resume(actor: Actor, name: str) -> QueueOut:
    """Let its tasks start again."""
    return _changed(lambda session: queues.resume(session, actor, name), actor, ring=True)


@blueprint.post("/queues/<name>/lease")
@operation(Role.EDITOR, tag="queues", body=LeaseIn, answers=LeasesOut)
def lease(actor: Actor, name: str, body: LeaseIn) -> LeasesOut:
    """Take tasks of an external queue for your own program.

    A task that is neither acked, nacked nor extended within `lease_s` seconds goes to the next who asks.
    """
    with writing() as session:
        taken = leases.lease(session, actor, core.current(), name, limit=body.limit, lease_s=body.lease_s)
    return LeasesOut(
        items=[LeasedOut(**{key: getattr(each, key) for key in LeasedOut.model_fields}) for each in taken]
    )


@blueprint.post("/tasks/<task_id>/ack")
@operation(Role.EDITOR, tag="queues", body=AckIn, answers=WholeTaskOut)
def ack(actor: Actor, task_id: str, body: AckIn) -> WholeTaskOut:
    """A leased task is done."""
    engine = core.current()
    with writing() as session:
        shown = whole_task_out(leases.ack(session, actor, task_id, lease=body.lease, output=body.output))
    engine.doorbell.ring()
    return shown


@blueprint.post("/tasks/<task_id>/nack")
@operation(Role.EDITOR, tag="queues", body=NackIn, answers=WholeTaskOut)
def nack(actor: Actor, task_id: str, body: NackIn) -> WholeTaskOut:
    """A leased task could not be done."""
    with writing() as session:
        view = leases.nack(
            session,
            actor,
            task_id,
            lease=body.lease,
            cause=body.cause,
            after_s=body.after_s,
            final=body.final,
        )
        return whole_task_out(view)


@blueprint.post("/tasks/<task_id>/extend")
@operation(Role.EDITOR, tag="queues", body=ExtendIn, answers=ExtendedOut)
def extend(actor: Actor, task_id: str, body: ExtendIn) -> ExtendedOut:
    """Keep a leased task for longer, from now."""
    with writing() as session:
        until = leases.extend(session, actor, task_id, lease=body.lease, lease_s=body.lease_s)
    return ExtendedOut(id=task_id, lease_until=until)


def _changed(change: Callable[[Any], Any], actor: Actor, *, ring: bool = False) -> QueueOut:
    with writing() as session:
        row = change(session)
        shown = _out(queues.get(session, actor, row.name))
    if ring:
        core.current().doorbell.ring()
    return shown
