"""What a claimed task needs to be executed: its run's event, definition and the outputs so far."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from app import clock
from app.engine import flow, payloads
from app.engine.claim import Claimed
from app.models import Event, Rule, Run, State, StepKind, Task


@dataclass(slots=True)
class RunMaterial:
    """`outputs` grows as steps succeed: step key → output."""

    run_id: str
    rule_id: str
    rule_name: str
    definition: flow.Definition
    event: Any
    depth: int
    created_at: datetime
    outputs: dict[str, Any] = field(default_factory=dict)

    def context(self) -> dict[str, Any]:
        """The names that templates and conditions see."""
        return {
            "event": self.event,
            "steps": self.outputs,
            "rule": {"id": self.rule_id, "name": self.rule_name},
            "run": {"id": self.run_id, "started_at": clock.rfc3339(self.created_at)},
        }


def load(connection: sa.Connection, tasks: Iterable[Claimed]) -> dict[str, RunMaterial]:
    """By run id, for all tasks of a claim together."""
    run_ids = [task.run_id for task in tasks if task.run_id]
    if not run_ids:
        return {}
    found = {row.id: _material(connection, row) for row in connection.execute(_RUNS, {"runs": run_ids})}
    later = [task.run_id for task in tasks if task.run_id and task.path != "0"]
    if later:
        for row in connection.execute(_OUTPUTS, {"runs": later}):
            found[row.run_id].outputs[row.step] = payloads.load(connection, row.output, row.payload_id)
    return found


def _material(connection: sa.Connection, row: Any) -> RunMaterial:
    return RunMaterial(
        run_id=row.id,
        rule_id=row.rule_id,
        rule_name=row.rule_name,
        definition=flow.definition(connection, row.version_id),
        event=payloads.load(connection, row.data, row.payload_id),
        depth=row.depth,
        created_at=row.created_at,
    )


_RUNS = (
    sa.select(
        Run.id, Run.rule_id, Run.version_id, Run.created_at, Rule.name.label("rule_name"),
        Event.data, Event.payload_id, Event.depth,
    )
    .join(Event, Event.id == Run.event_id)
    .join(Rule, Rule.id == Run.rule_id)
    .where(Run.id.in_(sa.bindparam("runs", expanding=True)))
)  # fmt: skip
_OUTPUTS = sa.select(Task.run_id, Task.step, Task.output, Task.payload_id).where(
    Task.run_id.in_(sa.bindparam("runs", expanding=True)),
    Task.state == State.SUCCEEDED,
    Task.kind == StepKind.ACTION,
)
