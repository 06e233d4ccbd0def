import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from app import clock, ids
from app.database import (
    database_options,
    is_crossed,
    prepare_database,
    read_connection,
    when_free,
    write_connection,
    writing,
)
from app.errors import UnavailableError
from app.models import Queue, Workspace


def add(session, name="Shop") -> None:
    session.add(Workspace(id=ids.new("wsp"), name=name, created_at=clock.now()))


def names(engine) -> list[str]:
    with engine.database.connect() as connection:
        return list(connection.scalars(sa.select(Workspace.name)))


def test_writing_commits_once_at_the_end(engine, session):
    with writing() as own:
        add(own)
        assert names(engine) == []

    assert names(engine) == ["Shop"]


def test_writing_rolls_back_on_an_error(engine, session):
    def breaks() -> None:
        with writing() as own:
            add(own)
            own.flush()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        breaks()

    assert names(engine) == []


def test_what_was_read_before_is_read_anew(engine, session):
    with writing() as own:
        add(own)
    row = session.scalars(sa.select(Workspace)).one()
    with write_connection(engine.database) as connection:
        connection.execute(sa.update(Workspace).values(name="Renamed"))

    with writing() as own:
        assert own.scalars(sa.select(Workspace)).one().name == "Renamed"
    assert row.name == "Renamed"


def test_an_error_tells_the_statement_and_not_what_it_was_given(engine):
    statement = sa.text("SELECT 1 FROM nowhere WHERE 'x' = :it")

    with engine.database.connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.execute(statement, {"it": "a customer's text"})

    assert "FROM nowhere" in str(raised.value)
    assert "a customer's text" not in str(raised.value)


def test_many_writers_at_once_all_get_their_turn(engine):
    def write(n: int) -> None:
        with write_connection(engine.database) as connection:
            found = connection.scalar(sa.select(sa.func.count()).select_from(Workspace))
            row = {"id": ids.new("wsp"), "name": f"{n} after {found}", "created_at": clock.now()}
            connection.execute(sa.insert(Workspace), row)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))

    assert len(names(engine)) == 40


def locks(engine) -> sqlite3.Connection:
    if engine.database.dialect.name != "sqlite":
        pytest.skip("SQLite alone has one lock for all")
    other = sqlite3.connect(str(engine.database.url.database), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_a_lock_that_stays_is_unavailable_after_patience(engine, session):
    other, began = locks(engine), time.monotonic()

    with pytest.raises(UnavailableError), writing(patience_s=0.1):
        pass

    assert 0.1 <= time.monotonic() - began < 1
    other.close()


def test_a_lock_that_goes_is_waited_for(engine, session):
    other = locks(engine)
    threading.Timer(0.1, other.rollback).start()

    with writing() as own:
        add(own)

    assert names(engine) == ["Shop"]


def test_readers_go_on_while_another_process_writes(engine):
    other, began = locks(engine), time.monotonic()

    with read_connection(engine.database) as connection:
        connection.scalar(sa.select(sa.func.count()).select_from(Workspace))

    assert time.monotonic() - began < 0.2
    other.close()


def test_an_error_that_is_no_lock_is_raised_at_once():
    def begin():
        raise OperationalError("BEGIN", {}, Exception("disk I/O error"))

    with pytest.raises(OperationalError):
        when_free(begin, patience_s=5)


def test_a_database_that_cannot_be_read_is_unavailable(tmp_path):
    database = sa.create_engine(f"sqlite:///{tmp_path}/missing/folder.db")
    prepare_database(database)

    with pytest.raises(UnavailableError), read_connection(database):
        pass


@pytest.mark.parametrize(
    ("code", "crossed"), [("40P01", True), ("40001", True), ("55P03", False), (None, False)]
)
def test_transactions_that_waited_for_each_other_are_known_by_their_code(code, crossed):
    original = Exception("gave up")
    original.sqlstate = code

    assert is_crossed(OperationalError("UPDATE", {}, original)) == crossed


def test_sqlite_keeps_foreign_keys_and_does_not_wait_inside(engine):
    if engine.database.dialect.name != "sqlite":
        pytest.skip("SQLite's own settings")
    with engine.database.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("foreign_keys", "journal_mode", "auto_vacuum")
        ]
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() <= 50

    assert values == [1, "wal", 2]


def test_a_process_that_is_stopped_in_a_transaction_does_not_keep_its_rows(
    engine, world, config, monkeypatch
):
    if engine.database.dialect.name != "postgresql":
        pytest.skip("SQLite's lock is the process's, and goes with it")
    monkeypatch.setattr("app.database._STOPPED_S", 1)
    options = {"connect_args": database_options(config)["connect_args"], "poolclass": sa.NullPool}
    shared = sa.create_engine(engine.database.url, **options)
    change = sa.update(Queue).where(Queue.id == world.queue.id).values(priority=7)

    with shared.connect() as stopped, shared.connect() as other:
        stopped.execute(change)
        time.sleep(1.5)
        other.execute(sa.text("SET LOCAL lock_timeout = '100ms'"))

        assert other.execute(change).rowcount == 1
        with pytest.raises(DBAPIError):
            stopped.execute(change)
