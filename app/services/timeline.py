"""A run as its steps went: each with what it was to do, how far it came and what a filter found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import flow
from app.engine.core import Engine
from app.models import RuleVersion, StepKind
from app.services.activity import action_title, took_ms
from app.services.rule_words import condition_sentence
from app.services.runs import FILTERED, RunView
from app.services.tasks import TaskView

NOT_REACHED: Final = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    text: str
    matched: bool


@dataclass(frozen=True, slots=True)
class Stage:
    """`shown` is the task's state, "filtered" where the run ended, or "skipped" for what was not reached.

    `kept`: taken over from the run that this one repeats.
    """

    number: int
    key: str
    kind: str
    integration: str | None
    title: str
    shown: str
    took_ms: float | None
    checks: tuple[Check, ...]
    task: TaskView | None
    kept: bool


def stages(session: Session, engine: Engine, view: RunView) -> list[Stage]:
    """Every step of the version that the run keeps, reached or not."""
    steps = flow.definition(session.connection(), view.row.version_id)["steps"]
    by_path = {task.row.path: task for task in view.tasks}
    return [
        _stage(engine, view, flow.Place(str(at), step), by_path.get(str(at))) for at, step in enumerate(steps)
    ]


def last_step(view: RunView) -> str | None:
    """Where a person would go on: the last step that was begun."""
    return view.tasks[-1].row.step if view.tasks else None


def newest_version(session: Session, rule_id: str) -> int:
    found = session.scalar(sa.select(sa.func.max(RuleVersion.number)).where(RuleVersion.rule_id == rule_id))
    return found or 0


def step_title(engine: Engine, step: Mapping[str, Any]) -> str:
    if step.get("name"):
        return str(step["name"])
    return "Only go on if…" if step["kind"] == StepKind.FILTER else action_title(engine, step.get("action"))


def _stage(engine: Engine, view: RunView, place: flow.Place, task: TaskView | None) -> Stage:
    return Stage(
        number=int(place.path) + 1,
        key=place.key,
        kind=place.kind,
        integration=place.action.partition(".")[0] if place.action else None,
        title=step_title(engine, place.step),
        shown=_shown(view, task),
        took_ms=took_ms(task.row) if task else None,
        checks=_checks(place.step, task) if place.kind == StepKind.FILTER else (),
        task=task,
        kept=task is not None and task.row.created_at < view.row.created_at,
    )


def _shown(view: RunView, task: TaskView | None) -> str:
    if task is None:
        return NOT_REACHED
    return FILTERED if view.row.filtered_by and task.row.step == view.row.filtered_by else task.row.state


def _checks(step: Mapping[str, Any], task: TaskView | None) -> tuple[Check, ...]:
    """What the filter asks; once it was asked, what came of it."""
    verdict = task.output if task and isinstance(task.output, Mapping) else None
    if verdict is None:
        return ()
    if not verdict.get("passed"):
        return tuple(Check(str(why), matched=False) for why in verdict.get("why", ()))
    if step.get("match") == "any" and len(step["conditions"]) > 1:
        return (Check(" or ".join(map(condition_sentence, step["conditions"])), matched=True),)
    return tuple(Check(condition_sentence(row), matched=True) for row in step["conditions"])
