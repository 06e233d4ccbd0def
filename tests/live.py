"""A really running BitQueue for tests: its own home, its own port, all its processes, and ways to hurt them."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[1]
PASSWORD = "correct horse battery"
PASSPHRASE = "correct horse battery staple"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(found: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """What `found` gives as soon as it is truthy; fails with `what` after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@dataclass
class Server:
    """The supervisor and what it started."""

    home: Path
    port: int
    env: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.supervise"], cwd=ROOT, env=self.env, stdout=log, stderr=log
            )
        wait_until(self.answers, seconds=60, what="the server answers")

    def stop(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended:\n{self.log()[-3000:]}")
        with suppress(httpx2.HTTPError):
            return httpx2.get(f"{self.url}/healthz", timeout=2).status_code == 200
        return False

    def cli(self, *words: str, given: str = "") -> str:
        """The last line that an operator's command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "wsgi", *words],
            cwd=ROOT, env=self.env, input=given.encode(), capture_output=True, check=True,
        )  # fmt: skip
        return (done.stdout.decode().strip().splitlines() or [""])[-1]

    def owner_key(self, email: str = "ada@example.com") -> str:
        """An api key of a first owner made for this."""
        self.cli("user", "add", email, "--password-stdin", given=PASSWORD + "\n")
        return self.cli("api-key", "add", email)

    def api(self, key: str) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=20)

    def pids(self, words: str) -> list[int]:
        """Processes under the supervisor whose command line contains `words`."""
        mine = [self.process.pid]
        for pid in mine:
            mine += _children(pid)
        return [pid for pid in mine[1:] if words in _command(pid)]

    def kill(self, words: str, number: int = signal.SIGKILL) -> None:
        for pid in self.pids(words):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def database(self) -> sa.Engine:
        url = self.env.get("DATABASE_URL") or f"sqlite:///{self.home}/bitqueue.db"
        return sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def log(self) -> str:
        return (self.home / "server.log").read_text(errors="replace")


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def command(name: str, env: Mapping[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    """What a person types: `./run backup FILE`, `./run restore FILE`."""
    return subprocess.run(
        [sys.executable, "-m", f"deploy.{name}", *words],
        cwd=ROOT, env={"BITQUEUE_BACKUP_PASSPHRASE": PASSPHRASE, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@contextmanager
def fresh_database() -> Iterator[str]:
    """The url of an empty database: on the server of TEST_DATABASE_URL, or "" for SQLite in the home."""
    given = os.environ.get("TEST_DATABASE_URL", "")
    if not given.startswith("postgres"):
        yield ""
        return
    url = sa.make_url(given.replace("postgres://", "postgresql://")).set(drivername="postgresql+psycopg")
    name = f"bq_live_{free_port()}_{os.getpid()}"
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@contextmanager
def running(**settings: str) -> Iterator[Server]:
    """A server in an empty home; `settings` are environment variables on top of the test's."""
    with fresh_database() as database_url, tempfile.TemporaryDirectory(prefix="bq-") as home:
        port = free_port()
        kept = {
            name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")
        }
        env = kept | {
            "BITQUEUE_HOME": home,
            "PORT": str(port),
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "ALLOW_PRIVATE_NETWORKS": "true",
            "SECRET_KEY": "s" * 48,
            "CREDENTIAL_KEYS": "k1:" + "YmVuY2g" * 6 + "Y=",
            "DATABASE_URL": database_url,
        }
        server = Server(Path(home), port, env | settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()
