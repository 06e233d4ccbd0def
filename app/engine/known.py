"""What a worker of this release can execute: what a newer one queued waits for a worker that can."""

from datetime import timedelta
from functools import cache

import sqlalchemy as sa

from app.models import StepKind, Task
from app.sdk.declare import Catalogue

# An upgrade, or the way back, takes minutes. What nobody could do for so long is failed, and says so.
PATIENCE = timedelta(days=1)

_KINDS = frozenset(StepKind)


def actions(catalogue: Catalogue) -> frozenset[str]:
    """The keys of all actions, `<integration>.<function>`."""
    return frozenset(action.key for each in catalogue for action in each.actions.values())


def knows(catalogue: Catalogue, kind: str, action: str | None) -> bool:
    if kind != StepKind.ACTION:
        return kind in _KINDS
    return catalogue.action(action or "") is not None


@cache
def claimable(known: frozenset[str] | None) -> sa.ColumnElement[bool]:
    """Of tasks: those of known actions and kinds, and what was due before `:unknown_before`. None: any action."""
    if known is None:
        return sa.true()
    kinds = sorted(_KINDS - {StepKind.ACTION})
    return sa.or_(
        sa.and_(Task.kind == _said(StepKind.ACTION), Task.action.in_([_said(key) for key in sorted(known)])),
        Task.kind.in_([_said(kind) for kind in kinds]),
        Task.due_at < sa.bindparam("unknown_before", type_=Task.__table__.c.due_at.type),
    )


def _said(word: str) -> sa.ColumnElement[str]:
    """In the statement itself: as parameters they would be sent with each claim."""
    quoted = word.replace("'", "''")
    return sa.literal_column(f"'{quoted}'", sa.String)
