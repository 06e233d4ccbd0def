"""Things that happened in a workspace, made through the engine: rules, events, runs and tasks in every state."""

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from app import clock, ids
from app.database import db, write_connection, writing
from app.engine import enqueue, life
from app.engine.core import Engine
from app.models import Attempt, Rule, Run, State, Task, Trigger, TriggerKind
from app.sdk.declare import Occurrence
from tests import factories
from tests.conftest import World

STEPS: list[dict[str, Any]] = [
    {"key": "big", "kind": "filter", "conditions": [{"field": "event.total", "op": "gt", "value": 100}]},
    {"key": "call", "kind": "action", "action": "http.request", "connection": None,
     "params": {"method": "PUT", "url": "https://shop.example/done"}},
    {"key": "tell", "kind": "action", "action": "slack.send", "connection": None, "params": {}},
]  # fmt: skip


@dataclass
class Happened:
    """What a test says has happened in its workspace."""

    engine: Engine
    world: World
    _rules: dict[str, enqueue.Armed] = field(default_factory=dict)

    def rule(self, name: str = "Big orders") -> enqueue.Armed:
        """A rule that is on: a hook, a filter and two actions."""
        if name not in self._rules:
            self._rules[name] = self._make_rule(name)
        return self._rules[name]

    def _make_rule(self, name: str) -> enqueue.Armed:
        place = self.world.workspace.id
        definition = {"trigger": {"type": "webhook.received", "params": {}}, "steps": STEPS}
        rule = factories.RuleFactory(
            workspace_id=place, name=name, enabled=True, published=1, draft=definition
        )
        version = factories.RuleVersionFactory(workspace_id=place, rule_id=rule.id, definition=definition)
        trigger = Trigger(
            id=ids.new("trg"), workspace_id=place, rule_id=rule.id, kind=TriggerKind.HOOK, type="webhook.received",
            params={}, version_id=version.id, recent_keys=[],
        )  # fmt: skip
        db.session.add(trigger)
        db.session.commit()
        return enqueue.Armed(place, trigger.id, trigger.type, rule.id, version.id)

    def event(self, data: Any = None, *, rule: str = "Big orders", key: str | None = None) -> enqueue.Receipt:
        armed = self.rule(rule)
        occurrence = Occurrence(key, {"total": 120} if data is None else data)
        with write_connection(self.engine.database) as connection:
            (receipt,) = enqueue.store_events(connection, [enqueue.Arrival(armed, occurrence)])
        db.session.rollback()
        return receipt

    def run(
        self, state: State = State.QUEUED, data: Any = None, *, rule: str = "Big orders", **row: Any
    ) -> Run:
        """A run that stands in its second step, or ended there."""
        run_id = str(self.event(data, rule=rule).run_id)
        if state is not State.QUEUED:
            self._advance(run_id, state, row)
        return db.session.get_one(Run, run_id, populate_existing=True)

    def _advance(self, run_id: str, state: State, row: dict[str, Any]) -> None:
        now = clock.now()
        over = {"finished_at": now} if state.is_terminal else {}
        first = db.session.scalars(sa.select(Task).where(Task.run_id == run_id)).one()
        first.state, first.finished_at, first.started_at = State.SUCCEEDED, now, now
        first.output = {"passed": True, "why": []}
        second = factories.TaskFactory(
            workspace_id=self.world.workspace.id, queue_id=self.world.queue.id, run_id=run_id, path="1", step="call",
            state=state, cause=row.get("cause"), params={"url": "https://shop.example/done"}, attempt=1,
            started_at=now, **over,
        )  # fmt: skip
        values = {"state": state, "started_at": now, **over, **row}
        db.session.execute(sa.update(Run).where(Run.id == run_id).values(**values))
        outcome = {State.SUCCEEDED: "succeeded", State.FAILED: "failed", State.WAITING: "retried"}.get(state)
        self._attempt(second, outcome, row.get("cause"))
        db.session.commit()

    def filtered(self, why: str = "event.total is 50, not greater than 100") -> Run:
        run = db.session.get_one(Run, str(self.event({"total": 50}).run_id))
        task = db.session.scalars(sa.select(Task).where(Task.run_id == run.id)).one()
        now = clock.now()
        task.state, task.finished_at, task.output, task.cause = (
            State.SUCCEEDED, now, {"passed": False, "why": [why]}, why,
        )  # fmt: skip
        run.state, run.filtered_by, run.cause, run.finished_at = State.SUCCEEDED, "big", why, now
        db.session.commit()
        return run

    def task(self, state: State = State.QUEUED, **row: Any) -> Task:
        """A task from the API."""
        over = {"finished_at": clock.now()} if state.is_terminal else {}
        given = {"params": {"url": "https://shop.example/one"}, "path": "0", "queue_id": self.world.queue.id}
        return factories.TaskFactory(workspace_id=self.world.workspace.id, state=state, **given | over | row)

    def step(self, run: Run, path: str = "1") -> Task:
        return db.session.scalars(sa.select(Task).where(Task.run_id == run.id, Task.path == path)).one()

    def replayed(self, run: Run) -> str:
        run_id = run.id
        with writing() as session:
            return life.replay_run(session, session.get_one(Run, run_id)).id

    def rule_row(self, name: str = "Big orders") -> Rule:
        return db.session.get_one(Rule, self.rule(name).rule_id)

    def _attempt(self, task: Task, outcome: str | None, cause: str | None) -> None:
        now = clock.now()
        tried = Attempt(
            task_id=task.id, fence=1, workspace_id=task.workspace_id, number=1, started_at=now,
            finished_at=now if outcome else None, outcome=outcome, cause=cause,
        )  # fmt: skip
        db.session.add(tried)
