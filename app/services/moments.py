"""Ids begin with their time: the ids made since a moment are a range that an index finds."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from app import ids

# An id may be made a little before its row's own time is taken.
_SLACK = timedelta(minutes=1)


def since(model: Any, prefix: str, instant: datetime) -> sa.ColumnElement[bool]:
    """Rows created from `instant` on."""
    return sa.and_(model.id >= ids.least(prefix, instant - _SLACK), model.created_at >= instant)
