"""A backup made while others write, and put back: what is equal afterwards, and what is refused."""

import gzip
import io
import json
import shutil
import sqlite3
import stat
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from app.errors import BitQueueError, ConflictError, InvalidError, UnavailableError
from app.services import archive, backup, copies, passphrase, postgres, restore, tallies
from tests.live import wait_until
from tests.places import Place, copy_of, on_postgres, on_sqlite, place

WORDS = "a long passphrase, with ☃"
NEWEST = ScriptDirectory("migrations").get_current_head()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A database with rows, which no test changes."""
    with place(tmp_path_factory.mktemp("full") / "home") as made:
        made.upgrade()
        made.add_workspaces(3)
        yield made


@pytest.fixture
def own(full: Place, tmp_path: Path) -> Iterator[Place]:
    """The same, to be changed."""
    with copy_of(full, tmp_path / "own") as made:
        yield made


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Place]:
    with place(tmp_path / "empty") as made:
        yield made


@pytest.fixture(scope="module")
def file(full: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of `full`."""
    made = tmp_path_factory.mktemp("file") / "one.backup"
    backup.make(full.config, made, WORDS, version="1.2.3")
    return made


def tally(made: Place) -> dict[str, tallies.Tally]:
    with made.connected() as connection:
        return tallies.take(connection)


# --- checksums


def test_a_checksum_knows_every_row_and_not_their_order(own: Place):
    before = tally(own)["workspaces"]

    own.execute("DELETE FROM workspaces WHERE id = 'wsp_0'")
    without = tally(own)["workspaces"]
    own.execute("INSERT INTO workspaces (id, name, created_at) VALUES ('wsp_0', 'Shop ☃ 0', 0)")
    again = tally(own)["workspaces"]
    own.execute("UPDATE workspaces SET created_at = 7 WHERE id = 'wsp_0'")

    assert (before.rows, without.rows) == (3, 2)
    assert before == again
    assert len({before, without, tally(own)["workspaces"]}) == 3


def test_bytes_are_counted_too(own: Place):
    own.execute("INSERT INTO file_chunks VALUES ('fil_1', 0, :body, 1)", body=b"\x00\xff")
    before = tally(own)["file_chunks"]

    own.execute("UPDATE file_chunks SET body = :body", body=b"\x00\xfe")

    assert before != tally(own)["file_chunks"]


# --- the passphrase


def test_what_is_sealed_opens_with_the_same_words_only():
    sealed = passphrase.seal(b"keys", WORDS, bound_to="a")

    assert passphrase.unseal(sealed, WORDS, bound_to="a") == b"keys"
    for words, bound_to in (("other", "a"), (WORDS, "b")):
        with pytest.raises(InvalidError, match="does not open"):
            passphrase.unseal(sealed, words, bound_to=bound_to)


@pytest.mark.parametrize("change", [{"cost": 2**30}, {"cost": 2}, {"salt": "?"}, {"more": 1}, {"text": ""}])
def test_what_was_changed_is_refused_without_a_fault(change):
    sealed = json.loads(passphrase.seal(b"keys", WORDS, bound_to="a"))

    with pytest.raises(InvalidError):
        passphrase.unseal(json.dumps(sealed | change), WORDS, bound_to="a")


# --- the file


def test_a_backup_says_what_it_holds(full: Place, file: Path):
    manifest = archive.read_manifest(file)

    assert (manifest.version, manifest.revision, manifest.format) == ("1.2.3", NEWEST, 1)
    assert manifest.tables == tally(full)
    assert manifest.tables["workspaces"].rows == 3
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {path.name for path in file.parent.iterdir()} == {file.name}


def test_no_key_is_in_it_in_the_clear(full: Place, file: Path):
    text = gzip.decompress(file.read_bytes())

    assert full.config.credential_keys.get_secret_value().partition(":")[2].encode() not in text
    assert full.config.secret_key.get_secret_value().encode() not in text


def test_an_existing_file_is_never_overwritten(full: Place, file: Path):
    before = file.read_bytes()

    with pytest.raises(ConflictError, match="exists already"):
        backup.make(full.config, file, WORDS, version="1")

    assert file.read_bytes() == before


def test_an_empty_database_is_not_backed_up(empty: Place, tmp_path: Path):
    if empty.config.is_sqlite:
        sqlite3.connect(backup.sqlite_file(empty.config)).close()

    with pytest.raises(UnavailableError, match="nothing to back up"):
        backup.make(empty.config, tmp_path / "x", WORDS, version="1")

    assert not (tmp_path / "x").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".x")]


