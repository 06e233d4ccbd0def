import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.config import CHECKOUT
from app.database import prepare_database
from app.engine.commit import GroupCommit, GroupRead
from app.errors import UnavailableError
from app.sdk.errors import RejectedError

_LINES = sa.Table("lines_of_tests", sa.MetaData(), sa.Column("word", sa.String, unique=True))


@pytest.fixture
def lines(app, engine) -> Iterator[sa.Engine]:
    """The database with a table of words, each at most once."""
    _LINES.metadata.create_all(engine.database)
    yield engine.database
    _LINES.metadata.drop_all(engine.database)


def adds(word: str) -> Any:
    return lambda connection: connection.execute(sa.insert(_LINES).values(word=word)).rowcount and word


def objects(connection: sa.Connection) -> None:
    connection.execute(sa.insert(_LINES).values(word="never kept"))
    raise RejectedError("no")


def kept(database: sa.Engine) -> list[str]:
    with database.connect() as connection:
        return sorted(connection.scalars(sa.select(_LINES.c.word)))


def at_once(calls: list[Any]) -> list[Any]:
    """What each call gave or raised."""

    def outcome(call: Any) -> Any:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is what the test looks at)
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(outcome, calls))


def test_each_submitter_gets_the_value_of_its_own_unit(lines):
    writer = GroupCommit(lines, linger_s=0.02)

    given_back = at_once([lambda word=str(n): writer.submit(adds(word)) for n in range(20)])

    assert given_back == [str(n) for n in range(20)]
    assert kept(lines) == sorted(given_back)


def test_units_that_come_together_share_a_transaction(lines):
    writer = GroupCommit(lines, linger_s=0.05)

    connections = at_once([lambda: writer.submit(lambda connection: connection) for _ in range(10)])

    assert len(set(connections)) <= 3


def test_one_unit_that_fails_takes_no_other_along(lines):
    writer = GroupCommit(lines, linger_s=0.03)
    calls = [lambda word=str(n): writer.submit(adds(word)) for n in range(6)]
    calls.insert(3, lambda: writer.submit(objects))

    outcomes = at_once(calls)

    assert isinstance(outcomes.pop(3), RejectedError)
    assert kept(lines) == sorted(outcomes)


def test_a_unit_that_breaks_a_constraint_fails_alone(lines):
    writer = GroupCommit(lines, linger_s=0.03)

    outcomes = at_once([lambda: writer.submit(adds("same")), lambda: writer.submit(adds("same"))])

    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["IntegrityError", "str"]
    assert kept(lines) == ["same"]


def test_what_is_posted_comes_before_what_is_submitted_after(lines):
    writer = GroupCommit(lines)
    writer.post(adds("first"))

    seen = writer.submit(lambda connection: list(connection.scalars(sa.select(_LINES.c.word))))

    assert seen == ["first"]


def test_a_posted_unit_that_fails_is_nobodys_error(lines):
    writer = GroupCommit(lines)
    writer.post(objects)

    assert writer.submit(adds("other")) == "other"
    assert kept(lines) == ["other"]


def test_flush_stores_what_was_posted(lines):
    writer = GroupCommit(lines)
    writer.post(adds("posted"))

    writer.flush()

    assert kept(lines) == ["posted"]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(good=st.lists(st.booleans(), min_size=1, max_size=12), linger_ms=st.integers(0, 5))
def test_exactly_the_units_that_did_not_fail_are_stored_once(lines, good, linger_ms):
    with lines.begin() as connection:
        connection.execute(sa.delete(_LINES))
    writer = GroupCommit(lines, linger_s=linger_ms / 1000)

    outcomes = at_once(
        [
            lambda n=n, fine=fine: writer.submit(adds(str(n)) if fine else objects)
            for n, fine in enumerate(good)
        ]
    )

    assert [isinstance(outcome, str) for outcome in outcomes] == good
    assert kept(lines) == sorted(outcome for outcome in outcomes if isinstance(outcome, str))


# --- a database that cannot be written


