"""What paid services were used: calls, tokens and money of this day and month, against the limits set for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import meter
from app.engine.core import Engine
from app.models import Connection, Rule, Usage
from app.sdk.ai import Allowance
from app.sdk.context import Limits
from app.services.access import Actor, scoped

Kind = Literal["connection", "rule"]
UNITS = ("calls", "tokens", "micros")


@dataclass(frozen=True, slots=True)
class Level:
    """Of one unit in one period; no limit: None."""

    used: int
    limit: int | None

    @property
    def part(self) -> float | None:
        if self.limit is None:
            return None
        return self.used / self.limit if self.limit else 1.0


@dataclass(frozen=True, slots=True)
class Use:
    """A connection's or a rule's; `day` and `month` hold a level for each of UNITS."""

    id: str
    kind: Kind
    name: str
    day: Mapping[str, Level]
    month: Mapping[str, Level]


def listing(session: Session, actor: Actor, engine: Engine) -> list[Use]:
    """Connections first; those that were used this month, or that have a limit."""
    day = meter.today()
    used = {row.subject_id: row for row in session.execute(_sums(actor, day))}
    connections = [
        _use(row, "connection", used.get(row.id), limits)
        for row in session.scalars(scoped(Connection, actor).order_by(sa.func.lower(Connection.name)))
        if (limits := _limits(engine, row)) != Limits() or row.id in used
    ]
    # A rule's limits stand in its steps, each for itself.
    rules = scoped(Rule, actor).where(Rule.id.in_(list(used))).order_by(sa.func.lower(Rule.name))
    return connections + [_use(row, "rule", used[row.id], Limits()) for row in session.scalars(rules)]


def _sums(actor: Actor, day: str) -> Any:
    columns = {unit: getattr(Usage, unit) for unit in UNITS}
    of_day = [
        sa.func.sum(sa.case((Usage.day == day, column), else_=0)).label(f"{unit}_a_day")
        for unit, column in columns.items()
    ]
    of_month = [sa.func.sum(column).label(f"{unit}_a_month") for unit, column in columns.items()]
    return (
        sa.select(Usage.subject_id, *of_day, *of_month)
        .where(Usage.workspace_id == actor.workspace_id, Usage.day >= day[:8] + "01")
        .group_by(Usage.subject_id)
    )


def _limits(engine: Engine, row: Connection) -> Limits:
    integration = engine.catalogue.integrations.get(row.integration)
    model = integration.settings if integration else None
    if model is None or not issubclass(model, Allowance):
        return Limits()
    # The limits alone: the rest of the account, with its secrets, stays closed.
    given = {name: value for name, value in row.settings.items() if name in Allowance.model_fields}
    return Allowance.model_validate(given).limits()


def _use(row: Connection | Rule, kind: Kind, used: Any, limits: Limits) -> Use:
    def levels(period: str) -> dict[str, Level]:
        return {
            unit: Level(
                int(getattr(used, f"{unit}_a_{period}", 0) or 0), getattr(limits, f"{unit}_a_{period}")
            )
            for unit in UNITS
        }

    return Use(row.id, kind, row.name, levels("day"), levels("month"))
