"""What the workspace keeps and takes, over the API."""

from typing import Annotated

from pydantic import Field

from app.api.edge import noun, operation
from app.api.fields import Body, Shown
from app.database import db, writing
from app.engine import core
from app.models import Role
from app.services import storage
from app.services.access import Actor

blueprint = noun("storage", __name__)

Number = Annotated[int, Field(ge=1)]


class StorageIn(Body):
    """What is not given stays as it is; null lifts a limit."""

    keep_days: Number | None = Field(None, description="how long runs that have ended are kept")
    keep_runs: Number | None = Field(None, description="how many of them at most")
    budget_mb: Number | None = Field(None, description="what the workspace may take of the database")


class ShareOut(Shown):
    """`rule` is null for what belongs to none."""

    name: str
    rule: str | None
    count: int
    bytes: int


class StorageOut(Shown):
    """`pressure`: none, strip (data of the oldest runs are removed), delete (the oldest runs are)."""

    keep_days: int | None
    keep_runs: int | None
    budget_bytes: int
    used_bytes: int
    pressure: storage.Pressure
    forecast: str
    shares: list[ShareOut]


@blueprint.get("/storage")
@operation(Role.VIEWER, tag="storage", answers=StorageOut)
def get(actor: Actor) -> StorageOut:
    """What the workspace keeps, and how much each rule takes."""
    return _out(actor)


@blueprint.patch("/storage")
@operation(Role.ADMIN, tag="storage", body=StorageIn, answers=StorageOut)
def update(actor: Actor, body: StorageIn) -> StorageOut:
    """Change what is kept."""
    with writing() as session:
        storage.change(session, actor, body.model_dump(exclude_unset=True))
    return _out(actor)


def _out(actor: Actor) -> StorageOut:
    found = storage.standing(db.session(), actor, core.current())
    return StorageOut(
        keep_days=found.keep_days,
        keep_runs=found.keep_runs,
        budget_bytes=found.budget_bytes,
        used_bytes=found.used_bytes,
        pressure=found.pressure,
        forecast=found.forecast,
        shares=[
            ShareOut(name=share.name, rule=share.rule_id, count=share.count, bytes=share.bytes)
            for share in found.shares
        ],
    )
