"""Executing a claimed task, and the steps after it, until the run ends or has to wait."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog

from app import clock
from app.engine import flow, masking, pace, policy, record
from app.engine.call import Call, HeldError, bug, call_for, own_params, prepare, when_possible
from app.engine.claim import Claimed
from app.engine.commit import Together
from app.engine.core import Engine
from app.engine.following import follow
from app.engine.known import knows
from app.engine.material import RunMaterial
from app.engine.pace import PacedError
from app.errors import SealError
from app.models import Connection, StepKind
from app.sdk import jsonvalues, templates
from app.sdk.conditions import Condition, Match, Verdict, evaluate
from app.sdk.errors import AuthError, RejectedError, TemporaryError

log = structlog.get_logger()

T = TypeVar("T")
Unit = Callable[[sa.Connection], Any]

_LONGEST_CAUSE = 2000


def execute_chain(
    engine: Engine, task: Claimed, run: RunMaterial | None, on_step: Callable[[Claimed], None]
) -> None:
    """The task and, in the same greenlet, the steps that follow it; `on_step` is told of each of those."""
    following: Claimed | None = task
    while following is not None:
        on_step(following)
        following = _execute(engine, following, run)


def _execute(engine: Engine, task: Claimed, run: RunMaterial | None) -> Claimed | None:
    trying = _Try(engine, task, run, record.Trace(began_at=clock.now()))
    try:
        return trying.filter() if task.kind == StepKind.FILTER else trying.act()
    except record.StaleError:
        log.warning("task_not_ours", task=task.id, fence=task.fence)
    except (HeldError, SealError) as error:
        trying.hold(str(error))
    except PacedError as error:
        trying.wait(error)
    except TemporaryError as error:
        trying.later(error)
    except AuthError as error:
        trying.refused(error)
    except RejectedError as error:
        trying.fail(str(error))
    except Exception as error:  # the one place: whatever an integration raises must not lose the task
        log.exception("task_broke", task=task.id, action=task.action)
        trying.fail(bug(task.action, error))
    return None


@dataclass(slots=True)
class _Try:
    """One attempt at one task; each way it can end is written down before anything else happens."""

    engine: Engine
    task: Claimed
    run: RunMaterial | None
    trace: record.Trace
    # What its connection's service made of the call.
    failure: pace.Failure | None = None

    def filter(self) -> Claimed | None:
        place = self._place()
        verdict = judge(place.step, self._context())
        output = {"passed": verdict.passed, "why": list(verdict.sentences)}
        if verdict.passed:
            return self._succeed(output)
        cause = said("; ".join(verdict.sentences))
        self._write(record.succeed, record.Success(self.task, self.trace, output, stopped=cause))
        return None

    def act(self) -> Claimed | None:
        call = prepare(self.engine, self.task, self._given())
        if self.run is not None:
            self.trace = replace(self.trace, params=masking.mask(call.given))
        if not call.repeatable:
            self._write(record.begin, record.Beginning(self.task, self.trace))
            self.trace = replace(self.trace, announced=True)
        output = self._storable(self._call(call))
        if self.run is not None:
            self.run.outputs[str(self.task.step)] = output
        return self._succeed(output)

    def _call(self, call: Call) -> Any:
        began_at = clock.now()
        try:
            output = call_for(call, self.engine, self.task, self.run)
        except TemporaryError as error:
            if call.account is not None:
                self.failure = pace.Failure(call.account, said(error), began_at, error.after)
            raise
        except RejectedError:
            self._answered(call)
            raise
        self._answered(call)
        return output

    def _answered(self, call: Call) -> None:
        """Whatever the service said, it is there."""
        if call.account is not None and call.account.paced:
            self.engine.writer.post(partial(pace.went_well, connection_id=call.account.id))

    def _storable(self, output: Any) -> Any:
        """What was done stays done, though what came back has no JSON form."""
        try:
            jsonvalues.dumps(output)
        except (TypeError, ValueError, RecursionError):
            log.exception("output_has_no_json_form", task=self.task.id, action=self.task.action)
            return None
        return output

    def _place(self) -> flow.Place:
        place = flow.at(self.run.definition, self.task.path) if self.run else None
        if place is None:
            raise RejectedError(f"the step {self.task.step} is not in this version of the rule")
        return place

    def _context(self) -> dict[str, Any]:
        return self.run.context() if self.run else {}

    def _given(self) -> Any:
        """A rule's params are rendered from its definition; a task's own are taken literally."""
        if self.run is not None:
            return templates.render(self._place().step.get("params", {}), self._context())
        return own_params(self.engine, self.task)

    def _knows(self, place: flow.Place) -> bool:
        return knows(self.engine.catalogue, place.kind, place.action)

    def _succeed(self, output: Any) -> Claimed | None:
        place = flow.after(self.run.definition, self.task.path) if self.run else None
        following = follow(self.task, place, goes_on=self._knows(place)) if place else None
        success = record.Success(self.task, self.trace, output, following)
        if following and following.task and self.task.kind == StepKind.FILTER:
            # No need to wait: nothing was done that could be done twice, and the next write comes after this one.
            self.engine.writer.post_to(record.succeed, success, subject=self._subject)
            return following.task
        goes_on = self._write(record.succeed, success)
        return following.task if following and goes_on else None

    def later(self, error: TemporaryError) -> None:
        """Try again, or ask a person when it may have been done and must not be done twice."""
        cause = said(error)
        if self.trace.announced and error.sent:
            question = (
                f"{cause}; nobody knows whether it was done: look there, then say whether to do it again"
            )
            self._end(lambda connection: record.ask(connection, self.task, self.trace, question))
        elif self._was_too_much(error):
            self._wait(f"{pace.WAITS}{cause}", self._pause(error))
        elif self.task.attempt >= self.task.max_attempts:
            self.fail(f"{cause}; tried {self.task.attempt} times, run it again when that is mended")
        else:
            due_at = self._pause(error)
            self._end(
                lambda connection: record.retry(connection, self.task, self.trace, cause, due_at=due_at)
            )

    def _was_too_much(self, error: TemporaryError) -> bool:
        """The service takes no more calls for now: nobody's fault, and no attempt."""
        if self.failure is None or error.after is None:
            return False
        return pace.is_patient(self.failure.account.ailing_since, clock.now())

    def _pause(self, error: TemporaryError) -> datetime:
        return clock.now() + timedelta(seconds=policy.pause_s(self.task.attempt, after_s=error.after))

    def wait(self, wait: PacedError) -> None:
        self._wait(said(wait), wait.due_at, wait.turn)

    def _wait(self, cause: str, due_at: datetime, turn_at: datetime | None = None) -> None:
        def unit(connection: sa.Connection) -> None:
            record.hold(connection, self.task, self.trace, cause, due_at=due_at, turn_at=turn_at)

        self._end(unit)

    def refused(self, error: AuthError) -> None:
        """The account is marked broken and its tasks held; without an account there is nothing to mend."""
        if self.task.connection_id is None:
            self.fail(str(error))
            return
        cause = said(error)

        def unit(connection: sa.Connection) -> None:
            record.hold(connection, self.task, self.trace, f"held: {cause}", due_at=clock.now() + policy.HOLD)
            _mark_broken(connection, self.task, self.trace, cause)

        self._end(unit)

    def hold(self, cause: str) -> None:
        self._wait(said(cause), clock.now() + policy.HOLD)

    def fail(self, cause: str) -> None:
        self._end(lambda connection: record.fail(connection, self.task, self.trace, said(cause)))

    def _end(self, unit: Unit) -> None:
        failure = self.failure

        def ended(connection: sa.Connection) -> None:
            unit(connection)
            if failure is not None:
                pace.failed(connection, failure)

        submit = partial(self.engine.writer.submit, ended, subject=self._subject)
        try:
            when_possible(self.task, submit)
        except record.StaleError:
            log.warning("task_not_ours", task=self.task.id, fence=self.task.fence)

    def _write(self, write: Together[Any, T], item: Any) -> T:
        submit = partial(self.engine.writer.submit_to, write, item, subject=self._subject)
        return when_possible(self.task, submit)

    @property
    def _subject(self) -> str:
        """The writes of one run keep their order."""
        return self.task.run_id or self.task.id


def said(words: object) -> str:
    """A cause as both databases take it: without NUL and lone surrogates, which strangers' data may hold."""
    text = str(words).replace("\x00", "\ufffd")[:_LONGEST_CAUSE]
    return text.encode("utf-8", "replace").decode()


def _mark_broken(connection: sa.Connection, task: Claimed, trace: record.Trace, cause: str) -> None:
    connection.execute(
        sa.update(Connection)
        .where(
            Connection.id == task.connection_id,
            Connection.workspace_id == task.workspace_id,
            # Not where somebody mended it while this was under way.
            Connection.updated_at <= trace.began_at,
        )
        .values(healthy=False, health_cause=cause, checked_at=clock.now())
    )


def judge(step: Mapping[str, Any], context: Mapping[str, Any]) -> Verdict:
    """A filter's verdict over `event`, `steps`, `rule` and `run`."""
    conditions = [Condition.model_validate(condition) for condition in step["conditions"]]
    return evaluate(conditions, Match(step.get("match", "all")), context)
