"""Databases for scenarios: a migrated one with an owner, copied for each; PostgreSQL in a cluster of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.live import PASSWORD, ROOT, free_port

# Every change of a task's state is kept, so that the checker knows what happened and not only what is left.
_HISTORY = {
    "sqlite": """
        CREATE TABLE fault_moves (n INTEGER PRIMARY KEY, task_id TEXT, old TEXT, new TEXT, fence_old INTEGER,
                                  fence_new INTEGER, worker_id TEXT, at_us INTEGER);
        CREATE TRIGGER fault_move AFTER UPDATE OF state ON tasks BEGIN
            INSERT INTO fault_moves (task_id, old, new, fence_old, fence_new, worker_id, at_us)
            VALUES (old.id, old.state, new.state, old.fence, new.fence, old.worker_id,
                    CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));
        END;
    """,
    "postgresql": """
        CREATE TABLE fault_moves (n bigserial PRIMARY KEY, task_id text, old text, new text, fence_old integer,
                                  fence_new integer, worker_id text, at_us bigint);
        CREATE FUNCTION fault_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO fault_moves (task_id, old, new, fence_old, fence_new, worker_id, at_us)
            VALUES (old.id, old.state, new.state, old.fence, new.fence, old.worker_id,
                    extract(epoch FROM clock_timestamp()) * 1000000);
            RETURN new; END $$;
        CREATE TRIGGER fault_move AFTER UPDATE OF state ON tasks FOR EACH ROW EXECUTE FUNCTION fault_move();
    """,
}
_MAKE_OWNER = """
from wsgi import app
runner = app.test_cli_runner()
made = runner.invoke(args=["release"])
assert made.exit_code == 0, made.output
made = runner.invoke(args=["user", "add", "ada@example.com", "--password-stdin"], input="{password}\\n")
assert made.exit_code == 0, made.output
print(runner.invoke(args=["api-key", "add", "ada@example.com"]).output.strip().splitlines()[-1])
"""


class Cluster:
    """A PostgreSQL of our own: it can be stopped, killed and started again."""

    def __init__(self, home: Path) -> None:
        self._bin = _find_postgres()
        self._home, self.port = home, free_port()
        home.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(home, "postgres")
            home.parent.chmod(0o755)
        self._run("initdb", "-D", self._data, "-U", "bitqueue", "--auth=trust", "-E", "UTF8", "--locale=C")
        self.start()

    @property
    def _data(self) -> str:
        return str(self._home / "data")

    def start(self) -> None:
        options = (
            f"-p {self.port} -k {self._home} -c listen_addresses=127.0.0.1 -c max_connections=200 "
            "-c shared_buffers=32MB"
        )
        self._run("pg_ctl", "-D", self._data, "-l", str(self._home / "log"), "-w", "start", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """`fast` ends sessions in order, `immediate` is a crash."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "stop")

    def close(self) -> None:
        with suppress(subprocess.CalledProcessError):
            self.stop("immediate")

    def url(self, name: str) -> str:
        return f"postgresql://bitqueue@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        server = sa.create_engine(
            driven(self.url("postgres")), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
        )
        with server.connect() as connection:
            connection.execute(sa.text(statement))

    def _run(self, command: str, *words: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        subprocess.run(
            [*user, str(self._bin / command), *words], cwd="/", check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def _find_postgres() -> Path:
    found = shutil.which("initdb") or max(
        map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=""
    )
    if not found:
        raise AssertionError("no PostgreSQL found; on Debian: apt-get install postgresql")
    return Path(found).parent


def driven(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


class Databases:
    """Gives each scenario a copy of one migrated database, in which ada is the owner and has `key`."""

    def __init__(self, home: Path, kind: str, env: Mapping[str, str]) -> None:
        self.kind, self._home, self._env = kind, home, env
        self.cluster = Cluster(home / "pg") if kind == "postgres" else None
        self._made = 0
        self.key = self._make_first()

    def close(self) -> None:
        if self.cluster:
            self.cluster.close()

    @contextmanager
    def fresh(self, home: Path) -> Iterator[str]:
        """Its url for a server that lives in `home`."""
        if self.cluster is None:
            shutil.copy(self._home / "bitqueue.db", home / "bitqueue.db")
            yield f"sqlite:///{home}/bitqueue.db"
            return
        self._made += 1
        name = f"scenario_{self._made}"
        self.cluster.execute(f"CREATE DATABASE {name} TEMPLATE first")
        yield self.cluster.url(name)
        self.cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _make_first(self) -> str:
        url = f"sqlite:///{self._home}/bitqueue.db"
        if self.cluster is not None:
            self.cluster.execute("CREATE DATABASE first")
            url = self.cluster.url("first")
        env = {**self._env, "BITQUEUE_HOME": str(self._home), "DATABASE_URL": url, "LOG_LEVEL": "error"}
        made = subprocess.run(
            [sys.executable, "-c", _MAKE_OWNER.format(password=PASSWORD)],
            cwd=ROOT, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            raise AssertionError(made.stderr[-2000:])
        database = sa.create_engine(driven(url), poolclass=sa.NullPool)
        with database.begin() as connection:
            raw: Any = connection.connection.driver_connection
            history = _HISTORY[database.dialect.name]
            raw.executescript(history) if database.dialect.name == "sqlite" else raw.execute(history)
        if self.cluster is None:
            _into_one_file(self._home / "bitqueue.db")
        return made.stdout.strip().splitlines()[-1]


def _into_one_file(path: Path) -> None:
    database = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with database.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
