"""PostgreSQL's own tools: a dump of one snapshot, and putting it back."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sa

from app.errors import UnavailableError
from app.services.tallies import REVISION_TABLE

_PLACES = "/usr/lib/postgresql"
_GIVING_UP_S = 10.0


@contextmanager
def dumping(
    connection: sa.Connection, target: Path, *, snapshot: str, schema_only: bool = False
) -> Iterator[None]:
    """pg_dump at work beside the caller; the dump is whole when the block ends without an error."""
    # The archive is compressed as a whole, and the revision is put back last.
    given = [
        "--format=custom", "--compress=0", "--no-owner", "--no-privileges", f"--snapshot={snapshot}",
        f"--exclude-table-data={REVISION_TABLE}", f"--file={target}",
    ]  # fmt: skip
    command = [tool("pg_dump", major(connection)), *given, *(["--schema-only"] if schema_only else [])]
    process = _start(command, connection.engine.url)
    try:
        yield
    except BaseException:
        process.terminate()
        process.communicate(timeout=_GIVING_UP_S)
        raise
    _finish(process, "pg_dump")


def restore(url: sa.URL, dump: Path) -> None:
    """All of it or nothing. Raises UnavailableError with what pg_restore said."""
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as connection:
        program = tool("pg_restore", major(connection))
    given = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    _finish(_start([program, *given, str(dump)], url), "pg_restore")


def check_dump(dump: Path) -> None:
    """Raises UnavailableError unless it reads as a dump."""
    _finish(_start_alone([tool("pg_restore", 0), "--list", str(dump)]), "pg_restore")


def empty(engine: sa.Engine) -> None:
    """Drop every table: of a database that was empty before we filled it."""
    found = sa.MetaData()
    with engine.begin() as connection:
        found.reflect(connection)
        found.drop_all(connection)


def major(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SHOW server_version_num").scalar_one()) // 10_000


def tool(name: str, server: int) -> str:
    """The path of a client program that knows the server. Raises UnavailableError."""
    found = _versions(name)
    if not found:
        raise UnavailableError(
            f"{name} is not installed here; install PostgreSQL's client programs, version {server} or newer "
            f"(on Debian: apt-get install postgresql-client-{server})"
        )
    fitting = [path for path, version in found if version >= server]
    if not fitting:
        newest = max(version for _, version in found)
        raise UnavailableError(
            f"{name} is of version {newest} and the server of version {server}; "
            f"install client programs of version {server} or newer"
        )
    return fitting[0]


@lru_cache(maxsize=4)
def _versions(name: str) -> Sequence[tuple[str, int]]:
    """The one on the path first."""
    paths = [shutil.which(name), *map(str, sorted(Path(_PLACES).glob(f"*/bin/{name}"), reverse=True))]
    return [(path, version) for path in paths if path and (version := _version(path))]


def _version(path: str) -> int:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"(\d+)", done.stdout.partition(")")[2])
    return int(found[1]) if found else 0


def _start(command: list[str], url: sa.URL) -> "subprocess.Popen[str]":
    # The password is not put where `ps` shows it.
    plain = url.set(drivername="postgresql", password=None).render_as_string()
    return _start_alone([*command, f"--dbname={plain}"], password=url.password)


def _start_alone(command: list[str], *, password: str | None = None) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command,
        env=os.environ | ({"PGPASSWORD": password} if password else {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process: "subprocess.Popen[str]", name: str) -> None:
    _, said = process.communicate()
    if process.returncode:
        lines = [line for line in said.strip().splitlines() if line]
        raise UnavailableError(f"{name} failed: {lines[0] if lines else 'it said nothing'}")
