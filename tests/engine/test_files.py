"""Files by reference, on the real tables."""

import hashlib
import tracemalloc
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock
from app.database import write_connection
from app.engine import files, sweep
from app.engine.files import CHUNK_BYTES, FileStore
from app.engine.memory import TaskMemory
from app.models import File, FileChunk, Kept, Storage, Workspace
from app.models.storage import FILES
from app.sdk.context import MAX_FILE_BYTES, FileRef
from app.sdk.errors import RejectedError

MB = 1024 * 1024


@pytest.fixture
def store(bench) -> FileStore:
    return FileStore(bench.engine.database, bench.engine.writer, bench.workspace_id)


def save(store, body=b"a;b\r\n", name="orders.csv", media_type="text/csv"):
    return store.save(name, media_type, [body] if isinstance(body, bytes) else body)


def chunks_of(bench, file_id=None):
    with Session(bench.engine.database) as session:
        query = sa.select(FileChunk.file_id, FileChunk.number).order_by(FileChunk.number)
        return session.execute(query if file_id is None else query.where(FileChunk.file_id == file_id)).all()


def age(bench, column, **by):
    """As if so much time had passed since."""
    then = clock.now() - timedelta(**by)
    bench.write(lambda connection: connection.execute(sa.update(column.class_).values({column.key: then})))


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_what_is_saved_is_what_is_read(store, size):
    body = bytes(index % 251 for index in range(size))
    pieces = [body[at : at + 100_000] for at in range(0, size, 100_000)]

    file = save(store, pieces)

    assert b"".join(store.open(file)) == body
    assert store.find(FileRef(id=file.id)) == file
    assert (file.bytes, file.sha256) == (size, hashlib.sha256(body).hexdigest())


def test_a_file_is_there_for_another_process_when_save_returns(bench, store):
    file = save(store)

    other = FileStore(bench.engine.database, bench.engine.writer, bench.workspace_id)
    assert b"".join(other.open(FileRef(id=file.id))) == b"a;b\r\n"


def test_the_largest_file_is_taken_and_one_byte_more_is_not(bench, store):
    file = save(store, (bytes(MB) for _ in range(25)))
    assert file.bytes == MAX_FILE_BYTES

    with pytest.raises(RejectedError, match=r"orders\.csv is larger than 25 MB"):
        save(store, [*(bytes(MB) for _ in range(25)), b"x"])

    assert [row.id for row in bench.rows(File)] == [file.id]


def test_a_file_without_end_is_left_at_the_limit(store):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield bytes(MB)

    with pytest.raises(RejectedError, match="larger than 25 MB"):
        save(store, endless())

    assert taken == 26


def test_a_large_file_is_never_whole_in_memory(store):
    tracemalloc.start()
    try:
        file = save(store, (bytes(64 * 1024) for _ in range(25 * 16)))
        size = sum(len(chunk) for chunk in store.open(file))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size == MAX_FILE_BYTES
    assert most < 4 * MB


def test_a_file_of_another_workspace_is_not_there(bench, store):
    file = save(store)
    elsewhere = FileStore(bench.engine.database, bench.engine.writer, "wsp_elsewhere")

    for ask in (elsewhere.find, elsewhere.open):
        with pytest.raises(RejectedError, match=r"orders\.csv is not kept any more"):
            ask(file)


def test_what_a_step_claims_about_a_file_does_not_count(store):
    file = save(store)
    claimed = file.model_copy(update={"name": "x.exe", "bytes": 5, "type": "text/html"})

    assert store.find(claimed) == file


