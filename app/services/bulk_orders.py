"""Doing the same to all failures that are alike: once a click, whoever clicks, and how far it has got."""

from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine.bulk_orders import What
from app.engine.core import Engine
from app.engine.upsert import insert_once
from app.errors import InvalidError, NotFoundError
from app.models import BulkOrder, Role, State
from app.services import failures
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.failures import Group

# What may be done to what failed (of a run, of a task) and to what is uncertain.
_MAY: Final[dict[tuple[str, bool], tuple[What, ...]]] = {
    ("run", False): ("retry", "replay", "newest", "dismiss"),
    ("task", False): ("retry", "dismiss"),
    ("run", True): ("done", "again", "skip"),
    ("task", True): ("done", "again", "skip"),
}
# So long an order that is finished is shown, and given to who clicks on a page that shows what it did.
_SHOWN: Final = timedelta(minutes=15)
_LONGEST_ABOUT: Final = 200


def may(group: Group) -> tuple[What, ...]:
    whats = _MAY[group.kind, group.state is State.UNCERTAIN]
    return whats if group.has_newer else tuple(what for what in whats if what != "newest")


def order(
    session: Session,
    actor: Actor,
    engine: Engine,
    *,
    key: str,
    what: What,
    only: str | None = None,
    upto: str | None = None,
) -> tuple[BulkOrder, bool]:
    """(the order, whether it was given before). The caller commits, lets the engine work at it, and rings.

    For all members of the group, those not newer than `upto`, or `only` one. Raises NotFoundError where no such
    failure stands, InvalidError where that cannot be done to it.
    """
    require(actor, Role.EDITOR)
    group = next((each for each in failures.desk(session, actor, engine).groups if each.key == key), None)
    members = _members(group, only, upto) if group else []
    unique = f"{key}:{only}" if only else key
    if group is None or not members:
        return _given_before(session, actor, unique, key), True
    if what not in _MAY[group.kind, group.state is State.UNCERTAIN]:
        raise InvalidError(f"{what} cannot be done to what is {group.state}", {"what": "does not fit"})
    row = _row(actor, group, what, members) | {"group_key": unique}
    dialect = session.connection().dialect.name
    inserted = session.connection().execute(_INSERT[dialect], row)
    if not inserted.rowcount:
        # Somebody else clicked first.
        return _given_before(session, actor, unique, key), True
    audit(session, actor, f"{_VERBS[what]} alike", key, detail={"order": row["id"], "count": len(members)})
    return session.get_one(BulkOrder, row["id"]), False


_VERBS: Final[dict[What, str]] = {
    "retry": "retried failures",
    "replay": "ran failures again",
    "newest": "ran failures with the newest version",
    "dismiss": "dismissed failures",
    "done": "said done of uncertain ones",
    "again": "said again of uncertain ones",
    "skip": "skipped uncertain ones",
}


def _members(group: Group, only: str | None, upto: str | None) -> list[str]:
    """The oldest first, as they came."""
    if only:
        return [each for each in group.members if each == only]
    return [each for each in reversed(group.members) if upto is None or each <= upto]


def _row(actor: Actor, group: Group, what: What, members: list[str]) -> dict[str, Any]:
    return {
        "id": ids.new("ord"),
        "workspace_id": actor.workspace_id,
        "what": what,
        "about": (group.rule or group.title)[:_LONGEST_ABOUT],
        "members": members,
        "total": len(members),
        "done": 0,
        "skipped": 0,
        "made_by": actor.user_id,
        "made_by_name": actor.name or actor.email,
        "created_at": clock.now(),
    }


def _given_before(session: Session, actor: Actor, *keys: str) -> BulkOrder:
    """The newest order for one of these, under way or finished a moment ago."""
    recent = sa.or_(BulkOrder.finished_at.is_(None), BulkOrder.finished_at > clock.now() - _SHOWN)
    query = scoped(BulkOrder, actor).where(BulkOrder.group_key.in_(keys), recent)
    found = session.scalars(query.order_by(BulkOrder.id.desc()).limit(1)).first()
    if found is None:
        raise NotFoundError("nothing of this kind has failed, or all of it was seen to")
    return found


def get(session: Session, actor: Actor, order_id: str) -> BulkOrder:
    return fetch(session, BulkOrder, order_id, actor)


def recent(session: Session, actor: Actor) -> list[BulkOrder]:
    """Those under way, and those finished a moment ago; newest first."""
    shown = sa.or_(BulkOrder.finished_at.is_(None), BulkOrder.finished_at > clock.now() - _SHOWN)
    query = scoped(BulkOrder, actor).where(shown).order_by(BulkOrder.id.desc()).limit(5)
    return list(session.scalars(query))


_INSERT: Final = insert_once(BulkOrder)
