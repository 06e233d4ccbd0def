"""Many runs with large payloads under a small budget: is the service up, and does the database stay within it?

Runs arrive and end at a steady rate, straight into the engine; beside them a process sweeps as a worker does. Now
and then a single event is accepted as a hook's call would be, and timed.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command

from app import clock, ids
from app.config import Config
from app.database import db, write_connection
from app.engine import enqueue, retention, shrink, sweep
from app.engine.core import Engine
from app.engine.enqueue import Armed, Arrival
from app.factory import create_app
from app.models import Attempt, Queue, Rule, RuleVersion, Run, State, Storage, Task, Trigger, Workspace
from app.models.states import TriggerKind
from app.sdk.declare import Occurrence
from app.services import schema

_MB = 1024**2
_BATCH = 50
_DEFINITION = {
    "trigger": {"type": "manual.started", "params": {}},
    "steps": [{"key": "call", "kind": "action", "action": "http.request", "connection": None, "params": {}}],
}


@contextmanager
def engine(home: str, database_url: str, *, migrate: bool = False) -> Iterator[Engine]:
    given = {
        "BITQUEUE_HOME": home,
        "DATABASE_URL": database_url,
        "LOG_LEVEL": "warning",
        "SECRET_KEY": "b" * 48,
        "CREDENTIAL_KEYS": "k1:" + "YmVuY2g" * 6 + "Y=",
    }
    app = create_app(Config.load(given))
    with app.app_context():
        if migrate:
            command.upgrade(schema.alembic_of(app), "head")
        yield app.extensions["engine"]
        db.engine.dispose()


def arm(made: Engine, budget_bytes: int) -> Armed:
    """A workspace with that budget, and a rule of one step that is on."""
    now, place, rule, version, trigger = (
        clock.now(),
        *(ids.new(name) for name in ("wsp", "rul", "ver", "trg")),
    )
    rows: list[tuple[Any, dict[str, Any]]] = [
        (Workspace, {"id": place, "name": "Bench", "budget_bytes": budget_bytes}),
        (Queue, {"id": ids.new("que"), "name": "default"}),
        (Rule, {"id": rule, "name": "Bench", "enabled": True, "draft": _DEFINITION, "samples": {}, "published": 1}),
        (RuleVersion, {"id": version, "rule_id": rule, "number": 1, "definition": _DEFINITION}),
        (Trigger, {"id": trigger, "rule_id": rule, "kind": TriggerKind.MANUAL, "type": "manual.started"}),
    ]  # fmt: skip
    common = {"workspace_id": place, "created_by": "bench", "created_at": now, "updated_at": now}
    common |= {"params": {}, "recent_keys": [], "version_id": version}
    with write_connection(made.database) as connection:
        for model, values in rows:
            more = {name: value for name, value in common.items() if name in model.__table__.c}
            connection.execute(sa.insert(model), more | values)
    return Armed(place, trigger, "manual.started", rule, version)


def end_runs(connection: sa.Connection, run_ids: list[str]) -> None:
    """As a worker records them, for many at once."""
    now = clock.now()
    tasks = connection.execute(sa.select(Task.id, Task.workspace_id).where(Task.run_id.in_(run_ids))).all()
    done = {"state": State.SUCCEEDED, "finished_at": now}
    connection.execute(
        sa.update(Task)
        .where(Task.run_id.in_(run_ids))
        .values(**done, started_at=now, attempt=1, fence=1, output={"status": 200}, params={"url": "https://x.example"})
    )  # fmt: skip
    tries = [
        {"task_id": row.id, "fence": 1, "workspace_id": row.workspace_id, "number": 1, "outcome": "succeeded"}
        | {"started_at": now, "finished_at": now}
        for row in tasks
    ]
    connection.execute(sa.insert(Attempt), tries)
    connection.execute(sa.update(Run).where(Run.id.in_(run_ids)).values(**done, started_at=now))


def sweeping(home: str, given: argparse.Namespace, over: Any) -> None:
    """What a worker does beside its work, until it is over."""
    with engine(home, given.database_url) as made:
        calls = (
            (partial(sweep.press, made), given.every, over),
            (partial(shrink.reuse, made.database), shrink.REUSE_EVERY_S, over),
        )
        threads = [threading.Thread(target=again, args=call) for call in calls]
        for each in threads:
            each.start()
        for each in threads:
            each.join()


def again(call: Callable[[], object], every_s: float, over: Any) -> None:
    while not over.wait(every_s):
        call()


@contextmanager
def sweeper(home: str, given: argparse.Namespace) -> Iterator[None]:
    """In a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    over = spawn.Event()
    beside = spawn.Process(target=sweeping, args=(home, given, over))
    beside.start()
    try:
        yield
    finally:
        over.set()
        beside.join()
    if beside.exitcode:
        raise SystemExit(f"the sweeper ended with {beside.exitcode}")


