"""How a scenario's stage is set: a running server with all around it, in an empty home."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import points
from tests.faults.databases import Databases
from tests.faults.names import Names
from tests.faults.parts import Redis, TiedServer
from tests.faults.provider import Provider
from tests.faults.server import SECRETS, Stage
from tests.live import free_port, wait_until

_WEAVE = Path(__file__).parent / "weave"


@dataclass(frozen=True)
class Setting:
    """How a scenario's server is started."""

    plan: points.Plan = field(default_factory=points.Plan)
    provider: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    workers: int = 2
    # The SQLite file on a disk of its own, of that size.
    disk_bytes: int = 0
    # The names that its name server answers; any other hangs. None: the machine's own.
    names: Sequence[str] | None = None


def base_environ() -> dict[str, str]:
    """A test's own settings are none of the server's."""
    left = ("DATABASE_URL", "REDIS_URL", "BITQUEUE_HOME", "PORT")
    return {name: value for name, value in os.environ.items() if name not in left} | SECRETS


@contextmanager
def staged(setting: Setting, databases: Databases, home: Path, *, seed: int, events: int) -> Iterator[Stage]:
    """A running server with all around it, in an empty home; everything ends with the block."""
    plan, port = setting.plan, free_port()
    plan.write(home / "faults")
    store = Redis(home)
    provider = Provider(home, setting.provider)
    names = None if setting.names is None else Names(home, setting.names)
    try:
        with _disk(home, setting.disk_bytes) as disk, databases.fresh(disk) as url:
            env = base_environ() | {
                "BITQUEUE_HOME": str(home), "PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}",
                "ALLOW_PRIVATE_NETWORKS": "true", "DATABASE_URL": url, "REDIS_URL": store.url,
                "WORKERS": str(setting.workers), "PYTHONPATH": f"{_WEAVE}",
                "BITQUEUE_FAULTS": str(home / "faults"), **setting.environ,
            }  # fmt: skip
            server = TiedServer(home, port, env, behind=names.namespace() if names else ())
            server.start()
            try:
                rng = random.Random(seed)
                stage = Stage(home, server, store, provider, databases, rng, events, databases.key)
                stage.names = names
                _wait_for_workers(stage, setting.workers)
                yield stage
            finally:
                server.stop()
    finally:
        provider.close()
        store.close()
        if names:
            names.close()


@contextmanager
def _disk(home: Path, size_bytes: int) -> Iterator[Path]:
    if not size_bytes:
        yield home
        return
    disk = home / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "bitqueue", str(disk)], check=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def _wait_for_workers(stage: Stage, count: int) -> None:
    wait_until(
        lambda: stage.rows("SELECT count(*) FROM heartbeats WHERE kind = 'worker'")[0][0] >= count,
        seconds=60,
        what="the workers are there",
    )


def repeatedly(
    every_s: float, call: Callable[[], object], *, while_: Callable[[], bool], most: int = 20
) -> None:
    """Call again and again, while the events flow."""
    for _ in range(most):
        time.sleep(every_s)
        if not while_():
            return
        call()


def in_background(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread
