"""Whether outgoing work is held: a server restored from a backup sends nothing until somebody says so."""

import time
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from app import clock
from app.models import Hold

# A hold begins where nothing runs yet; so that there is none may be believed for a while.
_BELIEVED_S = 1.0
_ID = "restored"

_free_until_s: WeakKeyDictionary[sa.Engine, float] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Held:
    """Since when, and when the backup was made that stands here now."""

    since: datetime
    backup_at: datetime


def held(connection: sa.Connection) -> bool:
    """To be asked before anything is claimed, fired or looked for; reads one row a second at most."""
    if time.monotonic() < _free_until_s.get(connection.engine, 0.0):
        return False
    if standing(connection) is not None:
        return True
    _free_until_s[connection.engine] = time.monotonic() + _BELIEVED_S
    return False


def standing(connection: sa.Connection) -> Held | None:
    row = connection.execute(sa.select(Hold.held_at, Hold.backup_at).limit(1)).first()
    return Held(row.held_at, row.backup_at) if row else None


def begin(connection: sa.Connection, *, backup_at: datetime) -> None:
    """From here on, in the caller's transaction; an older hold is replaced."""
    connection.execute(sa.delete(Hold))
    connection.execute(sa.insert(Hold), {"id": _ID, "backup_at": backup_at, "held_at": clock.now()})
    _free_until_s.pop(connection.engine, None)


def end(connection: sa.Connection) -> bool:
    """Whether there was one."""
    return bool(connection.execute(sa.delete(Hold)).rowcount)
