"""Runs over the API: what each did, doing it again, stopping it."""

from typing import Literal, get_args

from pydantic import Field

from app.api.edge import noun, operation
from app.api.fields import Body, Id, List, Spanned
from app.api.shapes import RunOut, WholeRunOut, run_out, whole_run_out
from app.database import db, writing
from app.engine import core
from app.models import Role
from app.services import runs
from app.services.access import Actor
from app.services.runs import RunFilter

blueprint = noun("runs", __name__)

RunState = Literal["queued", "running", "waiting", "uncertain", "succeeded", "failed", "canceled", "filtered"]
STATES = get_args(RunState)


class RunsQuery(Spanned):
    state: RunState | None = None
    rule: Id | None = None


class ReplayIn(Body):
    """`from_step`: keep what the steps before it gave. `newest`: by the rule's newest version, not its own."""

    from_step: str | None = Field(None, max_length=100)
    newest: bool = False


@blueprint.get("/runs")
@operation(Role.VIEWER, tag="runs", query=RunsQuery, answers=List[RunOut])
def listing(actor: Actor, query: RunsQuery) -> List[RunOut]:
    """Runs, newest first."""
    wanted = RunFilter(
        state=query.state, rule_id=query.rule, text=query.text, since=query.since, until=query.until
    )
    page = runs.listing(db.session(), actor, wanted, cursor=query.cursor, limit=query.limit)
    return List(items=[run_out(view) for view in page.items], next_cursor=page.next_cursor)


@blueprint.get("/runs/<run_id>")
@operation(Role.VIEWER, tag="runs", answers=WholeRunOut)
def get(actor: Actor, run_id: str) -> WholeRunOut:
    """A run with its tasks, in the order of the steps."""
    return whole_run_out(runs.get(db.session(), actor, run_id))


@blueprint.post("/runs/<run_id>/replay")
@operation(Role.EDITOR, tag="runs", body=ReplayIn, answers=WholeRunOut, status=202)
def replay(actor: Actor, run_id: str, body: ReplayIn) -> WholeRunOut:
    """Run the same event again, as a new run."""
    engine = core.current()
    with writing() as session:
        made = runs.replay(session, actor, run_id, from_step=body.from_step, newest=body.newest)
        shown = whole_run_out(made)
    engine.doorbell.ring()
    return shown


@blueprint.post("/runs/<run_id>/cancel")
@operation(Role.EDITOR, tag="runs", answers=WholeRunOut)
def cancel(actor: Actor, run_id: str) -> WholeRunOut:
    """Stop a run; what has been done stays done."""
    with writing() as session:
        return whole_run_out(runs.cancel(session, actor, run_id))