@contextmanager
def locked(database: sa.Engine) -> Iterator[None]:
    """By another program, as a backup or a shell would."""
    other = sqlite3.connect(str(database.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.close()


def only_sqlite(database: sa.Engine) -> None:
    if database.dialect.name != "sqlite":
        pytest.skip("SQLite alone has one lock for all")


def test_a_database_locked_for_longer_than_patience_stores_nothing(lines):
    only_sqlite(lines)
    writer = GroupCommit(lines, patience_s=0.1)

    with locked(lines), pytest.raises(UnavailableError):
        writer.submit(adds("late"))

    assert kept(lines) == []
    assert writer.submit(adds("now")) == "now"


def test_a_database_that_is_free_again_in_time_is_waited_for(lines):
    only_sqlite(lines)
    writer = GroupCommit(lines, patience_s=5)
    with ThreadPoolExecutor(1) as pool:
        with locked(lines):
            waiting = pool.submit(writer.submit, adds("patient"))
            time.sleep(0.1)

        assert waiting.result(5) == "patient"


def test_what_was_posted_outlives_a_database_that_is_away(lines):
    only_sqlite(lines)
    writer = GroupCommit(lines, patience_s=0.05)
    writer.post(adds("posted"))
    with locked(lines), pytest.raises(UnavailableError):
        writer.flush()

    writer.submit(adds("later"))

    assert kept(lines) == ["later", "posted"]


def test_a_reader_in_another_process_is_not_kept_waiting(lines):
    only_sqlite(lines)
    reader = sqlite3.connect(str(lines.url.database), timeout=0)

    with locked(lines):
        assert reader.execute("SELECT count(*) FROM lines_of_tests").fetchone() == (0,)

    reader.close()


def test_sqlite_never_waits_inside_for_longer_than_50_ms(lines):
    only_sqlite(lines)
    with lines.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() <= 50


def test_a_database_that_cannot_be_opened_is_unavailable(tmp_path):
    database = sa.create_engine(f"sqlite:///{tmp_path}/missing/folder.db")
    prepare_database(database)

    with pytest.raises(UnavailableError):
        GroupCommit(database).submit(lambda connection: None)


def test_a_pool_without_a_free_connection_is_unavailable(tmp_path):
    database = sa.create_engine(
        f"sqlite:///{tmp_path}/one.db", pool_size=1, max_overflow=0, pool_timeout=0.01, poolclass=sa.QueuePool
    )
    with database.connect(), pytest.raises(UnavailableError):
        GroupCommit(database).submit(lambda connection: None)

    database.dispose()


def test_batches_that_wait_for_each_other_on_postgresql_are_both_stored(lines):
    if lines.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    for word in ("a", "b"):
        GroupCommit(lines).submit(adds(word))
    writers = [GroupCommit(lines, linger_s=0.2), GroupCommit(lines, linger_s=0.2)]

    def marks(word: str) -> Any:
        def unit(connection: sa.Connection) -> str:
            connection.execute(sa.update(_LINES).where(_LINES.c.word == word).values(word=word))
            time.sleep(0.1)
            return word

        return unit

    def submits(writer: GroupCommit, word: str, after_s: float) -> Any:
        def call() -> str:
            time.sleep(after_s)
            return writer.submit(marks(word))

        return call

    outcomes = at_once(
        [
            submits(writers[0], "a", 0),
            submits(writers[0], "b", 0.05),
            submits(writers[1], "b", 0),
            submits(writers[1], "a", 0.05),
        ]
    )

    assert outcomes == ["a", "b", "b", "a"]


# --- what is served together

_CALLS: list[list[str]] = []


def add_all(connection: sa.Connection, words: Sequence[str]) -> list[str]:
    _CALLS.append(list(words))
    connection.execute(sa.insert(_LINES), [{"word": word} for word in words])
    return [word.upper() for word in words]


def test_items_for_one_function_are_given_to_one_call_of_it(lines):
    _CALLS.clear()
    writer = GroupCommit(lines, linger_s=0.05)

    given_back = at_once([lambda word=f"w{n}": writer.submit_to(add_all, word) for n in range(10)])

    assert given_back == [f"W{n}" for n in range(10)]
    assert len(_CALLS) <= 3
    assert kept(lines) == sorted(word for call in _CALLS for word in call)


def test_of_items_served_together_the_one_that_breaks_a_constraint_fails_alone(lines):
    GroupCommit(lines).submit(adds("w3"))
    writer = GroupCommit(lines, linger_s=0.05)

    outcomes = at_once([lambda word=f"w{n}": writer.submit_to(add_all, word) for n in range(6)])

    assert type(outcomes.pop(3)).__name__ == "IntegrityError"
    assert outcomes == ["W0", "W1", "W2", "W4", "W5"]
    assert kept(lines) == [f"w{n}" for n in range(6)]


@given(
    posted=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["first", "second", "third"])), max_size=12
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_served_together_each_subjects_items_keep_their_order(lines, posted):
    served: list[tuple[str, int]] = []

    def notes(_connection: sa.Connection, items: Sequence[tuple[str, int]]) -> list[None]:
        served.extend(items)
        return [None] * len(items)

    # Three functions, so that what is alike is gathered across the order in which it came.
    functions = {name: partial(notes) for name in ("first", "second", "third")}
    writer = GroupCommit(lines, linger_s=0)
    for n, (subject, name) in enumerate(posted):
        writer.post_to(functions[name], (subject, n), subject=subject)

    writer.flush()

    assert sorted(n for _, n in served) == list(range(len(posted)))
    for subject in "abc":
        mine = [n for whose, n in served if whose == subject]
        assert mine == sorted(mine)


def test_looks_that_come_together_share_one_and_each_gets_its_own(lines):
    for word in ("a", "b"):
        GroupCommit(lines).submit(adds(word))
    reader = GroupRead(lines)

    def look(connection: sa.Connection, words: Sequence[str]) -> list[bool]:
        found = set(connection.scalars(sa.select(_LINES.c.word).where(_LINES.c.word.in_(words))))
        return [word in found for word in words]

    outcomes = at_once([lambda word=word: reader.submit_to(look, word) for word in "axbaz"])

    assert outcomes == [True, False, True, True, False]


def test_a_look_that_fails_fails_alone(lines):
    reader = GroupRead(lines)

    def look(_connection: sa.Connection, words: Sequence[str]) -> list[str]:
        if "bad" in words:
            raise RejectedError("no")
        return list(words)

    outcomes = at_once([lambda word=word: reader.submit_to(look, word) for word in ("a", "bad", "b")])

    assert isinstance(outcomes.pop(1), RejectedError)
    assert outcomes == ["a", "b"]


def test_a_look_at_a_database_that_is_away_is_unavailable(tmp_path):
    database = sa.create_engine(f"sqlite:///{tmp_path}/missing/folder.db")

    with pytest.raises(UnavailableError):
        GroupRead(database).submit_to(lambda connection, items: list(items), "a")


# --- greenlets that are killed

_KILLED = """
from gevent import monkey; monkey.patch_all()
import sys, gevent, sqlalchemy as sa
from app.engine.commit import GroupCommit, GroupRead
from app.errors import UnavailableError
from app.database import prepare_database
database = sa.create_engine("sqlite:///" + sys.argv[1]); prepare_database(database)
writer = GroupCommit(database, linger_s=0.2)
writer.submit(lambda c: c.exec_driver_sql("CREATE TABLE words (word TEXT)"))
add = lambda word: lambda c: c.exec_driver_sql("INSERT INTO words VALUES (?)", (word,)).rowcount
leader = gevent.spawn(writer.submit, add("leader")); gevent.sleep(0.05)
def joins():
    try: return writer.submit(add("joined"))
    except UnavailableError: return "unavailable"
joined = gevent.spawn(joins); gevent.sleep(0.05)
writer.post(add("posted"))
leader.kill()
assert joined.get(timeout=2) == "unavailable", joined.value
assert gevent.with_timeout(2, writer.submit, add("after")) == 1
print(sorted(writer.submit(lambda c: c.exec_driver_sql("SELECT word FROM words").scalars().all())))
"""


def test_a_leader_that_is_killed_leaves_a_writer_that_works(tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "words.db")],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert answer.stdout.strip() == "['after', 'posted']", answer.stderr
