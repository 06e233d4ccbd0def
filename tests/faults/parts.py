"""The processes of a scenario: tied to the one that plays it, and looked at from outside."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from deploy import valkey
from deploy.children import tie_to
from tests.faults.facts import Vitals
from tests.live import ROOT, Server, wait_until


def _tied(words: Sequence[str], **more: Any) -> "subprocess.Popen[bytes]":
    """Called from the main thread only: Linux ties a child to the thread that made it."""
    return subprocess.Popen(words, preexec_fn=tie_to(os.getpid()), **more)  # noqa: PLW1509 - nothing forks beside


@dataclass
class TiedServer(Server):
    """Ends with the process that plays the scenario, however that one ends. `behind`: words before its command."""

    behind: Sequence[str] = ()

    def start(self) -> None:
        with (self.home / "server.log").open("ab") as log:
            self.process = _tied(
                [*self.behind, sys.executable, "-m", "deploy.supervise"],
                cwd=ROOT, env=self.env, stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self.answers, seconds=90, what="the server answers")


class Redis:
    """Our own, outside of the supervisor, so that it can stay away."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "valkey.sock"
        self._words = valkey.command(home, self.socket)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Empty."""
        self._process = _tied(self._words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._listens, seconds=10, what="redis listens")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number is signal.SIGKILL:
            self._process.wait()

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url, socket_timeout=5)

    def close(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0


def vitals_of(name: str, pid: int) -> Vitals | None:
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return Vitals(
            pid, name, pages * os.sysconf("SC_PAGE_SIZE"), len(list(Path(f"/proc/{pid}/fd").iterdir()))
        )
    return None


def private_bytes(pid: int) -> int:
    """Of a process that may have ended."""
    with suppress(OSError, ValueError):
        _size, resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
