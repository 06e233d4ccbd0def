"""The failure desk: what failed or is uncertain and nobody has seen to yet, grouped by what is alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.engine import flow
from app.engine.core import Engine
from app.models import Connection, Rule, RuleVersion, Run, State, Task
from app.services.access import Actor, scoped
from app.services.activity import action_title
from app.services.causes import alike, key_of
from app.services.timeline import step_title

Kind = Literal["run", "task"]
# What mends it first: an answer to its question, the account, the version that was published since, the step
# itself, or only trying again.
Way = Literal["answer", "connect", "newest", "edit", "retry"]

LOOKED_AT: Final = 5000
_SHOWN: Final = 5
# How a cause ends when the service was away each time: not the step's fault.
_TRIED: Final = "run it again when that is mended"


@dataclass(frozen=True, slots=True)
class Failure:
    """A run, or a task of the API, by its id; `step` and `task_id` are where the run stands."""

    kind: Kind
    id: str
    state: State
    at: datetime
    cause: str
    task_id: str | None
    action: str | None
    connection_id: str | None
    step: str | None = None
    rule_id: str | None = None
    version_id: str | None = None

    @property
    def key(self) -> str:
        return key_of(self.kind, self.rule_id, self.step or self.action, self.state, alike(self.cause))


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    name: str
    healthy: bool


@dataclass(frozen=True, slots=True)
class Group:
    """`members` are all of its ids and `newest` a few of them, newest first. `cause` has gaps where they differ.

    `editable`: the step stands in the rule's draft. `has_newer`: a version was published since.
    """

    key: str
    kind: Kind
    state: State
    cause: str
    first_at: datetime
    last_at: datetime
    members: tuple[str, ...]
    newest: tuple[Failure, ...]
    title: str
    step: str | None
    rule_id: str | None
    rule: str | None
    account: Account | None
    editable: bool
    has_newer: bool

    @property
    def count(self) -> int:
        return len(self.members)

    @property
    def way(self) -> Way:
        if self.state is State.UNCERTAIN:
            return "answer"
        if self.account and not self.account.healthy:
            return "connect"
        if self.has_newer:
            return "newest"
        return "edit" if self.editable and not self.cause.endswith(_TRIED) else "retry"


@dataclass(frozen=True, slots=True)
class Desk:
    """The newest group first; not `complete` where there is more than the newest failures that were looked at."""

    groups: tuple[Group, ...]
    complete: bool

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)


def desk(session: Session, actor: Actor, engine: Engine) -> Desk:
    found = sorted([*_runs(session, actor), *_tasks(session, actor)], key=_moment, reverse=True)
    alike_ones: dict[str, list[Failure]] = {}
    for failure in found[:LOOKED_AT]:
        alike_ones.setdefault(failure.key, []).append(failure)
    known = _Known(session, engine, [each[0] for each in alike_ones.values()])
    groups = [_group(key, failures, known) for key, failures in alike_ones.items()]
    newest = sorted(groups, key=lambda group: group.last_at, reverse=True)
    return Desk(tuple(newest), complete=len(found) <= LOOKED_AT)


def count(session: Session, actor: Actor) -> int:
    """How many there are, up to as many as are looked at."""
    parts = (_open_runs(actor, Run.id), _open_tasks(actor, Task.id))
    counted = (session.scalar(sa.select(sa.func.count()).select_from(part.subquery())) or 0 for part in parts)
    return min(sum(counted), LOOKED_AT)


def _moment(failure: Failure) -> str:
    return failure.id.partition("_")[2]


# As the indexes `ix_…_open_failures` have it: parameters would not match them.
_RUN_STANDS: Final = sa.text(
    "runs.state IN ('failed', 'uncertain') AND runs.replayed_by IS NULL AND runs.dismissed_at IS NULL"
)
_TASK_STANDS: Final = sa.text(
    "tasks.run_id IS NULL AND tasks.state IN ('failed', 'uncertain') AND tasks.retried_by IS NULL "
    "AND tasks.dismissed_at IS NULL"
)


def _open_runs(actor: Actor, *columns: Any) -> sa.Select[Any]:
    query = scoped(Run, actor).with_only_columns(*columns).where(_RUN_STANDS)
    return query.order_by(Run.id.desc()).limit(LOOKED_AT + 1)


def _open_tasks(actor: Actor, *columns: Any) -> sa.Select[Any]:
    query = scoped(Task, actor).with_only_columns(*columns).where(_TASK_STANDS)
    return query.order_by(Task.id.desc()).limit(LOOKED_AT + 1)


def _runs(session: Session, actor: Actor) -> list[Failure]:
    stopped = sa.and_(Task.run_id == Run.id, Task.state.in_((State.FAILED, State.UNCERTAIN)))
    at = sa.func.coalesce(Run.finished_at, Task.started_at, Run.created_at, type_=Run.created_at.type)
    columns = (
        Run.id, Run.state, at, sa.func.coalesce(Task.cause, Run.cause, ""), Task.id, Task.action, Task.connection_id,
        Task.step, Run.rule_id, Run.version_id,
    )  # fmt: skip
    rows = session.execute(_open_runs(actor, *columns).outerjoin(Task, stopped))
    # A run stops at one step, and is one failure however many it had.
    return list({row[0]: Failure("run", *row) for row in rows}.values())


def _tasks(session: Session, actor: Actor) -> list[Failure]:
    at = sa.func.coalesce(Task.finished_at, Task.started_at, Task.created_at, type_=Task.created_at.type)
    columns = (
        Task.id,
        Task.state,
        at,
        sa.func.coalesce(Task.cause, ""),
        Task.id,
        Task.action,
        Task.connection_id,
    )
    return [Failure("task", *row) for row in session.execute(_open_tasks(actor, *columns))]


class _Known:
    """The rules, versions and accounts that the newest failure of each group speaks of."""

    def __init__(self, session: Session, engine: Engine, newest: Sequence[Failure]) -> None:
        self.session, self.engine = session, engine
        self.rules = _by_id(session, Rule, [each.rule_id for each in newest])
        self.numbers = _numbers(session, [each.version_id for each in newest])
        self.accounts = _by_id(session, Connection, [each.connection_id for each in newest])

    def account(self, failure: Failure) -> Account | None:
        row = self.accounts.get(failure.connection_id or "")
        return Account(row.id, row.name, row.healthy) if row else None

    def title(self, failure: Failure) -> str:
        """What the step is called in the version that the run keeps."""
        version_id = failure.version_id
        if failure.step is None or version_id is None or version_id not in self.numbers:
            return action_title(self.engine, failure.action) if failure.action else ""
        definition = flow.definition(self.session.connection(), version_id)
        place = flow.find(definition, failure.step)
        return step_title(self.engine, place.step) if place else action_title(self.engine, failure.action)


def _by_id(session: Session, model: Any, ids: Sequence[str | None]) -> dict[str, Any]:
    wanted = {each for each in ids if each}
    return {row.id: row for row in session.scalars(sa.select(model).where(model.id.in_(wanted)))}


def _numbers(session: Session, ids: Sequence[str | None]) -> Mapping[str, int]:
    query = sa.select(RuleVersion.id, RuleVersion.number).where(
        RuleVersion.id.in_({each for each in ids if each})
    )
    return dict(iter(session.execute(query)))


def _group(key: str, failures: Sequence[Failure], known: _Known) -> Group:
    newest = failures[0]
    rule = known.rules.get(newest.rule_id or "")
    standing = rule if rule is not None and rule.deleted_at is None else None
    times = [each.at for each in failures]
    varied = len({each.cause for each in failures[:100]}) > 1
    return Group(
        key=key,
        kind=newest.kind,
        state=newest.state,
        cause=alike(newest.cause) if varied else newest.cause,
        first_at=min(times),
        last_at=max(times),
        members=tuple(each.id for each in failures),
        newest=tuple(failures[:_SHOWN]),
        title=known.title(newest),
        step=newest.step,
        rule_id=newest.rule_id,
        rule=rule.name if rule else None,
        account=known.account(newest),
        editable=standing is not None and newest.step in _step_keys(standing),
        has_newer=_has_newer(standing, known.numbers.get(newest.version_id or "")),
    )


def _step_keys(rule: Rule) -> set[str]:
    return {str(step.get("key")) for step in rule.draft.get("steps", [])}


def _has_newer(rule: Rule | None, number: int | None) -> bool:
    return rule is not None and number is not None and (rule.published or 0) > number
