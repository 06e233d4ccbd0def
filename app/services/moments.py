"""Ids begin with their time: the ids made since a moment are a range that an index finds."""

from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
# An id may be made a little before its row's own time is taken.
_SLACK = timedelta(minutes=1)


def least_id(prefix: str, instant: datetime) -> str:
    """No id that is made from `instant` on sorts before this one."""
    number = int(instant.timestamp() * 1000) << 80
    return prefix + "_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def since(model: Any, prefix: str, instant: datetime) -> sa.ColumnElement[bool]:
    """Rows created from `instant` on."""
    return sa.and_(model.id >= least_id(prefix, instant - _SLACK), model.created_at >= instant)
