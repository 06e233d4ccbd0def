"""What paid services cost: counted by connection and by rule, stopped at the limits people set."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from app import clock
from app.engine.commit import GroupCommit
from app.engine.memory import when_possible
from app.engine.upsert import upsert
from app.errors import UnavailableError
from app.models import Usage
from app.sdk.context import Limits
from app.sdk.errors import RejectedError, TemporaryError

log = structlog.get_logger()

# From here on each answer says how much is left.
WARN_FROM = 0.8
_UNITS = ("calls", "tokens", "micros")
_UNIQUE = ("workspace_id", "subject_id", "day")
_ENDS = {"day": "the day ends (UTC)", "month": "the month ends (UTC)"}


@dataclass(frozen=True, slots=True)
class _Subject:
    """A connection or a rule, and the most it may use."""

    id: str
    limits: Limits
    noun: str


@dataclass(frozen=True, slots=True)
class _Level:
    """How far one limit is used."""

    subject: _Subject
    unit: str
    period: str
    used: int
    limit: int

    @property
    def part(self) -> float:
        return self.used / self.limit if self.limit else 1.0

    def more(self) -> "_Level":
        """After one more call."""
        return _Level(self.subject, self.unit, self.period, self.used + (self.unit == "calls"), self.limit)

    def refusal(self) -> str:
        return (
            f"the limit of {_said(self.unit, self.limit)} a {self.period} of this {self.subject.noun} is reached; "
            f"raise it in the {self.subject.noun} or wait until {_ENDS[self.period]}"
        )

    def warning(self) -> str:
        used, limit = _said(self.unit, self.used, bare=True), _said(self.unit, self.limit)
        return f"{used} of {limit} a {self.period} of this {self.subject.noun} are used"


@dataclass(frozen=True, slots=True)
class _Verdict:
    """`first` holds those who come near a limit for the first time today."""

    refusal: str | None = None
    warning: str | None = None
    first: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UsageMeter:
    """See `app.sdk.context.Meter`. `rule_id` is None for a task from the API."""

    writer: GroupCommit
    workspace_id: str
    connection_id: str | None
    rule_id: str | None

    def reserve(self, connection: Limits, rule: Limits) -> str | None:
        """One transaction looks and counts, so that a thousand tasks at once stop at the limit, not near it."""
        asked = [
            _Subject(id, limits, noun)
            for id, limits, noun in (
                (self.connection_id, connection, "connection"),
                (self.rule_id, rule, "rule"),
            )
            if id
        ]
        try:
            verdict = self.writer.submit(lambda database: _reserve(database, self.workspace_id, asked))
        except UnavailableError as error:
            raise TemporaryError(str(error), sent=False) from error
        if verdict.refusal:
            raise RejectedError(verdict.refusal)
        for subject_id in verdict.first:
            log.warning("limit_is_near", subject=subject_id, said=verdict.warning)
        return verdict.warning

    def record(self, *, tokens: int, micros: int) -> None:
        subjects = [subject for subject in (self.connection_id, self.rule_id) if subject]
        used = {"tokens": tokens, "micros": micros}
        when_possible(
            lambda: self.writer.submit(lambda database: _record(database, self.workspace_id, subjects, used))
        )


def today() -> str:
    return clock.now().date().isoformat()


def _reserve(database: sa.Connection, workspace_id: str, asked: list[_Subject]) -> _Verdict:
    """A refusal is a value, not an error: an error would undo what other tasks write in the same commit."""
    for subject in asked:
        # Changes nothing, but locks the day's row, so that two workers do not both take the last call.
        _add(database, workspace_id, subject.id, calls=0)
    levels = [level for subject in asked for level in _levels(database, workspace_id, subject)]
    if reached := next((level for level in levels if level.used >= level.limit), None):
        return _Verdict(refusal=reached.refusal())
    for subject in asked:
        _add(database, workspace_id, subject.id, calls=1)
    near = [after for level in levels if (after := level.more()).part >= WARN_FROM]
    first = tuple(
        id for id in {level.subject.id for level in near} if _mark_warned(database, workspace_id, id)
    )
    nearest = max(near, key=lambda level: level.part, default=None)
    return _Verdict(warning=nearest.warning() if nearest else None, first=first)


def _record(database: sa.Connection, workspace_id: str, subjects: list[str], used: Mapping[str, int]) -> None:
    for subject_id in subjects:
        # The answer may come on the day after the call: then that day's row is made here.
        _add(database, workspace_id, subject_id, **used)


def _add(database: sa.Connection, workspace_id: str, subject_id: str, **more: int) -> None:
    row: dict[str, Any] = dict.fromkeys(_UNITS, 0) | more
    row |= {"workspace_id": workspace_id, "subject_id": subject_id, "day": today()}
    change = {unit: getattr(Usage, unit) + number for unit, number in more.items()}
    upsert(database, Usage, row, unique=_UNIQUE, change=change)


def _levels(database: sa.Connection, workspace_id: str, subject: _Subject) -> Iterator[_Level]:
    """Of each limit that is set."""
    day = today()
    columns = [getattr(Usage, unit) for unit in _UNITS]
    of_day = [sa.func.sum(sa.case((Usage.day == day, column), else_=0)) for column in columns]
    used = database.execute(
        sa.select(*of_day, *map(sa.func.sum, columns)).where(
            Usage.workspace_id == workspace_id, Usage.subject_id == subject.id, Usage.day >= day[:8] + "01"
        )
    ).one()
    asked = [(unit, period) for period in _ENDS for unit in _UNITS]
    for (unit, period), value in zip(asked, used, strict=True):
        limit = getattr(subject.limits, f"{unit}_a_{period}")
        if limit is not None:
            yield _Level(subject, unit, period, int(value or 0), limit)


def _mark_warned(database: sa.Connection, workspace_id: str, subject_id: str) -> bool:
    """Whether this is the first time today."""
    key = (Usage.workspace_id == workspace_id, Usage.subject_id == subject_id, Usage.day == today())
    first = sa.update(Usage).where(*key, Usage.warned_at.is_(None)).values(warned_at=clock.now())
    return database.execute(first).rowcount > 0


def _said(unit: str, number: int, *, bare: bool = False) -> str:
    """`$5.00`, `100 calls`; bare without the noun."""
    if unit == "micros":
        return f"${number / 1_000_000:,.2f}"
    return f"{number:,}" if bare else f"{number:,} {unit}"
