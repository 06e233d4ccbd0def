"""Rules over the API: one document each, the same as in exports and in the database."""

from typing import Any

from pydantic import ConfigDict, Field

from app.api.edge import noun, operation
from app.api.fields import Body, Id, Instant, Json, List, Paged, Shown
from app.database import db, writing
from app.engine import core
from app.engine.trigger_health import Health
from app.models import Role
from app.services import rules, trigger_health
from app.services.access import Actor
from app.services.paging import slice_of

blueprint = noun("rules", __name__)

_DEFINITION = ("trigger", "steps")


class RuleIn(Body):
    """A rule as one document: `trigger` and `steps` as they stand in answers."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Big orders",
                    "enabled": True,
                    "trigger": {"type": "webhook.received", "params": {}},
                    "steps": [
                        {
                            "key": "big",
                            "kind": "filter",
                            "conditions": [{"field": "event.total", "op": "gt", "value": 100}],
                        }
                    ],
                }
            ]
        }
    )

    name: str = Field(min_length=1, max_length=100)
    enabled: bool = False
    trigger: dict[str, Json]
    steps: list[dict[str, Json]] = Field([])


class RuleChangeIn(Body):
    """What is left out stays; `steps` is replaced whole."""

    name: str | None = Field(None, min_length=1, max_length=100)
    enabled: bool | None = None
    trigger: dict[str, Json] | None = None
    steps: list[dict[str, Json]] | None = None


class TriggerHealthOut(Shown):
    """`state`: armed, late (due and not done), stuck (two intervals missed), disconnected (its connection is broken).

    `last_at` is the last call, slot or look; `missed`: slots that passed and may still be run on its page.
    """

    state: Health
    last_at: Instant | None
    next_at: Instant | None
    sentence: str
    missed: int


class RuleOut(Shown):
    """`version` is the one that runs; with `has_draft` the document shown is newer than it."""

    id: str
    name: str
    enabled: bool
    version: int | None
    has_draft: bool
    hook_url: str | None = None
    trigger: Json
    steps: Json
    trigger_health: TriggerHealthOut | None = Field(None, description="null while the rule is off")
    created_at: str
    updated_at: str


class RuleLineOut(Shown):
    """A rule in a list."""

    id: str
    name: str
    enabled: bool
    version: int | None
    has_draft: bool
    trigger_type: str
    last_run: str | None
    last_run_state: str | None
    next_due_at: Instant | None
    trigger_health: TriggerHealthOut | None
    created_at: Instant
    updated_at: Instant


class RunNowIn(Body):
    """`data` is the event; without it the rule's sample."""

    data: Json = None


class StartedOut(Shown):
    event: str
    run: str | None


class TestStepIn(Body):
    """Try one step with sample values; `really` does it instead of only showing what would be sent."""

    step: Id
    really: bool = False


class TestedOut(Shown):
    """`sent` is what the step is given, secrets as dots; `output` what came back, after a real try."""

    really: bool
    state: str
    text: str
    sent: Json
    output: Json
    cause: str | None
    took_ms: int


def _line(listed: rules.Listed, health: trigger_health.Standing | None) -> RuleLineOut:
    rule, trigger, run = listed.rule, listed.trigger, listed.last_run
    return RuleLineOut(
        id=rule.id,
        name=rule.name,
        enabled=rule.enabled,
        version=rule.published,
        has_draft=listed.has_draft,
        trigger_type=rule.draft["trigger"]["type"],
        last_run=run.id if run else None,
        last_run_state=run.state if run else None,
        next_due_at=trigger.next_due_at if trigger else None,
        trigger_health=_health_out(health),
        created_at=rule.created_at,
        updated_at=rule.updated_at,
    )


def _health_out(standing: trigger_health.Standing | None) -> TriggerHealthOut | None:
    if standing is None:
        return None
    return TriggerHealthOut(**{name: getattr(standing, name) for name in TriggerHealthOut.model_fields})


def _out(session: Any, actor: Actor, rule: Any) -> RuleOut:
    health = trigger_health.of(session, actor, core.current(), rule)
    return RuleOut(**rules.document(session, core.current(), rule), trigger_health=_health_out(health))


@blueprint.get("/rules")
@operation(Role.VIEWER, tag="rules", query=Paged, answers=List[RuleLineOut])
def listing(actor: Actor, query: Paged) -> List[RuleLineOut]:
    """Rules, the newest first."""
    found = rules.listing(db.session(), actor)
    health = trigger_health.listing(db.session(), actor, core.current())
    page = slice_of(found, query.cursor, query.limit, row_id=lambda listed: listed.rule.id)
    return List(
        items=[_line(listed, health.get(listed.rule.id)) for listed in page.items],
        next_cursor=page.next_cursor,
    )


