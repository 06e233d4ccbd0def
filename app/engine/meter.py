"""What paid services cost: counted by connection and by rule, stopped at the limits people set."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine.commit import GroupCommit
from app.models import Usage
from app.sdk.context import Limits
from app.sdk.errors import RejectedError


@dataclass(frozen=True, slots=True)
class UsageMeter:
    """See `app.sdk.context.Meter`. `rule_id` is None for a task from the API."""

    writer: GroupCommit
    workspace_id: str
    connection_id: str | None
    rule_id: str | None

    def reserve(self, connection: Limits, rule: Limits) -> None:
        """One transaction looks and counts, so that a thousand tasks at once stop at the limit, not near it."""
        asked = [(self.connection_id, connection, "connection"), (self.rule_id, rule, "rule")]
        self.writer.submit(lambda database: _reserve(database, self.workspace_id, asked))

    def record(self, *, tokens: int, micros: int) -> None:
        subjects = [subject for subject in (self.connection_id, self.rule_id) if subject]
        self.writer.submit(
            lambda database: _record(database, self.workspace_id, subjects, tokens=tokens, micros=micros)
        )


def today() -> str:
    return clock.now().date().isoformat()


def _reserve(database: sa.Connection, workspace_id: str, asked: list[tuple[str | None, Limits, str]]) -> None:
    for subject_id, limits, noun in asked:
        if subject_id is not None:
            _count_call(database, workspace_id, subject_id)
            _refuse_beyond(database, subject_id, limits, noun)


def _count_call(database: sa.Connection, workspace_id: str, subject_id: str) -> None:
    key = (Usage.workspace_id == workspace_id, Usage.subject_id == subject_id, Usage.day == today())
    # The update locks the day's row, so that two workers do not both take the last call.
    if not database.execute(sa.update(Usage).where(*key).values(calls=Usage.calls + 1)).rowcount:
        row = {"workspace_id": workspace_id, "subject_id": subject_id, "day": today(), "calls": 1}
        database.execute(sa.insert(Usage), row)


def _refuse_beyond(database: sa.Connection, subject_id: str, limits: Limits, noun: str) -> None:
    """Raises RejectedError, and so takes back the count, when a limit is passed."""
    for period, since in (("day", today()), ("month", today()[:8] + "01")):
        used = database.execute(
            sa.select(sa.func.sum(Usage.calls), sa.func.sum(Usage.tokens), sa.func.sum(Usage.micros)).where(
                Usage.subject_id == subject_id, Usage.day >= since
            )
        ).one()
        _compare(used, limits, noun, period)


def _compare(used: Any, limits: Limits, noun: str, period: str) -> None:
    calls, tokens, micros = (int(value or 0) for value in used)
    for limit, reached, what in (
        (getattr(limits, f"calls_a_{period}"), calls - 1, "{} calls"),
        (getattr(limits, f"tokens_a_{period}"), tokens, "{} tokens"),
        (getattr(limits, f"micros_a_{period}"), micros, "{} millionths of a dollar"),
    ):
        if limit is not None and reached >= limit:
            raise RejectedError(
                f"the limit of {what.format(limit)} a {period} of this {noun} is reached; "
                f"raise it there or wait until the next {period}"
            )


def _record(
    database: sa.Connection, workspace_id: str, subjects: list[str], *, tokens: int, micros: int
) -> None:
    for subject_id in subjects:
        key = (Usage.workspace_id == workspace_id, Usage.subject_id == subject_id, Usage.day == today())
        database.execute(
            sa.update(Usage).where(*key).values(tokens=Usage.tokens + tokens, micros=Usage.micros + micros)
        )