def test_a_backup_is_of_one_moment_while_others_write(own: Place, empty: Place, tmp_path: Path):
    own.execute("UPDATE workspaces SET created_at = 0")
    for number in range(100):
        # Large enough that writes fall between the steps of the copy.
        own.execute("INSERT INTO file_chunks VALUES ('fil_1', :number, :body, 1)", number=number, body=BODY)
    stopped = threading.Event()
    writer = threading.Thread(target=_write, args=(own, stopped))
    writer.start()
    try:
        wait_until(lambda: own.scalar(_COUNT) > 5, seconds=20, what="somebody writes")
        already = own.scalar(_COUNT)
        backup.make(own.config, tmp_path / "busy", WORDS, version="1")
        still_written = writer.is_alive()
    finally:
        stopped.set()
        writer.join()
    restore.into(empty.config, tmp_path / "busy", verify=True)

    seen = empty.scalar(_COUNT)
    assert still_written
    assert already <= seen < own.scalar(_COUNT)
    assert empty.scalar("SELECT min(created_at) FROM workspaces") == seen
    assert empty.scalar("SELECT max(created_at) FROM workspaces") == seen


def _write(made: Place, stopped: threading.Event) -> None:
    """Two tables, always together, as fast as it goes; for a while, so that a copy that waits for an end fails."""
    engine = sa.create_engine(made.config.database_url, connect_args=_patient(made))
    until = time.monotonic() + 20
    number = 0
    while not stopped.is_set() and time.monotonic() < until:
        number += 1
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE workspaces SET created_at = created_at + 1"))
            connection.execute(sa.text(_QUEUE), {"id": f"que_{number}", "name": f"q{number}"})
    engine.dispose()


BODY = bytes(256 * 1024)
_COUNT = "SELECT count(*) FROM queues"
_QUEUE = (
    "INSERT INTO queues (id, workspace_id, name, priority, paused, external, tokens, created_at) "
    "VALUES (:id, 'wsp_0', :name, 0, false, false, 0, 0)"
)


def _patient(made: Place) -> dict[str, int]:
    return {"timeout": 30} if made.config.is_sqlite else {}


@on_sqlite
def test_a_damaged_database_is_not_backed_up(own: Place, tmp_path: Path):
    path = backup.sqlite_file(own.config)
    whole = bytearray(path.read_bytes())
    whole[4096 * 5 : 4096 * 60] = b"\xff" * 4096 * 55
    path.write_bytes(whole)

    with pytest.raises(UnavailableError, match=r"damaged|cannot be copied"):
        backup.make(own.config, tmp_path / "x", WORDS, version="1")

    assert not (tmp_path / "x").exists()


@on_postgres
def test_without_a_fitting_pg_dump_it_says_what_to_install():
    with pytest.raises(UnavailableError, match=r"pg_dump is of version \d+ and the server of version 99"):
        postgres.tool("pg_dump", 99)
    with pytest.raises(UnavailableError, match="apt-get install postgresql-client-16"):
        postgres.tool("pg_none", 16)


# --- checking and restoring


def test_checking_reads_everything(file: Path):
    manifest, keys = restore.open_keys(file, WORDS)

    checked = restore.check(file)

    assert keys["SECRET_KEY"] == "a secret key for tests only"
    assert checked.manifest == manifest
    assert checked.tables in (None, manifest.tables)


def test_the_wrong_passphrase_opens_nothing(file: Path):
    with pytest.raises(InvalidError, match="does not open"):
        restore.open_keys(file, "wrong")


def test_a_restored_database_is_equal_and_held(full: Place, file: Path, empty: Place):
    restored = restore.into(empty.config, file, verify=True)

    assert restored.tables == tally(full)
    after = tally(empty)
    assert after.pop("holds").rows == 1
    assert after == {name: found for name, found in tally(full).items() if name != "holds"}
    assert empty.scalar("SELECT version_num FROM alembic_version") == NEWEST


