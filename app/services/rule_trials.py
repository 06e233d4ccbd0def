"""Trying a rule by hand: a step with sample values, for show or for real, and a run with data of one's own."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy.orm import Session

from app.engine import enqueue, masking, preview
from app.engine.core import Engine
from app.engine.enqueue import Armed, Receipt
from app.errors import ConflictError, NotFoundError, SealError
from app.models import Role, Rule, StepKind
from app.sdk import jsonvalues
from app.sdk.conditions import Condition, Match, evaluate
from app.sdk.declare import Occurrence
from app.sdk.errors import IntegrationError
from app.sdk.jsonvalues import BadJsonError
from app.services import rule_samples, rule_words
from app.services.access import Actor, fetch, require
from app.services.rule_switch import trigger_of

Outcome = Literal["succeeded", "failed", "filtered"]


@dataclass(frozen=True, slots=True)
class Trial:
    """A step with the values it is to be tried with: everything that is needed once the session is let go."""

    rule_id: str
    workspace_id: str
    step: Mapping[str, Any]
    title: str
    context: Mapping[str, Any]
    # The account it is done with, by name.
    connection: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One condition of a filter with its verdict."""

    text: str
    matched: bool


@dataclass(frozen=True, slots=True)
class TrialResult:
    """`sent` has its secrets masked; `output` is what came back, after a real try only."""

    really: bool
    state: Outcome
    text: str
    sent: Any = None
    output: Any = None
    cause: str | None = None
    took_ms: int = 0
    checks: list[Check] = field(default_factory=list)
    # As it came, for the later steps; never shown.
    raw: Any = field(default=None, repr=False)


def prepare_trial(session: Session, actor: Actor, engine: Engine, rule_id: str, *, key: str) -> Trial:
    """Reads what a trial needs. Raises NotFoundError for an unknown step."""
    from_draft = fetch(session, Rule, rule_id, actor)
    step = next((step for step in from_draft.draft["steps"] if step["key"] == key), None)
    if step is None:
        raise NotFoundError(f"this rule has no step {key[:40]}")
    return Trial(
        rule_id=from_draft.id,
        workspace_id=actor.workspace_id,
        step=step,
        title=_title(engine, step),
        context=rule_samples.sample_context(session, engine, from_draft, key),
        connection=rule_samples.connection_name(session, actor, step.get("connection")),
    )


def test_step(engine: Engine, actor: Actor, trial: Trial, *, really: bool) -> TrialResult:
    """Show what the step would send, or send it. Goes over the network: never within a transaction."""
    if trial.step["kind"] == StepKind.FILTER:
        return _judge(trial)
    if really:
        require(actor, Role.EDITOR)
    sent: Any = None
    began = time.monotonic()
    try:
        shown = preview.render(engine, trial.step, trial.context)
        sent = shown.params
        if not really:
            return TrialResult(False, "succeeded", _would(trial), sent=sent)
        began = time.monotonic()
        output = preview.call(engine, trial.workspace_id, trial.step, trial.context)
    except (IntegrationError, SealError, NotFoundError) as error:
        done = f"{trial.title} could not be done" if really else "this step cannot be done with these values"
        return TrialResult(really, "failed", done, sent=sent, cause=str(error), took_ms=_since(began))
    return TrialResult(
        True, "succeeded", f"{trial.title} was done once", sent,
        output=masking.mask(output), took_ms=_since(began), raw=output,
    )  # fmt: skip


def keep_output(session: Session, actor: Actor, trial: Trial, result: TrialResult) -> None:
    """After a real try: its output is what later steps see in their list of values."""
    if result.really and result.state == "succeeded":
        key = trial.step["key"]
        rule_samples.keep_sample(session, actor, trial.rule_id, key=key, output=result.raw)


def run_by_hand(session: Session, actor: Actor, engine: Engine, rule_id: str, *, data: Any) -> Receipt:
    """Start the rule with `data` as its event; it is on disk when this returns. Call it outside of `writing`."""
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    trigger = trigger_of(session, rule)
    if not rule.enabled or trigger is None or trigger.version_id is None:
        raise ConflictError(f"{rule.name} is off; turn it on to run it, or test its steps one by one")
    armed = Armed(rule.workspace_id, trigger.id, trigger.type, rule.id, trigger.version_id)
    # Let go of the reading transaction: the writing one is another connection's.
    session.rollback()
    return enqueue.accept(engine, armed, Occurrence(None, data))


def parse_data(text: str) -> Any:
    """The JSON of a form; raises BadJsonError in words that fit a form."""
    try:
        return jsonvalues.loads(text.encode("utf-8", "surrogatepass"))
    except BadJsonError as error:
        raise BadJsonError(str(error).replace("the body", "this")) from None


def _judge(trial: Trial) -> TrialResult:
    conditions = trial.step.get("conditions", [])
    try:
        checks = [_check(row, trial.context) for row in conditions]
    except ValueError:
        return TrialResult(
            False, "failed", "this filter is not complete", cause="a condition is not filled in"
        )
    combine = any if trial.step.get("match") == Match.ANY and checks else all
    if combine(check.matched for check in checks):
        return TrialResult(False, "succeeded", "it matches: the rule would go on", checks=checks)
    return TrialResult(False, "filtered", "it does not match: the run would end here", checks=checks)


def _check(row: Mapping[str, Any], context: Mapping[str, Any]) -> Check:
    verdict = evaluate([Condition.model_validate(row)], Match.ALL, context)
    return Check(
        rule_words.condition_sentence(row) if verdict.passed else verdict.sentences[0], verdict.passed
    )


def _title(engine: Engine, step: Mapping[str, Any]) -> str:
    action = engine.catalogue.action(step.get("action") or "")
    return str(step.get("name") or (action.title if action else step.get("action") or "the filter"))


def _would(trial: Trial) -> str:
    account = f" with {trial.connection}" if trial.connection else ""
    return f"{trial.title} would be done{account}; nothing was sent"


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
