"""Whatever happens, in whatever order: nothing that goes on is removed, and no repetition becomes a second run."""

import os
import random
from datetime import timedelta

import sqlalchemy as sa
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from app import clock
from app.database import write_connection
from app.engine import life, removal, retention, sweep
from app.engine.removal import KEY_KEPT
from app.errors import ConflictError
from app.models import Event, Payload, Run, Storage, Task, Workspace
from app.models.states import TERMINAL
from app.models.storage import API_TASKS, KEYS
from app.sdk.errors import RejectedError, TemporaryError
from tests.conftest import _empty as empty
from tests.engine.conftest import step, workspace

EXAMPLES = int(os.environ.get("RETENTION_EXAMPLES", "20"))
LIGHT, LARGE = {"text": "x"}, {"text": "x" * 70_000}
ANSWERS = {
    "large": lambda params: LARGE,
    "small": lambda params: {"ok": True},
    "busy": TemporaryError("busy"),
    "no": RejectedError("no"),
}


class Life:
    """A workspace over weeks."""

    def __init__(self, bench):
        self.bench = bench
        self.armed = self.bench.arm(step("first"), step("second"))
        self.now = clock.now()
        self.mover = time_machine.travel(self.now, tick=True)
        self.mover.start()
        # Key → when it came for the first time; and which task it was.
        self.accepted = {}
        self.requested = {}

    def end(self):
        self.mover.stop()

    def accept(self, key, large, answer):
        at, before = self.accepted.get(key), len(self._mine(Run))
        receipt = self.bench.accept(self.armed, LARGE if large else LIGHT, key)
        if at and clock.now() - at < KEY_KEPT - timedelta(hours=1):
            assert receipt.duplicate
            assert len(self._mine(Run)) == before
        if not receipt.duplicate:
            self.accepted[key] = clock.now()
        if answer:
            self.work(answer)

    def request(self, key):
        """Asked for again within the time, it is the same task."""
        before = {row.id for row in self._mine(Task) if row.idempotency_key == key}
        task_id = self.bench.task({"what": "x" * 6_000}, idempotency_key=key, request_sha256="1")
        asked = self.requested.get(key)
        if asked and clock.now() - asked[0] < KEY_KEPT - timedelta(hours=1):
            assert task_id == asked[1]
        if task_id not in before:
            self.requested[key] = (clock.now(), task_id)
        self.work("small")

    def work(self, answer):
        found = ANSWERS[answer]

        def say(params):
            if isinstance(found, Exception):
                raise found
            return found(params)

        self.bench.provider.answer = say
        for _ in range(3):
            for task in self.bench.claim():
                self.bench.execute(task)

    def _some(self, which):
        rows = self.bench.rows(Run)
        return rows[which % len(rows)].id if rows else None

    def cancel(self, which):
        self._person(self._some(which), life.cancel_run)

    def run_again(self, which, from_step):
        def again(session, run):
            life.replay_run(session, run, from_step="second" if from_step else None)
            removal.require_run_data(session.connection(), run.id, kept_steps=from_step)

        self._person(self._some(which), again)

    def _person(self, run_id, verb):
        if run_id is None:
            return
        try:
            with write_connection(self.bench.engine.database) as connection, Session(connection) as session:
                verb(session, session.get_one(Run, run_id))
                session.flush()
        except (ConflictError, life.InvalidError):
            pass

    def wait(self, hours):
        self.mover.stop()
        self.now = max(self.now, clock.now()) + timedelta(hours=hours)
        self.mover = time_machine.travel(self.now, tick=True)
        self.mover.start()

    def squeeze(self, days, runs, budget, whole):
        """Somebody decides what to keep, and the sweep comes by."""
        with write_connection(self.bench.engine.database) as connection:
            connection.execute(
                sa.update(Workspace)
                .where(Workspace.id == self.bench.workspace_id)
                .values(keep_days=days, keep_runs=runs, budget_bytes=budget)
            )
        before, referred = self._open(), self._referred()

        if whole:
            sweep.run(self.bench.engine)
        else:
            retention.press(self.bench.engine, seconds=20)

        assert self._open() == before
        left = {row.id for row in self._mine(Payload)}
        assert (referred - self._referred()) & left == set()

    def _open(self):
        """What goes on, with everything it needs."""
        runs = {row.id: row.event_id for row in self._mine(Run) if row.state not in TERMINAL}
        tasks = {
            row.id: (row.state, row.params, row.output, row.payload_id)
            for row in self._mine(Task)
            if row.state not in TERMINAL or row.run_id in runs
        }
        events = {row.id: row for row in self._mine(Event)}
        given = {run: (events[event].data, events[event].payload_id) for run, event in runs.items()}
        return runs, tasks, given

    def _referred(self):
        return {row.payload_id for row in (*self._mine(Task), *self._mine(Event)) if row.payload_id}

    def _mine(self, model):
        return self.bench.rows(model, workspace_id=self.bench.workspace_id)

    def every_reference_finds_its_row(self):
        assert self._referred() <= {row.id for row in self._mine(Payload)}
        with self.bench.engine.database.connect() as connection:
            if connection.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []

    def counters_are_what_they_count(self):
        counted = {
            row.subject_id: (row.count, row.bytes)
            for row in self._mine(Storage)
            if row.subject_id in {self.armed.rule_id, API_TASKS, KEYS}
        }
        runs = [row.bytes for row in self._mine(Run) if row.bytes is not None]
        tasks = [row.bytes for row in self._mine(Task) if row.bytes is not None]
        assert counted.get(self.armed.rule_id, (0, 0)) == (len(runs), sum(runs))
        assert counted.get(API_TASKS, (0, 0)) == (len(tasks), sum(tasks))
        assert counted.get(KEYS, (0, 0))[0] == sum(row.key_until is not None for row in self._mine(Event))


# As likely as it takes for the rare meetings: a run that is begun again from a step while the first one is removed.
_WEIGHTS = {"accept": 4, "run_again": 4, "squeeze": 4, "work": 2, "request": 1, "cancel": 1, "wait": 1}
_STEPS = 16


def steps(seed):
    """Names with what they are given."""
    dice = random.Random(seed)
    makes = {
        "accept": lambda: (
            dice.choice("ABC"),
            dice.random() < 0.5,
            dice.choice(["large", "large", *ANSWERS, None]),
        ),
        "run_again": lambda: (dice.randrange(6), dice.random() < 0.7),
        "squeeze": lambda: (
            dice.choice([None, None, 0, 1, 30]),
            dice.choice([None, None, None, 0, 1]),
            dice.choice([1, 100_000, 400_000, 10**9]),
            dice.random() < 0.3,
        ),
        "work": lambda: (dice.choice(sorted(ANSWERS)),),
        "request": lambda: (dice.choice("KL"),),
        "cancel": lambda: (dice.randrange(6),),
        "wait": lambda: (dice.choice([30, 200]),),
    }
    for name in dice.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=_STEPS):
        yield name, makes[name]()


def test_nothing_that_goes_on_is_removed_and_no_key_is_forgotten(engine, provider, session):
    # Whole lives by their seed: lists of steps would mostly be made of the first kinds.
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(seed=st.integers(0, 2**32))
    def live(seed):
        empty(engine.database)
        lived = Life(workspace(engine, provider))
        try:
            for name, given_ in steps(seed):
                getattr(lived, name)(*given_)
                lived.every_reference_finds_its_row()
                lived.counters_are_what_they_count()
        finally:
            lived.end()

    live()
