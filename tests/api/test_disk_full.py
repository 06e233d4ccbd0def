"""A disk that is full: nothing is taken that cannot be kept, everybody is told, and work goes on when there is room."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from app.engine import disk
from app.models import Task

MB = 1024**2


@pytest.fixture
def room(engine, monkeypatch):
    """Says how much is free of a disk of a gigabyte."""
    free = [500 * MB]
    watch = disk.DiskWatch(engine.database, look=lambda _folder: (free[0], 1024 * MB))
    watch._folder = Path("/")
    monkeypatch.setitem(disk._watches, engine.database, watch)

    def say(size):
        free[0], watch._room = size, None

    yield say
    sa.event.remove(engine.database, "handle_error", watch._note)


def enqueue(api):
    return api.post("/enqueue", json={"action": "http.request", "params": {"url": "https://a.example"}})


def test_nothing_new_is_taken_when_only_the_reserve_is_left(room, api, session, world):
    room(50 * MB)

    answer = enqueue(api)

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    assert "50 MB left, and 51 MB are kept free" in answer.json["detail"]
    assert session.scalar(sa.select(sa.func.count()).select_from(Task)) == 0


def test_what_looks_and_what_removes_goes_on(room, api, session, world):
    room(0)

    assert api.get("/api/v1/queues").status_code == 200
    assert api.delete("/api/v1/queues/none").status_code == 404


def test_work_goes_on_when_there_is_room_again(room, api, world):
    room(0)
    assert enqueue(api).status_code == 503

    room(100 * MB)

    assert enqueue(api).status_code == 202


def test_a_hook_is_answered_503_whatever_its_method(room, client, session):
    room(0)

    answers = [client.open("/hooks/any", method=method).status_code for method in ("POST", "GET", "PUT")]

    assert answers == [503] * 3


def test_the_pages_and_readyz_say_so(room, as_owner, client):
    room(0)

    page = as_owner.get("/").text
    ready = client.get("/readyz")

    assert "The disk is full" in page
    assert ready.status_code == 503
    assert "make room on it" in ready.json["disk"]
    room(500 * MB)
    assert "The disk is full" not in as_owner.get("/").text


@pytest.fixture
def full(engine):
    """SQLite finds no page more than it has now."""
    if engine.database.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's disk is not ours to fill")
    with engine.database.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection, _record, _proxy):
        connection.execute(f"PRAGMA max_page_count={pages}")

    def lift(connection, _record):
        connection.execute("PRAGMA max_page_count=1073741823")

    sa.event.listen(engine.database, "checkout", limit)
    engine.database.dispose()

    def free():
        sa.event.remove(engine.database, "checkout", limit)
        engine.database.dispose()
        lift(engine.database.raw_connection(), None)

    yield free
    if sa.event.contains(engine.database, "checkout", limit):
        free()
    watch = disk.watch(engine.database)
    watch._refused_at, watch._room = float("-inf"), None


def fill(api, most=500):
    """Until it is refused three times; the answers. Pages that are free in the file are used up first."""
    params = {"method": "PUT", "url": "https://a.example", "json": {"text": "x" * 200_000}}
    answers = []
    while len(answers) < most and answers[-3:].count(503) < 3:
        answers.append(api.post("/enqueue", json={"action": "http.request", "params": params}).status_code)
    return answers


def test_a_database_without_room_answers_503_and_never_2xx_for_what_it_has_not(full, api, session, world):
    answers = fill(api)

    assert set(answers) <= {202, 503}
    assert answers[-1] == 503
    assert session.scalar(sa.select(sa.func.count()).select_from(Task)) == answers.count(202)
    assert disk.watch(session.get_bind()).room().refused


def test_it_says_so_on_the_pages_and_goes_on_when_there_is_room(full, api, as_owner, session, world):
    fill(api)
    assert "found no room" in as_owner.get("/").text

    full()

    assert set(fill(api, most=20)) == {202}
    assert session.connection().exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    assert session.connection().exec_driver_sql("PRAGMA foreign_key_check").all() == []


def test_a_small_disk_keeps_a_twentieth_free(engine):
    watch = disk.DiskWatch(engine.database, look=lambda _folder: (MB, 40 * MB))
    watch._folder = Path("/")

    assert (watch.room().reserve_bytes, watch.room().is_short) == (2 * MB, True)
    sa.event.remove(engine.database, "handle_error", watch._note)


def test_a_database_elsewhere_has_its_own_disk(engine):
    watch = disk.DiskWatch(engine.database)
    watch._folder = None

    assert watch.room().trouble is None
    sa.event.remove(engine.database, "handle_error", watch._note)
