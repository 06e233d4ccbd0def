"""Tasks over the API: enqueue, look at, cancel, retry, resolve; and the two short names."""

from typing import Literal

from flask import Blueprint, request
from pydantic import Field

from app.api.edge import noun, operation
from app.api.fields import Body, Id, Json, List, Moment, QueueName, Shown, Spanned, Text
from app.api.shapes import TaskOut, WholeTaskOut, task_out, whole_task_out
from app.database import db, writing
from app.engine import core, policy
from app.models import Role, State
from app.models.queue import DEFAULT_QUEUE
from app.services import orders, tasks
from app.services.access import Actor
from app.services.orders import Order
from app.services.tasks import TaskFilter

blueprint = noun("tasks", __name__, prefix="")

_WORST, _BEST = -1000, 1000


class NewTaskIn(Body):
    """`params` are taken literally: a template in them is text. With `run_at` it waits until then."""

    action: str = Field(
        min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.:-]+$", examples=["http.request"]
    )
    connection: Id | None = None
    params: dict[str, Json] = Field({})
    queue: QueueName = DEFAULT_QUEUE
    priority: int = Field(0, ge=_WORST, le=_BEST)
    run_at: Moment | None = None
    max_attempts: int = Field(policy.MAX_ATTEMPTS, ge=1, le=50)


class Enqueueing(Body):
    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        max_length=orders.LONGEST_KEY,
        description="the same key and body give the same answer and no second task",
    )


class EnqueuedOut(Shown):
    id: str
    state: State
    status_url: str


class TasksQuery(Spanned):
    state: State | None = None
    action: Text | None = None
    queue: Text | None = None
    run: Id | None = None


class ResolutionIn(Body):
    """done: it was done, go on · again: do it again · skip: it was not done, go on without."""

    resolution: Literal["done", "again", "skip"]


def enqueue(actor: Actor, body: NewTaskIn) -> EnqueuedOut:
    """Enqueue a task.

    It is on disk when this is answered. See what became of it at `status_url`.
    """
    engine = core.current()
    order = Order(**dict(body))
    taken = orders.take(db.session(), engine, actor, order, key=request.headers.get("Idempotency-Key"))
    return EnqueuedOut(
        id=taken.task_id, state=taken.state, status_url=f"{engine.config.public_url}/status/{taken.task_id}"
    )


def status(actor: Actor, task_id: str) -> WholeTaskOut:
    """What became of a task, with each of its attempts."""
    return whole_task_out(tasks.get(db.session(), actor, task_id))


def _mount(made: Blueprint) -> None:
    """Each of the two stands at two addresses."""
    new = {"tag": "tasks", "body": NewTaskIn, "headers": Enqueueing, "answers": EnqueuedOut, "status": 202}
    for address, endpoint in (("/api/v1/tasks", "create"), ("/enqueue", "enqueue")):
        view = operation(Role.EDITOR, name=endpoint, **new)(enqueue)  # type: ignore[arg-type]
        made.add_url_rule(address, endpoint, view, methods=["POST"])
    for address, endpoint in (("/api/v1/tasks/<task_id>", "get"), ("/status/<task_id>", "status")):
        view = operation(Role.VIEWER, name=endpoint, tag="tasks", answers=WholeTaskOut)(status)
        made.add_url_rule(address, endpoint, view, methods=["GET"])


_mount(blueprint)


@blueprint.get("/api/v1/tasks")
@operation(Role.VIEWER, tag="tasks", query=TasksQuery, answers=List[TaskOut])
def listing(actor: Actor, query: TasksQuery) -> List[TaskOut]:
    """Tasks, newest first: those enqueued here and those of rules."""
    wanted = TaskFilter(
        state=query.state,
        action=query.action,
        queue=query.queue,
        run_id=query.run,
        text=query.text,
        since=query.since,
        until=query.until,
    )
    page = tasks.listing(db.session(), actor, wanted, cursor=query.cursor, limit=query.limit)
    return List(items=[task_out(view) for view in page.items], next_cursor=page.next_cursor)


@blueprint.post("/api/v1/tasks/<task_id>/cancel")
@operation(Role.EDITOR, tag="tasks", answers=WholeTaskOut)
def cancel(actor: Actor, task_id: str) -> WholeTaskOut:
    """Cancel a task that has not ended."""
    with writing() as session:
        return whole_task_out(tasks.cancel(session, actor, task_id))


@blueprint.post("/api/v1/tasks/<task_id>/retry")
@operation(Role.EDITOR, tag="tasks", answers=WholeTaskOut, status=202)
def retry(actor: Actor, task_id: str) -> WholeTaskOut:
    """Do a failed task again, as a new task."""
    engine = core.current()
    with writing() as session:
        shown = whole_task_out(tasks.retry(session, actor, engine, task_id))
    engine.doorbell.ring()
    return shown


@blueprint.post("/api/v1/tasks/<task_id>/resolve")
@operation(Role.EDITOR, tag="tasks", body=ResolutionIn, answers=WholeTaskOut)
def resolve(actor: Actor, task_id: str, body: ResolutionIn) -> WholeTaskOut:
    """Say what happened to an uncertain task."""
    engine = core.current()
    with writing() as session:
        shown = whole_task_out(tasks.resolve(session, actor, task_id, body.resolution))
    engine.doorbell.ring()
    return shown