def file_bytes(made: Engine) -> int:
    """The database on disk; of SQLite without the log beside it, which is emptied into it all the time."""
    if made.database.dialect.name == "sqlite":
        return Path(str(made.database.url.database)).stat().st_size
    with made.database.connect() as connection:
        size = sa.func.pg_database_size(sa.func.current_database())
        return int(connection.scalar(sa.select(size)) or 0)


def used_bytes(made: Engine) -> int:
    with made.database.connect() as connection:
        return int(connection.scalar(sa.select(sa.func.sum(Storage.bytes))) or 0)


def fill(made: Engine, armed: Armed, given: argparse.Namespace) -> dict[str, Any]:
    # Text that no database makes smaller by itself.
    data = {"text": os.urandom(given.payload // 2).hex()}
    peak, calls, began_at = 0, [], time.monotonic()
    for first in range(0, given.runs, _BATCH):
        arrivals = [Arrival(armed, Occurrence(f"key-{first + number}", data)) for number in range(_BATCH)]
        receipts = made.writer.submit(
            lambda connection, some=arrivals: enqueue.store_events(connection, some)
        )
        made.writer.submit(
            lambda connection, some=receipts: end_runs(connection, [str(each.run_id) for each in some])
        )
        if first % (_BATCH * 10) == 0:
            calls.append(timed_call(made, armed, f"call-{first}"))
            peak = max(peak, file_bytes(made))
        if given.rate:
            time.sleep(max(0.0, began_at + first / given.rate - time.monotonic()))
    return {
        "filled_s": round(time.monotonic() - began_at, 1),
        "peak_file_mb": round(peak / _MB, 1),
        "call_p50_ms": round(statistics.median(calls), 1),
        "call_most_ms": round(max(calls), 1),
    }


def timed_call(made: Engine, armed: Armed, key: str) -> float:
    """How long an event took to be on disk, in milliseconds."""
    began_at = time.perf_counter()
    receipt = made.writer.submit(
        lambda connection: enqueue.store_events(connection, [Arrival(armed, Occurrence(key, {}))])[0]
    )
    took_ms = (time.perf_counter() - began_at) * 1000
    made.writer.submit(lambda connection: end_runs(connection, [str(receipt.run_id)]))
    return took_ms


def settle(made: Engine, seconds: float) -> float:
    """Until two rounds find nothing more to do; how long that took."""
    began_at, quiet = time.monotonic(), 0
    while quiet < 2 and time.monotonic() - began_at < seconds:
        quiet = quiet + 1 if retention.press(made, seconds=2.0).is_quiet else 0
    return round(time.monotonic() - began_at, 1)


def is_sound(made: Engine, armed: Armed) -> bool:
    """Keys are known, and references hold."""
    (again,) = made.writer.submit(
        lambda connection: enqueue.store_events(connection, [Arrival(armed, Occurrence("key-0", {}))])
    )
    with made.database.connect() as connection:
        broken = (
            connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if made.database.dialect.name == "sqlite"
            else None
        )
    return again.duplicate and broken is None


def measure(given: argparse.Namespace) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="bq-") as home,
        engine(home, given.database_url, migrate=True) as made,
    ):
        armed = arm(made, int(given.budget_mb * _MB))
        with sweeper(home, given):
            report = fill(made, armed, given)
        report["settled_s"] = settle(made, 600)
        with made.database.connect() as connection:
            left = int(connection.scalar(sa.select(sa.func.count()).select_from(Run)) or 0)
            without_data = sa.select(sa.func.count()).where(Run.removed_at.is_not(None))
            stripped = int(connection.scalar(without_data) or 0)
        size = file_bytes(made)
        return report | {
            "file_mb": round(size / _MB, 1),
            "counted_mb": round(used_bytes(made) / _MB, 1),
            # PostgreSQL reuses the room of what was removed; its files do not become smaller.
            "within_budget": (used_bytes(made) if given.database_url else size) <= given.budget_mb * _MB,
            "stripped": stripped,
            "runs_left": left,
            "sound": is_sound(made, armed),
        }


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--payload", type=int, default=100_000, help="bytes of each event")
    parser.add_argument("--budget-mb", type=float, default=500)
    parser.add_argument("--rate", type=float, default=500, help="runs a second; 0: as fast as they go in")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between the sweeper's calls")
    return parser.parse_args(words)


def main() -> None:
    given = arguments()
    kind = "PostgreSQL" if given.database_url else "SQLite"
    print(
        f"{kind}, {os.cpu_count()} cores: {given.runs:,} runs of {given.payload:,} bytes, "
        f"{given.rate:.0f} a second, budget {given.budget_mb:g} MB"
    )
    print(json.dumps(measure(given), indent=2))


if __name__ == "__main__":
    main()
