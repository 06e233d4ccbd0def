"""Going over to another key, in batches, while others write."""

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.crypto import KeyRing
from app.database import db
from app.models import Connection
from app.services import resealing
from tests.conftest import World
from tests.factories import ConnectionFactory

OLD = KeyRing({"old": b"o" * 32})
BOTH = KeyRing({"new": b"n" * 32, "old": b"o" * 32})
NEW = KeyRing({"new": b"n" * 32})
CONNECTIONS = resealing.KINDS[0]


def sealed(world: World, keyring: KeyRing = OLD) -> Connection:
    row = ConnectionFactory(workspace_id=world.workspace.id)
    row.sealed = keyring.seal(b"secret", bound_to=row.id)
    return row


def test_everything_opens_with_the_new_key_alone(world: World, session: Session, monkeypatch):
    monkeypatch.setattr(resealing, "BATCH", 3)
    rows = [sealed(world).id for _ in range(7)]
    session.commit()

    count = resealing.reseal(db.engine, BOTH, CONNECTIONS)

    found = session.execute(sa.select(Connection.id, Connection.sealed)).all()
    assert count.resealed == 7
    assert {NEW.open(text, bound_to=row_id) for row_id, text in found} == {b"secret"}
    assert {row_id for row_id, _ in found} == set(rows)


def test_a_second_time_changes_nothing(world: World, session: Session):
    sealed(world)
    session.commit()
    resealing.reseal(db.engine, BOTH, CONNECTIONS)

    count = resealing.reseal(db.engine, BOTH, CONNECTIONS)

    assert (count.resealed, count.current) == (0, 1)


def test_what_does_not_open_is_left_as_it_is_and_named(world: World, session: Session):
    lost, damaged = sealed(world, KeyRing({"lost": b"l" * 32})), sealed(world)
    damaged.sealed = "old.***"
    session.commit()
    before = lost.sealed

    count = resealing.reseal(db.engine, BOTH, CONNECTIONS)

    assert sorted(count.unopened) == sorted([lost.id, damaged.id])
    assert session.scalar(sa.select(Connection.sealed).where(Connection.id == lost.id)) == before


def test_a_text_swapped_from_another_row_does_not_open(world: World, session: Session):
    one, other = sealed(world), sealed(world)
    one.sealed = other.sealed
    session.commit()

    count = resealing.reseal(db.engine, BOTH, CONNECTIONS)

    assert count.unopened == [one.id]
