"""What each workspace keeps: so many days, so many runs, and no more of the database than its budget.

At nine tenths of the budget the data of the oldest heavy runs go, above the whole the oldest runs; only what has
ended, and never the key of an event that may still come again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import sqlalchemy as sa
import structlog

from app import clock, ids
from app.database import read_connection
from app.engine import choice, hold, removal, shrink, weights
from app.engine.batches import Stretch
from app.engine.core import Engine
from app.engine.removal import KEY_KEPT, Gone
from app.engine.upsert import upsert
from app.models import Event, Storage, SweepMark, Workspace

log = structlog.get_logger()

# Parts of the budget: from where on something is done, and to where.
STRIP_FROM: Final = 0.90
_STRIP_TO: Final = 0.85
DELETE_FROM: Final = 1.00
_DELETE_TO: Final = 0.97
_SAMPLES_AT_ONCE: Final = 500
_SAMPLES_MARK: Final = "samples"


@dataclass(slots=True)
class Place:
    """A workspace, what it may keep, and what it has."""

    id: str
    keep_days: int | None
    keep_runs: int | None
    budget_bytes: int
    used_bytes: int = 0
    runs: int = 0
    # Its share of a server that is over its own limit.
    server_level: float = 0.0

    @property
    def level(self) -> float:
        """1.0: the budget is used up."""
        return max(self.used_bytes / max(1, self.budget_bytes), self.server_level)

    def over(self, level: float) -> int:
        """How many bytes too many for that level."""
        whole = self.used_bytes / self.level if self.level else self.budget_bytes
        return max(0, int(self.used_bytes - level * whole))


@dataclass(slots=True)
class Round:
    """What one round has done."""

    weighed: int = 0
    stripped: Gone = field(default_factory=Gone)
    deleted: Gone = field(default_factory=Gone)
    keys: int = 0
    # Given back to the disk.
    pages: int = 0
    # Whether its time was over before its work.
    is_behind: bool = False

    @property
    def rows(self) -> int:
        return self.stripped.rows + self.deleted.rows + self.keys

    @property
    def is_quiet(self) -> bool:
        """Nothing is left to do."""
        return not (self.weighed or self.rows or self.pages)


def press(engine: Engine, *, seconds: float) -> Round:
    """One round, which ends after about `seconds`, or twice that where a budget is used up; the next goes on."""
    done, now = Round(), clock.now()
    if _is_held(engine):
        return done
    weighing = Stretch(engine, seconds / 2)
    done.weighed = weigh(weighing)
    found = sorted(places(engine), key=lambda place: place.level, reverse=True)
    too_much = any(place.level >= DELETE_FROM for place in found)
    stretch = Stretch(engine, seconds * 2 if too_much else seconds / 2)
    for place in found:
        _keep(stretch, place, done, now)
    done.keys = stretch.repeat(lambda connection, size: removal.forget_keys(connection, now, size))
    shrinking = Stretch(engine, seconds / 4)
    # Room that is made while more is needed is taken again at once.
    done.pages = 0 if stretch.is_cut_short else shrink.give_back(engine.database, shrinking)
    done.is_behind = weighing.is_cut_short or stretch.is_cut_short or shrinking.is_cut_short
    if done.rows:
        log.info("made_room", stripped=done.stripped.rows, deleted=done.deleted.rows, keys=done.keys)
    return done


def weigh(stretch: Stretch) -> int:
    """What has ended since it was last called; how many runs and tasks."""
    return stretch.repeat(weights.weigh_runs) + stretch.repeat(weights.weigh_tasks)


def places(engine: Engine) -> list[Place]:
    """Every workspace with what it has."""
    with read_connection(engine.database) as connection:
        rows = connection.execute(_PLACES).all()
        used = connection.execute(_USED).all()
    found = {row.id: Place(row.id, row.keep_days, row.keep_runs, row.budget_bytes) for row in rows}
    for row in used:
        place = found.get(row.workspace_id)
        if place is not None:
            place.used_bytes, place.runs = max(0, int(row.bytes)), int(row.runs)
    _share_server(engine, list(found.values()))
    return list(found.values())


def _share_server(engine: Engine, found: Sequence[Place]) -> None:
    limit = engine.config.storage_limit_mb * 1024**2
    total = sum(place.used_bytes for place in found)
    for place in found:
        place.server_level = total / limit if limit else 0.0


def _is_held(engine: Engine) -> bool:
    """Of a server restored from a backup nothing goes before a person has looked."""
    with read_connection(engine.database) as connection:
        return hold.held(connection)


def _keep(stretch: Stretch, place: Place, done: Round, now: datetime) -> None:
    """Hold one workspace to its days, its number of runs and its budget."""
    if place.keep_days is not None:
        until = now - timedelta(days=place.keep_days)
        done.deleted += _take(stretch, partial(_delete, place=place, now=now, until=until))
    if place.keep_runs is not None:
        too_many = place.runs - place.keep_runs
        done.deleted += _take(stretch, partial(_delete_runs, place=place, now=now), goal=too_many, by="rows")
    if place.level >= STRIP_FROM:
        _keep_budget(stretch, place, done, now)


def _keep_budget(stretch: Stretch, place: Place, done: Round, now: datetime) -> None:
    stripped = _take(stretch, partial(_strip, place=place, now=now), goal=place.over(_STRIP_TO))
    done.stripped += stripped
    place.used_bytes -= stripped.bytes
    if place.level >= DELETE_FROM:
        done.deleted += _take(stretch, partial(_delete, place=place, now=now), goal=place.over(_DELETE_TO))


# The connection, the most rows, and how many bytes (or rows) are still to go.
Batch = Callable[[sa.Connection, int, int | None], Gone]


def _take(stretch: Stretch, batch: Batch, *, goal: int | None = None, by: str = "bytes") -> Gone:
    """Batches until the goal is reached, nothing is found, or the time is over."""
    total = Gone()
    while stretch.goes_on(total.rows):
        left = None if goal is None else goal - int(getattr(total, by))
        if left is not None and left <= 0:
            break
        taken = stretch.write(partial(_call, batch, left))
        total += taken
        if not taken.rows:
            break
    return total


def _call(batch: Batch, left: int | None, connection: sa.Connection, size: int) -> Gone:
    return batch(connection, size, left)


def _strip(connection: sa.Connection, size: int, left: int | None, *, place: Place, now: datetime) -> Gone:
    chosen = choice.oldest(choice.heavy(connection, place.id, size), size, left)
    return _of_each(chosen, connection, now, runs=removal.strip_runs, tasks=removal.strip_tasks)


def _delete(
    connection: sa.Connection,
    size: int,
    left: int | None,
    *,
    place: Place,
    now: datetime,
    until: datetime | None = None,
) -> Gone:
    found = choice.ended(connection, place.id, size, now=now, until=until)
    chosen = choice.oldest(found, size, left)
    return _of_each(chosen, connection, now, runs=removal.delete_runs, tasks=_delete_tasks)


def _delete_runs(
    connection: sa.Connection, size: int, left: int | None, *, place: Place, now: datetime
) -> Gone:
    most = size if left is None else min(size, left)
    rows = choice.oldest(list(choice.ended_runs(connection, place.id, most)), most)
    return removal.delete_runs(connection, rows, now) if rows else Gone()


def _delete_tasks(connection: sa.Connection, rows: Sequence[Any], _now: datetime) -> Gone:
    return removal.delete_tasks(connection, rows)


Remove = Callable[[sa.Connection, Sequence[Any], datetime], Gone]


def _of_each(
    chosen: Sequence[Any], connection: sa.Connection, now: datetime, *, runs: Remove, tasks: Remove
) -> Gone:
    done = Gone()
    for prefix, remove in (("run_", runs), ("tsk_", tasks)):
        if rows := [row for row in chosen if row.id.startswith(prefix)]:
            done += remove(connection, rows, now)
    return done


def sweep_samples(connection: sa.Connection, now: datetime) -> int:
    """Events that were received only for their values go with the workspace's days; some of them at each call."""
    upto = connection.scalar(sa.select(SweepMark.upto).where(SweepMark.name == _SAMPLES_MARK)) or ""
    before = ids.least("evt", now - KEY_KEPT)
    rows = connection.execute(_LOOKED_AT, {"upto": upto, "before": before}).all()
    due = [row.id for row in rows if row.keep_days is not None and _is_past(row, now)]
    mark = {"name": _SAMPLES_MARK, "upto": rows[-1].id if rows else ""}
    upsert(connection, SweepMark, mark, unique=["name"], change={"upto": mark["upto"]})
    return removal.forget_samples(connection, due, now) if due else 0


def _is_past(row: Any, now: datetime) -> bool:
    return row.removed_at is None and row.received_at < now - timedelta(days=row.keep_days)


_PLACES = sa.select(Workspace.id, Workspace.keep_days, Workspace.keep_runs, Workspace.budget_bytes)
_USED = sa.select(
    Storage.workspace_id,
    sa.func.sum(Storage.bytes).label("bytes"),
    sa.func.sum(sa.case((Storage.subject_id.like("rul~_%", escape="~"), Storage.count), else_=0)).label(
        "runs"
    ),
).group_by(Storage.workspace_id)

_LOOKED_AT = (
    sa.select(Event.id, Event.received_at, Event.removed_at, Workspace.keep_days)
    .join(Workspace, Workspace.id == Event.workspace_id)
    .where(Event.id > sa.bindparam("upto"), Event.id < sa.bindparam("before"))
    .order_by(Event.id)
    .limit(_SAMPLES_AT_ONCE)
)
