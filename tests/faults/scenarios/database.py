"""A database that is locked, restarted, full, read-only, missing or damaged."""

import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.faults.registry import scenario
from tests.faults.server import Stage
from tests.faults.staging import Setting
from tests.live import ROOT

_DISK_BYTES = 24 << 20


@contextmanager
def _watched(stage: Stage, path: str = "/healthz") -> Iterator[list[tuple[int, float]]]:
    """What others get meanwhile: (status, seconds) of a request ten times a second."""
    seen: list[tuple[int, float]] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            seen.append(stage.asked(path))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield seen
    over.set()
    thread.join(25)


def _path(stage: Stage) -> Path:
    return Path(stage.server.env["DATABASE_URL"].removeprefix("sqlite:///"))


@scenario("F14", "SQLite locked for 10 s", "1 3", databases=("sqlite",))
def the_database_is_locked(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.events / 14)
    stage.until_sent(0.2)
    with (
        _watched(stage) as seen,
        closing(sqlite3.connect(_path(stage), timeout=10, isolation_level=None)) as other,
        stage.away("database locked"),
    ):
        other.execute("BEGIN IMMEDIATE")
        time.sleep(10)
        other.execute("ROLLBACK")
    stage.quiet()
    slowest = max(seconds for _, seconds in seen)
    stage.expect(
        all(status == 200 for status, _ in seen), "other requests failed while the database was locked"
    )
    # On a machine that others use too; what it guards against is 10 s.
    stage.expect(slowest < 1.0, f"another request stalled for {slowest:.2f} s")
    stage.expect(set(load.failures) <= {"503"}, f"answers other than 503: {load.failures}")
    stage.notes.append(f"slowest other request {slowest * 1000:.0f} ms, {load.failures}")


@scenario("F14b", "PostgreSQL restarted; its sessions killed", "1 3", databases=("postgres",))
def the_database_restarts(stage: Stage) -> None:
    cluster = stage.databases.cluster
    assert cluster is not None
    stage.usual_lanes()
    load = stage.send(rate=stage.events / 12)
    stage.until_sent(0.2)
    with _watched(stage) as seen:
        for number in range(3):
            time.sleep(1)
            cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname LIKE 'scenario_%'"
            )
            with stage.away("database"):
                cluster.stop("immediate" if number == 1 else "fast")
                time.sleep(1)
                cluster.start()
    stage.quiet()
    slowest = max(seconds for _, seconds in seen)
    stage.expect(
        all(status == 200 for status, _ in seen), "other requests failed while the database was away"
    )
    stage.expect(slowest < 1.0, f"another request stalled for {slowest:.2f} s")
    stage.expect(set(load.failures) <= {"503"}, f"answers other than 503: {load.failures}")
    stage.notes.append(f"slowest other request {slowest * 1000:.0f} ms, {load.failures}")


@scenario(
    "F13", "the disk is full, then freed", "1", databases=("sqlite",), setting=Setting(disk_bytes=_DISK_BYTES)
)
def the_disk_is_full(stage: Stage) -> None:
    stage.usual_lanes()
    load = stage.send(rate=stage.events / 16)
    stage.until_sent(0.2)
    ballast = _path(stage).parent / "ballast"
    with stage.away("disk full"):
        _fill(ballast)
        time.sleep(6)
        pages = stage.asked("/login")[0]
        ballast.unlink()
    stage.quiet(90)
    stage.expect(set(load.failures) <= {"503"}, f"answers other than 503: {load.failures}")
    stage.expect(load.failures, "no call was refused: the disk was not full")
    stage.expect(pages == 200, f"the sign-in page answered {pages} while the disk was full")
    stage.notes.append(f"{load.failures}")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            while _grown(ballast, size):
                pass


def _grown(file: object, size: int) -> bool:
    try:
        file.write(b"\0" * size)  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


@scenario("F15", "the database is missing, damaged or half-migrated at the start", "1", databases=("sqlite",))
def the_database_is_not_there(stage: Stage) -> None:
    stage.usual_lanes()
    stage.send(rate=100)
    stage.quiet()
    kept, path = stage.home / "kept.db", _path(stage)
    # As `./run` does once: the home remembers that it has a database.
    stage.server.cli("release")
    pids = stage.server.pids("")
    stage.server.stop()
    stage.restarts_meant += len(pids)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(path, kept)
    for name, spoil in _SPOILED.items():
        spoil(path)
        said = _refusal(stage)
        stage.expect(said, f"it started with a database that is {name}")
        stage.notes.append(f"{name}: {said}")
        for left in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            left.unlink(missing_ok=True)
        shutil.copy(kept, path)
    stage.server.start()


def _remove(path: Path) -> None:
    path.unlink()


def _damage(path: Path) -> None:
    with path.open("r+b") as file:
        for place in range(4096, path.stat().st_size, 4096):
            file.seek(place)
            file.write(b"\xa5" * 512)


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _half_migrate(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE fault_moves")
        database.execute("DROP TRIGGER IF EXISTS fault_move")
        database.execute("DROP TABLE attempts")
        database.commit()


def _from_the_future(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()


_SPOILED = {
    "missing": _remove,
    "damaged": _damage,
    "cut short": _cut,
    "half-migrated": _half_migrate,
    "of a newer version": _from_the_future,
}


def _refusal(stage: Stage) -> str:
    """What it says when it refuses to start; empty when it starts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.supervise"], cwd=ROOT, env=stage.server.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        said, _ = process.communicate(timeout=25)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=25)
        return ""
    return " ".join(said.strip().splitlines()[-2:]) if process.returncode else ""
