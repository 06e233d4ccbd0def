"""The stage of a scenario: real processes started as a user starts them, and handles to hurt each."""

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import sqlalchemy as sa

from tests.faults import points
from tests.faults.databases import Databases, driven
from tests.faults.facts import Hurt, Vitals
from tests.faults.generator import Generator, Lane
from tests.faults.names import Names
from tests.faults.parts import Redis, is_alive, vitals_of
from tests.faults.provider import Provider
from tests.live import Server, wait_until

SECRETS = {"SECRET_KEY": "s" * 48, "CREDENTIAL_KEYS": "k1:" + "YmVuY2g" * 6 + "Y="}
NAMES = {"web": "gunicorn", "worker": "worker.py", "clock": "deploy.clock"}


@dataclass
class Stage:
    """All that a scenario has in its hands."""

    home: Path
    server: Server
    redis: Redis
    provider: Provider
    databases: Databases
    rng: random.Random
    events: int
    key: str
    hurts: list[Hurt] = field(default_factory=list)
    # What the scenario saw that must not be.
    objections: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lanes: list[Lane] = field(default_factory=list)
    generators: list[Generator] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    once: set[str] = field(default_factory=set)
    slots: frozenset[str] | None = None
    may_wait: bool = False
    # Causes that the scenario brings about on purpose.
    restarts_meant: int = 0
    before: list[Vitals] = field(default_factory=list)
    names: Names | None = None

    # --- what is set up

    @property
    def points_home(self) -> Path:
        return self.home / "faults"

    @property
    def kind(self) -> str:
        return self.databases.kind

    def rule(
        self,
        name: str,
        trigger: Mapping[str, Any],
        params: Mapping[str, Any],
        *,
        action: str = "http.request",
        connection: str | None = None,
    ) -> dict[str, Any]:
        step = {"key": "call", "kind": "action", "action": action, "connection": connection, "params": params}
        document = {"name": name, "enabled": True, "trigger": trigger, "steps": [step]}
        with self.server.api(self.key) as api:
            answer = api.post("/api/v1/rules", json=document)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    def call(self, path: str, *, repeatable: bool, **params: Any) -> dict[str, Any]:
        """The params of a step that calls the provider."""
        body = {"order": "{{ event.order }}"}
        given = {"method": "POST", "url": self.provider.url(path), "json": body, "repeat_safe": repeatable}
        return given | params

    def lane(
        self,
        name: str,
        *,
        repeatable: bool,
        action: str = "http.request",
        connection: str | None = None,
        **params: Any,
    ) -> Lane:
        """A rule with a hook; orders of this lane reach the provider at the path of its name."""
        call, hook = (
            self.call(name, repeatable=repeatable, **params),
            {"type": "webhook.received", "params": {}},
        )
        made = self.rule(name, hook, call, action=action, connection=connection)
        lane = Lane(name, made["hook_url"], {}, repeatable, {"order": "ORDER"})
        return self._added(lane)

    def task_lane(self, name: str, *, repeatable: bool, **more: Any) -> Lane:
        """Tasks over the API."""
        params = self.call(name, repeatable=repeatable) | {"json": {"order": "ORDER"}}
        body = {"action": "http.request", "params": params} | more
        lane = Lane(
            name,
            f"{self.server.url}/enqueue",
            {"Authorization": f"Bearer {self.key}"},
            repeatable,
            body,
            is_task=True,
        )
        return self._added(lane)

    def _added(self, lane: Lane) -> Lane:
        self.lanes.append(lane)
        if not lane.repeatable:
            self.once.add(lane.name)
        return lane

    def usual_lanes(self) -> None:
        """Hooks whose action may be repeated, hooks whose action may not, and tasks over the API."""
        self.lane("safe", repeatable=True)
        self.lane("once", repeatable=False)
        self.task_lane("task", repeatable=False)

    def pace(self, quick: float) -> float:
        """Events a second: in quick mode that many, with thousands of events more."""
        return max(quick, self.events / 20)

    def send(self, *, rate: float = 60.0, count: int | None = None, lanes: Sequence[Lane] = ()) -> Generator:
        generator = Generator(lanes or self.lanes, count=count or self.events, rate=rate)
        self.generators.append(generator)
        if not self.before:
            self.before = self.vitals()
        return generator.start()

    # --- what is done to it

    def pids(self, name: str) -> list[int]:
        return self.server.pids(NAMES[name])

    def kill(self, name: str, *, which: int | None = None, number: signal.Signals = signal.SIGKILL) -> None:
        """All processes of a name, or one of them."""
        pids = self.pids(name)
        if which is not None and pids:
            pids = [pids[which % len(pids)]]
        at_s = time.time()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if pids:
            self.hurts.append(Hurt(f"{number.name} {name}", at_s, at_s, tuple(pids)))

    @contextmanager
    def away(self, what: str) -> Iterator[None]:
        """Something that all stand on is away inside of the block."""
        at_s = time.time()
        yield
        self.hurts.append(Hurt(what, at_s, time.time()))

    def kill_redis(self, away_s: float = 0.0) -> None:
        with self.away("redis"):
            self.redis.signal(signal.SIGKILL)
            time.sleep(away_s)
            self.redis.start()

    def kill_web(self) -> None:
        """And wait until it answers again: the supervisor starts what dies often ever later."""
        self.kill("web")
        with suppress(AssertionError):
            wait_until(self.server.answers, seconds=30, what="the web answers again")

    def hold_redis(self, for_s: float) -> None:
        with self.away("redis stopped"):
            self.redis.signal(signal.SIGSTOP)
            time.sleep(for_s)
            self.redis.signal(signal.SIGCONT)

    def kill_server(self) -> list[int]:
        """All of its processes, which are given, and Redis, which stays away."""
        pids = self.server.pids("")
        self.redis.signal(signal.SIGKILL)
        self.server.process.kill()
        self.server.process.wait()
        wait_until(lambda: not any(map(is_alive, pids)), seconds=10, what="the children are gone")
        return pids

    def restart_all(self) -> None:
        """Everything at once, by kill -9, and up again."""
        at_s, pids = time.time(), self.kill_server()
        if self.databases.cluster:
            self.databases.cluster.stop("immediate")
            self.databases.cluster.start()
        self.redis.start()
        self.server.start()
        self.restarts_meant += len(pids)
        self.hurts.append(Hurt("everything", at_s, time.time()))
        self.hurts.append(Hurt("everything died", at_s, at_s, tuple(pids)))

    def heed_points(self, what: str = "point") -> None:
        """Processes that fail-points killed are hurts too."""
        for fired in points.fired(self.points_home):
            self.hurts.append(Hurt(f"{what} {fired.name}", fired.at_s, fired.at_s, (fired.pid,)))

    # --- what is seen of it

    def expect(self, holds: object, sentence: str) -> None:
        if not holds:
            self.objections.append(sentence)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.reader() as connection:
            return list(connection.execute(sa.text(statement), values).all())

    @contextmanager
    def reader(self) -> Iterator[sa.Connection]:
        database = sa.create_engine(driven(self.server.env["DATABASE_URL"]), poolclass=sa.NullPool)
        with database.connect() as connection:
            yield connection

    def states(self) -> dict[str, int]:
        return {row[0]: row[1] for row in self.rows("SELECT state, count(*) FROM tasks GROUP BY state")}

    def quiet(self, seconds: float = 60.0, *, waiting: bool = False) -> None:
        """Until every task has ended or asks; `waiting`: or waits. What is left is the checker's."""
        for generator in self.generators:
            generator.join()
        busy = ("queued", "running") if waiting else ("queued", "running", "waiting")
        with suppress(AssertionError):
            wait_until(lambda: not any(map(self.states().get, busy)), seconds=seconds, what="quiet")

    def until_sent(self, part: float) -> None:
        """Until so much of the last generator's events are acknowledged."""
        generator = self.generators[-1]
        wait_until(
            lambda: len(generator.sent) >= part * generator.count or not generator.is_running,
            seconds=120,
            what="the events flow",
        )

    def uncertain_of(self, lane: str) -> int:
        """Of the runs of the rule of that name."""
        return int(
            self.rows(
                "SELECT count(*) FROM runs JOIN rules ON rules.id = runs.rule_id "
                "WHERE rules.name = :name AND runs.state = 'uncertain'",
                name=lane,
            )[0][0]
        )

    def asked(self, path: str = "/healthz") -> tuple[int, float]:
        """(status, seconds) of a request of another person's; 0: none."""
        began = time.monotonic()
        status = 0
        with suppress(httpx2.HTTPError):
            status = httpx2.get(f"{self.server.url}{path}", timeout=20).status_code
        return status, time.monotonic() - began

    def shift(self, seconds: float) -> None:
        """Set the wall clock of all processes, where the plan has `clock`."""
        draft = self.points_home / "shift.new"
        draft.write_text(str(seconds))
        draft.rename(self.points_home / "shift")

    def children(self, name: str) -> list[int]:
        """As `pids`; of the web without its master, which does no work."""
        pids = self.pids(name)
        return pids[1:] if name == "web" else pids

    def vitals(self) -> list[Vitals]:
        return [vitals for name in NAMES for pid in self.pids(name) if (vitals := vitals_of(name, pid))]