def test_an_unknown_file_names_itself(store):
    with pytest.raises(RejectedError, match="the file fil_0"):
        store.find(FileRef(id="fil_" + "0" * 26))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\bill.pdf", "bill.pdf"),
        ("a\r\nb\0c", "abc"),
        ("", "file"),
        (" .. ", "file"),
        ("x" * 500, "x" * 200),
        ("half \ud83d", "half"),
        ("größe 日本.pdf", "größe 日本.pdf"),
    ],
)
def test_a_name_is_a_name_and_no_path(store, given, kept):
    assert store.find(save(store, name=given)).name == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Text/CSV; charset=utf-8", "text/csv"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("application/\0x", "application/octet-stream"),
        ("text/\ud800", "application/octet-stream"),
        ("text/html\r\nX: y", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_a_type_is_a_type_whatever_a_stranger_claims(store, given, kept):
    assert store.find(save(store, media_type=given)).type == kept


def test_a_source_that_fails_leaves_no_file(bench, store):
    def failing():
        yield bytes(CHUNK_BYTES)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        save(store, failing())

    assert bench.rows(File) == []
    assert len(chunks_of(bench)) == 1


# sweeping


def test_an_expired_file_is_gone_at_once_and_then_swept(bench, store):
    file = save(store, bytes(3 * CHUNK_BYTES))
    other = save(store)
    bench.set(bench.row(File, id=file.id), expires_at=clock.now() - timedelta(seconds=1))

    with pytest.raises(RejectedError, match="not kept any more"):
        store.find(file)
    sweep.run(bench.engine)

    assert {row.file_id for row in chunks_of(bench)} == {other.id}
    assert [row.id for row in bench.rows(File)] == [other.id]


def test_a_batch_is_small_and_the_next_goes_on(bench, store, monkeypatch):
    monkeypatch.setattr(files, "_CHUNKS_AT_ONCE", 2)
    file = save(store, bytes(5 * CHUNK_BYTES))
    age(bench, File.expires_at, days=1)

    gone = [bench.write(lambda connection: files.sweep(connection, clock.now())) for _ in range(4)]

    assert gone == [2, 2, 2, 0]
    assert chunks_of(bench, file.id) == []


def test_chunks_that_no_file_was_made_of_are_swept_after_a_day(bench, store):
    kept = save(store)

    def failing():
        yield bytes(2 * CHUNK_BYTES)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        save(store, failing())

    def abandoned():
        return bench.write(lambda connection: files.sweep_abandoned(connection, clock.now()))

    assert abandoned() == 0
    age(bench, FileChunk.created_at, days=2)
    assert abandoned() == 2
    assert {row.file_id for row in chunks_of(bench)} == {kept.id}


def test_what_tasks_kept_goes_after_a_week(bench):
    memory = TaskMemory(bench.engine.database, bench.engine.writer, bench.workspace_id, "tsk_1")
    memory.keep("answer", {"text": "yes"})

    sweep.run(bench.engine)
    assert memory.recall("answer") == {"text": "yes"}

    age(bench, Kept.created_at, days=8)
    assert sweep.run(bench.engine) == 1
    assert memory.recall("answer") is None


# the budget


def decide(bench, **values):
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.update(Workspace).where(Workspace.id == bench.workspace_id).values(**values))


def test_files_count_for_the_budget_until_they_are_swept(bench, store):
    file = save(store, bytes(1000))
    save(store, bytes(500))
    assert [(row.count, row.bytes) for row in bench.rows(Storage, subject_id=FILES)] == [(2, 1500)]

    bench.set(bench.row(File, id=file.id), expires_at=clock.now() - timedelta(seconds=1))
    sweep.run(bench.engine)

    assert [(row.count, row.bytes) for row in bench.rows(Storage, subject_id=FILES)] == [(1, 500)]


def test_files_take_at_most_half_of_the_budget(bench, store):
    decide(bench, budget_bytes=3000)
    save(store, bytes(1600))

    with pytest.raises(RejectedError, match="half of its storage budget"):
        save(store, bytes(10))

    decide(bench, budget_bytes=10_000)
    save(store, bytes(10))


@pytest.mark.parametrize(("keep_days", "days"), [(7, 7), (90, 30), (None, 30)])
def test_a_file_is_kept_no_longer_than_the_workspaces_days(bench, store, keep_days, days):
    decide(bench, keep_days=keep_days)

    save(store)

    row = bench.row(File)
    assert row.expires_at - row.created_at == timedelta(days=days)