@on_sqlite
def test_a_restored_file_lies_alone_and_is_whole(file: Path, empty: Place):
    restore.into(empty.config, file, verify=False)

    assert {path.name for path in empty.home.iterdir()} == {"bitqueue.db", "database.made"}
    copies.check_sqlite(empty.home / "bitqueue.db")
    with sqlite3.connect(empty.home / "bitqueue.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    connection.close()


def test_an_older_backup_is_brought_to_this_version(tmp_path: Path, empty: Place):
    with place(tmp_path / "older") as older:
        older.upgrade("0003")
        older.add_workspaces(2)
        backup.make(older.config, tmp_path / "old", WORDS, version="0.0.9")

    checked = restore.into(empty.config, tmp_path / "old", verify=True)

    assert checked.manifest.revision == "0003"
    assert "holds" not in checked.tables
    assert empty.scalar("SELECT count(*) FROM workspaces") == 2
    assert empty.scalar("SELECT count(*) FROM holds") == 1
    assert empty.scalar("SELECT version_num FROM alembic_version") == NEWEST


def test_a_newer_backup_is_refused_and_nothing_stays(own: Place, tmp_path: Path, empty: Place):
    own.execute("UPDATE alembic_version SET version_num = '9999'")
    backup.make(own.config, tmp_path / "newer", WORDS, version="9.9")

    with pytest.raises(ConflictError, match=r"newer bitqueue \(9.9, revision 9999\)"):
        restore.into(empty.config, tmp_path / "newer", verify=True)

    restore.refuse_unfit(empty.config, archive.read_manifest(tmp_path / "newer"))
    assert list(empty.home.iterdir()) == []


def test_a_place_that_is_used_is_refused(full: Place, file: Path):
    with pytest.raises(ConflictError, match="empty"):
        restore.refuse_unfit(full.config, archive.read_manifest(file))


@on_sqlite
def test_a_log_without_its_database_is_refused(file: Path, empty: Place):
    (empty.home / "bitqueue.db-wal").write_bytes(b"of another database")

    with pytest.raises(ConflictError, match="-wal is there"):
        restore.refuse_unfit(empty.config, archive.read_manifest(file))


@on_postgres
def test_a_database_that_others_use_is_refused(file: Path, empty: Place):
    with empty.connected(), pytest.raises(ConflictError, match="1 other connections use"):
        restore.refuse_unfit(empty.config, archive.read_manifest(file))


def test_the_other_kind_of_database_is_refused(full: Place, file: Path):
    manifest = archive.read_manifest(file)
    other = "postgresql" if manifest.database == "sqlite" else "sqlite"

    with pytest.raises(ConflictError, match="this is the backup of a"):
        restore.refuse_unfit(full.config, manifest.model_copy(update={"database": other}))


# --- damage


def rewritten(file: Path, made: Path, change) -> Path:
    """The same archive at `made`; `change` gets the members by name and may do what it likes."""
    with tarfile.open(file) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}
    members = change(members) or members
    with tarfile.open(made, "w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return made


def _flip(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("database."))
    body = bytearray(members[name])
    body[len(body) // 2] ^= 1
    members[name] = bytes(body)


def _miscount(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    manifest["tables"]["workspaces"]["checksum"] = "0" * 64
    members["manifest.json"] = json.dumps(manifest).encode()


def _without_database(members: dict[str, bytes]) -> dict[str, bytes]:
    return {name: body for name, body in members.items() if not name.startswith("database.")}


def _with_a_stranger(members: dict[str, bytes]) -> None:
    members["../../etc/passwd"] = b"root"


def _without_manifest(members: dict[str, bytes]) -> None:
    del members["manifest.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_flip, "checksum differs"),
        (_without_database, "is missing"),
        (_with_a_stranger, "was changed"),
        (_without_manifest, "no backup of bitqueue"),
    ],
)
def test_a_changed_file_is_refused_and_nothing_stays(file: Path, empty: Place, tmp_path: Path, change, said):
    changed = rewritten(file, tmp_path / "changed", change)

    for attempt in (restore.check, lambda path: restore.into(empty.config, path, verify=False)):
        with pytest.raises(InvalidError, match=said):
            attempt(changed)

    assert list(empty.home.iterdir()) == []


def test_tables_that_differ_are_named_and_nothing_stays(file: Path, empty: Place, tmp_path: Path):
    changed = rewritten(file, tmp_path / "changed", _miscount)

    with pytest.raises(InvalidError, match="the tables workspaces are not as they were"):
        restore.into(empty.config, changed, verify=True)

    restore.refuse_unfit(empty.config, archive.read_manifest(file))


def test_another_database_in_its_place_does_not_go_with_the_passphrase(
    own: Place, file: Path, tmp_path: Path
):
    own.execute("DELETE FROM workspaces")
    backup.make(own.config, tmp_path / "other", WORDS, version="1")
    with tarfile.open(tmp_path / "other") as tar:
        others = {info.name: tar.extractfile(info).read() for info in tar}

    changed = rewritten(
        file, tmp_path / "changed", lambda members: others | {"keys.json": members["keys.json"]}
    )

    with pytest.raises(BitQueueError):
        restore.open_keys(changed, WORDS)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(file: Path, tmp_path: Path, part: float):
    short = tmp_path / "short"
    shutil.copy(file, short)
    with short.open("r+b") as opened:
        opened.truncate(int(file.stat().st_size * part))

    with pytest.raises(InvalidError):
        restore.check(short)


def test_something_else_is_no_backup(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"hello")

    for path in (tmp_path / "x", tmp_path / "nothing"):
        with pytest.raises(InvalidError):
            restore.check(path)


# --- keys


def test_kept_keys_are_read_back_as_they_were(tmp_path: Path):
    keys = {"SECRET_KEY": "it's \\ # hard", "CREDENTIAL_KEYS": "k1:abc="}

    path = restore.keep_keys(tmp_path, keys)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert restore.keep_keys(tmp_path, keys) == path
    with pytest.raises(ConflictError, match="other keys"):
        restore.keep_keys(tmp_path, keys | {"SECRET_KEY": "another"})
