"""End to end: hook → filter → HTTP action → recorded, on the real processes, loaded from a separate one.

Reports completed runs a second while the load runs, and how long the hook's answers took.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa

ROOT = Path(__file__).resolve().parents[1]
_PASSWORD = b"a long bench password\n"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(
    *command: str, env: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[Any]]:
    out = log.open("w") if log else subprocess.DEVNULL
    started = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT
    )
    try:
        yield started
    finally:
        started.terminate()
        with suppress(subprocess.TimeoutExpired):
            started.wait(20)
        started.kill()


def wait_for(url: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(httpx2.HTTPError):
            if httpx2.get(url).status_code == 200:
                return
        time.sleep(0.1)
    raise SystemExit(f"{url} did not answer within {seconds:.0f} s")


def cli(env: dict[str, str], *words: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["./run", "cli", *words], cwd=ROOT, env=env, input=stdin, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr.decode())
    return done.stdout.decode().strip().splitlines()[-1] if done.stdout.strip() else ""


def make_rule(base: str, key: str, target: str) -> str:
    """The rule under load; its hook's address."""
    document = {
        "name": "Big orders",
        "enabled": True,
        "trigger": {"type": "webhook.received", "params": {}},
        "steps": [
            {
                "key": "big",
                "kind": "filter",
                "conditions": [{"field": "event.total", "op": "gt", "value": 100}],
            },
            {
                "key": "call",
                "kind": "action",
                "action": "http.request",
                "connection": None,
                "params": {"method": "POST", "url": target, "json": {"order": "{{ event.order }}"}},
            },
        ],
    }
    answer = httpx2.post(f"{base}/api/v1/rules", json=document, headers={"Authorization": f"Bearer {key}"})
    if answer.status_code != 201:
        raise SystemExit(answer.text)
    return str(answer.json()["hook_url"])


def load(url: str, given: argparse.Namespace, seconds: float) -> dict[str, Any]:
    words = ["-m", "bench.load", url, "--clients", str(given.clients), "--rate", str(given.rate)]
    done = subprocess.run(
        [sys.executable, *words, "--seconds", str(seconds)],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def finished(database: sa.Engine, since_us: int, until_us: int) -> int:
    with database.connect() as connection:
        query = sa.text(
            "SELECT count(*) FROM runs WHERE state = 'succeeded' AND finished_at BETWEEN :a AND :b"
        )
        return int(connection.scalar(query, {"a": since_us, "b": until_us}) or 0)


def measure(database: sa.Engine, hook: str, given: argparse.Namespace) -> dict[str, Any]:
    began_us = time.time_ns() // 1000
    report = load(hook, given, given.seconds)
    ended_us = time.time_ns() // 1000
    # The first and the last second belong to the ramp.
    edge_us = 1_000_000
    during = finished(database, began_us + edge_us, ended_us - edge_us)
    report["runs_per_s"] = during / ((ended_us - began_us - 2 * edge_us) / 1e6)
    until = time.monotonic() + 120
    while (
        finished(database, began_us, 2**62) < report["calls"] - report["wrong"] and time.monotonic() < until
    ):
        time.sleep(0.2)
    report["drained_s"] = round(time.time() - ended_us / 1e6, 1)
    report["lost"] = report["calls"] - report["wrong"] - finished(database, began_us, 2**62)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="", help="PostgreSQL; default: SQLite in a new home")
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument(
        "--rate", type=float, default=0, help="calls a second offered; 0: as fast as answers come"
    )
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--log", type=Path, default=None, help="where the server's output goes")
    given = parser.parse_args()
    port, target_port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="bq-") as home:
        env = os.environ | {
            "BITQUEUE_HOME": home, "PORT": str(port), "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "ALLOW_PRIVATE_NETWORKS": "true", "LOG_LEVEL": "warning", "REDIS_URL": "",
            "DATABASE_URL": given.database_url,
            "SECRET_KEY": "b" * 48, "CREDENTIAL_KEYS": "k1:" + "YmVuY2g" * 6 + "Y=",
        }  # fmt: skip
        with (
            process("-m", "bench.target", str(target_port)),
            process("-m", "deploy.supervise", env=env, log=given.log),
        ):
            base = f"http://127.0.0.1:{port}"
            wait_for(f"{base}/healthz")
            cli(env, "user", "add", "bench@example.com", "--password-stdin", stdin=_PASSWORD)
            key = cli(env, "api-key", "add", "bench@example.com")
            hook = make_rule(base, key, f"http://127.0.0.1:{target_port}/done")
            url = (
                given.database_url.replace("postgresql://", "postgresql+psycopg://")
                or f"sqlite:///{home}/bitqueue.db"
            )
            database = sa.create_engine(url)
            load(hook, given, 3)
            time.sleep(1)
            reports = [measure(database, hook, given) for _ in range(given.times)]
            database.dispose()
    show(reports, given)


def show(reports: list[dict[str, Any]], given: argparse.Namespace) -> None:
    kind = "PostgreSQL" if given.database_url else "SQLite"
    offered = f"{given.rate:.0f} calls/s offered" if given.rate else "as fast as answers come"
    print(
        f"{kind}, {os.cpu_count()} cores, Python {platform.python_version()}, {given.clients} clients, {offered},"
    )
    print(f"{given.times} times {given.seconds:.0f} s; web 1, worker 1, load and target on the same machine")
    for report in reports:
        print(json.dumps({name: round(v, 1) if isinstance(v, float) else v for name, v in report.items()}))
    for name in ("runs_per_s", "p50_ms", "p99_ms", "lost"):
        print(f"median {name}: {statistics.median(report[name] for report in reports):.1f}")


if __name__ == "__main__":
    main()
