"""What the workspace keeps: how much each rule takes, how long the budget lasts, and changing both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.engine import disk
from app.engine.core import Engine
from app.engine.removal import KEY_KEPT
from app.engine.retention import DELETE_FROM, STRIP_FROM
from app.errors import InvalidError
from app.models import Role, Rule, Storage, StorageSample, Workspace
from app.models.storage import API_TASKS, FILES, KEYS, OPEN
from app.services.access import Actor, audit, require
from app.services.processes import database_bytes

Pressure = Literal["none", "strip", "delete"]

MB: Final = 1024**2
LEAST_BUDGET_MB: Final = 10
MOST_BUDGET_MB: Final = 100 * 1024**2
_MOST: Final = {"keep_days": 36_500, "keep_runs": 1_000_000_000}
_LOOK_BACK: Final = timedelta(days=7)
_LEAST_SPAN: Final = timedelta(hours=2)
_DAY: Final = timedelta(days=1)
# Slower growth is none: it would take years.
_STANDSTILL: Final = 1 / 3650
_NAMES: Final = {
    API_TASKS: "Tasks from the API",
    FILES: "Files",
    KEYS: "Keys of past events",
    OPEN: "What goes on now (estimated)",
}


@dataclass(frozen=True, slots=True)
class Share:
    """One rule's, or that of what belongs to none; `rule_id` where it can be opened."""

    name: str
    rule_id: str | None
    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """`file_bytes` is the whole database's, of all workspaces; `trouble` what is the matter with its disk."""

    keep_days: int | None
    keep_runs: int | None
    budget_bytes: int
    used_bytes: int
    pressure: Pressure
    forecast: str
    shares: Sequence[Share]
    file_bytes: int
    database: str
    key_days: int
    trouble: str | None

    @property
    def part(self) -> float:
        return self.used_bytes / max(1, self.budget_bytes)


def standing(session: Session, actor: Actor, engine: Engine) -> Standing:
    row = session.get_one(Workspace, actor.workspace_id)
    shares = _shares(session, actor)
    used = max(0, sum(share.bytes for share in shares))
    level = used / max(1, row.budget_bytes)
    return Standing(
        keep_days=row.keep_days,
        keep_runs=row.keep_runs,
        budget_bytes=row.budget_bytes,
        used_bytes=used,
        pressure="delete" if level >= DELETE_FROM else ("strip" if level >= STRIP_FROM else "none"),
        forecast=forecast(_samples(session, actor), used, row.budget_bytes, keep_days=row.keep_days),
        shares=shares,
        file_bytes=database_bytes(session),
        database=session.get_bind().dialect.name,
        key_days=KEY_KEPT.days,
        trouble=disk.watch(engine.database).room().trouble,
    )


def change(session: Session, actor: Actor, values: Mapping[str, int | None]) -> Workspace:
    """`values` may hold keep_days and keep_runs (None: no limit) and budget_mb. Raises InvalidError."""
    require(actor, Role.ADMIN)
    problems = _problems(values)
    if problems:
        raise InvalidError("the storage settings do not fit", problems)
    row = session.get_one(Workspace, actor.workspace_id)
    wanted = {name: values[name] for name in _MOST if name in values}
    if (budget_mb := values.get("budget_mb")) is not None:
        wanted["budget_bytes"] = budget_mb * MB
    changed = {name: value for name, value in wanted.items() if getattr(row, name) != value}
    for name, value in changed.items():
        setattr(row, name, value)
    if changed:
        audit(session, actor, "changed what is kept", row.name, detail=changed)
    return row


def _problems(values: Mapping[str, int | None]) -> dict[str, str]:
    found = {}
    for name, most in _MOST.items():
        value = values.get(name)
        if value is not None and not 1 <= value <= most:
            found[name] = f"must be a whole number from 1 to {most:,}, or empty for no limit"
    if "budget_mb" in values:
        budget_mb = values["budget_mb"]
        if budget_mb is None or not LEAST_BUDGET_MB <= budget_mb <= MOST_BUDGET_MB:
            found["budget_mb"] = f"must be a whole number from {LEAST_BUDGET_MB} to {MOST_BUDGET_MB:,}"
    return found


def forecast(
    samples: Sequence[tuple[datetime, int]], used: int, budget: int, *, keep_days: int | None
) -> str:
    """When the budget is used up if it goes on as in the last days; `samples` are oldest first."""
    if used >= budget:
        return "The budget is used up; the oldest runs that have ended are removed."
    if used >= STRIP_FROM * budget:
        return "The budget is nearly used up; the data of the oldest runs are removed, their records stay."
    now = clock.now()
    if not samples or now - samples[0][0] < _LEAST_SPAN:
        return "Too early for a forecast; look again in a few hours."
    per_day = (used - samples[0][1]) / ((now - samples[0][0]) / _DAY)
    if per_day <= budget * _STANDSTILL:
        return "At this pace the budget is not reached."
    days = (budget - used) / per_day
    if keep_days is not None and days > keep_days:
        return f"At this pace the budget is not reached: what is older than {_days(keep_days)} goes before."
    return f"At this pace the budget is reached in {_days(round(days))}."


def _days(count: int) -> str:
    return "less than a day" if count < 1 else ("1 day" if count == 1 else f"{count:,} days")


def _shares(session: Session, actor: Actor) -> list[Share]:
    """The largest first."""
    rows = session.execute(
        sa.select(Storage.subject_id, Storage.count, Storage.bytes, Rule.name, Rule.deleted_at)
        .outerjoin(Rule, Rule.id == Storage.subject_id)
        .where(Storage.workspace_id == actor.workspace_id, Storage.count > 0)
        .order_by(Storage.bytes.desc(), Storage.subject_id)
    )
    return [_share(row) for row in rows]


def _share(row: Any) -> Share:
    subject_id, count, size, rule, deleted_at = row
    if subject_id in _NAMES:
        return Share(_NAMES[subject_id], None, count, size)
    if rule is None or deleted_at is not None:
        return Share(f"{rule or 'A rule'} (deleted)", None, count, size)
    return Share(rule, subject_id, count, size)


def _samples(session: Session, actor: Actor) -> list[tuple[datetime, int]]:
    rows = session.execute(
        sa.select(StorageSample.at, StorageSample.bytes)
        .where(StorageSample.workspace_id == actor.workspace_id, StorageSample.at >= clock.now() - _LOOK_BACK)
        .order_by(StorageSample.at)
    )
    return [(row.at, row.bytes) for row in rows]