@blueprint.post("/rules")
@operation(Role.EDITOR, tag="rules", body=RuleIn, answers=RuleOut, status=201)
def create(actor: Actor, body: RuleIn) -> RuleOut:
    """Make a rule; with `enabled` it is on at once.

    For a trigger that is called, `hook_url` in the answer is its address.
    """
    with writing() as session:
        document = body.model_dump()
        return _out(
            session, actor, rules.create(session, actor, core.current(), document, publish=body.enabled)
        )


@blueprint.get("/rules/<rule_id>")
@operation(Role.VIEWER, tag="rules", answers=RuleOut)
def get(actor: Actor, rule_id: str) -> RuleOut:
    """A rule as one document."""
    session = db.session()
    return _out(session, actor, rules.get(session, actor, rule_id))


@blueprint.put("/rules/<rule_id>")
@operation(Role.EDITOR, tag="rules", body=RuleIn, answers=RuleOut)
def replace(actor: Actor, rule_id: str, body: RuleIn) -> RuleOut:
    """Replace a rule; what is on runs the new version from the next event."""
    return _save(actor, rule_id, RuleChangeIn(**body.model_dump()))


@blueprint.patch("/rules/<rule_id>")
@operation(Role.EDITOR, tag="rules", body=RuleChangeIn, answers=RuleOut)
def update(actor: Actor, rule_id: str, body: RuleChangeIn) -> RuleOut:
    """Change parts of a rule; what is on runs the new version from the next event."""
    return _save(actor, rule_id, body)


@blueprint.delete("/rules/<rule_id>")
@operation(Role.EDITOR, tag="rules", status=204)
def delete(actor: Actor, rule_id: str) -> None:
    """Delete a rule; its runs stay readable."""
    with writing() as session:
        rules.delete(session, actor, rule_id)


@blueprint.post("/rules/<rule_id>/enable")
@operation(Role.EDITOR, tag="rules", answers=RuleOut)
def enable(actor: Actor, rule_id: str) -> RuleOut:
    """Turn a rule on, as its document stands."""
    with writing() as session:
        return _out(session, actor, rules.enable(session, actor, core.current(), rule_id))


@blueprint.post("/rules/<rule_id>/disable")
@operation(Role.EDITOR, tag="rules", answers=RuleOut)
def disable(actor: Actor, rule_id: str) -> RuleOut:
    """Turn a rule off; runs under way go on."""
    with writing() as session:
        return _out(session, actor, rules.disable(session, actor, rule_id))


@blueprint.post("/rules/<rule_id>/run")
@operation(Role.EDITOR, tag="rules", body=RunNowIn, answers=StartedOut, status=202)
def run(actor: Actor, rule_id: str, body: RunNowIn) -> StartedOut:
    """Run a rule now, for data of your own."""
    session, engine = db.session(), core.current()
    data = body.data
    if data is None:
        data = rules.sample_event(session, engine, rules.get(session, actor, rule_id)).data
    receipt = rules.run_by_hand(session, actor, engine, rule_id, data=data)
    return StartedOut(event=receipt.event_id, run=receipt.run_id)


@blueprint.post("/rules/<rule_id>/test")
@operation(Role.EDITOR, tag="rules", body=TestStepIn, answers=TestedOut)
def test(actor: Actor, rule_id: str, body: TestStepIn) -> TestedOut:
    """Try one step with the values of the last event, or of an example."""
    session, engine = db.session(), core.current()
    trial = rules.prepare_trial(session, actor, engine, rule_id, key=body.step)
    # Nothing of the database is held while the network answers.
    session.rollback()
    result = rules.test_step(engine, actor, trial, really=body.really)
    if result.really:
        with writing() as write:
            rules.keep_output(write, actor, trial, result)
    return TestedOut(**{name: getattr(result, name) for name in TestedOut.model_fields})


def _save(actor: Actor, rule_id: str, change: RuleChangeIn) -> RuleOut:
    engine = core.current()
    with writing() as session:
        rule = rules.get(session, actor, rule_id)
        definition = dict(rule.draft)
        definition |= {name: value for name in _DEFINITION if (value := getattr(change, name)) is not None}
        rule = rules.save_draft(session, actor, engine, rule_id, definition=definition, name=change.name)
        wanted = rule.enabled if change.enabled is None else change.enabled
        if wanted:
            rule = rules.enable(session, actor, engine, rule_id)
        elif rule.enabled:
            rule = rules.disable(session, actor, rule_id)
        return _out(session, actor, rule)
