"""Turning rules on and off: versions, the trigger's row that outlives edits, and the hook's address."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine import schedule
from app.engine.core import Engine
from app.errors import ConflictError, InvalidError
from app.models import Hook, Role, Rule, RuleVersion, Trigger, TriggerKind
from app.sdk.declare import TriggerSort
from app.services import documents, rule_checks, tokens, trigger_places
from app.services.access import Actor, audit, fetch, require

LISTEN: Final = timedelta(minutes=5)

_KINDS: Mapping[TriggerSort, TriggerKind] = {
    "hook": TriggerKind.HOOK,
    "slots": TriggerKind.SCHEDULE,
    "poll": TriggerKind.POLL,
    "manual": TriggerKind.MANUAL,
}


def trigger_of(session: Session, rule: Rule) -> Trigger | None:
    return session.scalar(sa.select(Trigger).where(Trigger.rule_id == rule.id))


def hook_of(session: Session, rule: Rule) -> Hook | None:
    """The rule's address, while a call is what starts it."""
    return session.scalar(
        sa.select(Hook)
        .join(Trigger, Trigger.id == Hook.trigger_id)
        .where(Trigger.rule_id == rule.id, Trigger.kind == TriggerKind.HOOK)
    )


def hook_url(session: Session, engine: Engine, rule: Rule) -> str | None:
    """Raises SealError when the key that sealed it is missing."""
    hook = hook_of(session, rule)
    if hook is None:
        return None
    token = engine.keyring.open(hook.token_sealed, bound_to=hook.id).decode()
    return f"{engine.config.public_url}/hooks/{token}"


def published_version(session: Session, rule: Rule) -> RuleVersion | None:
    if rule.published is None:
        return None
    return session.scalar(
        sa.select(RuleVersion).where(RuleVersion.rule_id == rule.id, RuleVersion.number == rule.published)
    )


def publish(session: Session, actor: Actor, engine: Engine, rule_id: str) -> Rule:
    """Make the draft what runs, as a new version; raises InvalidError when it is not complete."""
    require(actor, Role.EDITOR)
    rule = _locked(session, actor, rule_id)
    _require_complete(session, actor, engine, rule)
    version = _publish_draft(session, actor, rule)
    if rule.enabled:
        _arm(session, engine, rule, version)
    audit(session, actor, "published rule", rule.id, detail={"version": version.number})
    session.flush()
    return rule


def enable(session: Session, actor: Actor, engine: Engine, rule_id: str) -> Rule:
    """Turn it on, with its draft as it stands; raises InvalidError when that is not complete."""
    require(actor, Role.EDITOR)
    rule = _locked(session, actor, rule_id)
    _require_complete(session, actor, engine, rule)
    version = _publish_draft(session, actor, rule)
    rule.enabled, rule.updated_at = True, clock.now()
    _arm(session, engine, rule, version)
    audit(session, actor, "turned on rule", rule.id, detail={"version": version.number})
    session.flush()
    return rule


def disable(session: Session, actor: Actor, rule_id: str) -> Rule:
    """No new event starts it; runs that are under way go on."""
    require(actor, Role.EDITOR)
    rule = _locked(session, actor, rule_id)
    switch_off(session, rule)
    audit(session, actor, "turned off rule", rule.id)
    session.flush()
    return rule


def switch_off(session: Session, rule: Rule) -> None:
    rule.enabled, rule.updated_at = False, clock.now()
    trigger = trigger_of(session, rule)
    if trigger is not None:
        trigger.version_id = trigger.next_due_at = None


def discard(session: Session, actor: Actor, engine: Engine, rule_id: str) -> Rule:
    """Go back to what is published."""
    require(actor, Role.EDITOR)
    rule = _locked(session, actor, rule_id)
    version = published_version(session, rule)
    if version is None:
        raise ConflictError(
            "this rule was never turned on, there is nothing to go back to; delete it instead"
        )
    rule.draft, rule.updated_at = version.definition, clock.now()
    follow_draft(session, engine, rule)
    session.flush()
    return rule


def listen(session: Session, actor: Actor, rule_id: str) -> Hook:
    """For five minutes a call to the rule's address is kept for its values, even while the rule is off."""
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    hook = hook_of(session, rule)
    if hook is None:
        raise ConflictError("this rule has no address; give it a trigger that is called")
    hook.listening_until = clock.now() + LISTEN
    session.flush()
    return hook


def look_now(session: Session, actor: Actor, rule_id: str) -> Trigger:
    """Make the next look of a rule that polls due at once.

    One that is under way then counts no more: what it found is found again.
    """
    require(actor, Role.EDITOR)
    rule = fetch(session, Rule, rule_id, actor)
    trigger = trigger_of(session, rule)
    if trigger is None or trigger.version_id is None:
        raise ConflictError(f"{rule.name} is off; turn it on, and it looks at once")
    if trigger.kind is not TriggerKind.POLL:
        raise ConflictError("this rule does not look for anything by itself; its trigger starts it")
    trigger.next_due_at = clock.now()
    session.flush()
    return trigger


def follow_draft(session: Session, engine: Engine, rule: Rule) -> None:
    """While nothing runs, the trigger's row is the draft's: its address is there before the rule is turned on."""
    trigger = trigger_of(session, rule)
    if engine.catalogue.trigger(rule.draft["trigger"]["type"]) is None:
        return
    if trigger is None or trigger.version_id is None:
        _sync(session, engine, rule, trigger)


def _require_complete(session: Session, actor: Actor, engine: Engine, rule: Rule) -> None:
    links = rule_checks.load_links(session, actor)
    findings = rule_checks.examine(engine.catalogue, links, documents.parse(rule.draft))
    if findings.all:
        raise InvalidError(documents.summary(findings.all), findings.all)


def _publish_draft(session: Session, actor: Actor, rule: Rule) -> RuleVersion:
    """The published version if nothing changed, else a new one."""
    version = published_version(session, rule)
    if version is not None and version.definition == rule.draft:
        return version
    version = RuleVersion(
        id=ids.new("ver"),
        workspace_id=rule.workspace_id,
        rule_id=rule.id,
        number=(rule.published or 0) + 1,
        definition=rule.draft,
        created_by=actor.user_id,
        created_at=clock.now(),
    )
    session.add(version)
    rule.published, rule.updated_at = version.number, clock.now()
    session.flush()
    return version


def _arm(session: Session, engine: Engine, rule: Rule, version: RuleVersion) -> None:
    trigger = _sync(session, engine, rule, trigger_of(session, rule))
    trigger.version_id = version.id
    if trigger.next_due_at is None and trigger.kind in (TriggerKind.SCHEDULE, TriggerKind.POLL):
        is_poll = trigger.kind is TriggerKind.POLL
        trigger.next_due_at = clock.now() if is_poll else _first_slot(engine, trigger)
        trigger.armed_at, trigger.missed, trigger.last_error = clock.now(), 0, None
        trigger.missed_from = trigger.missed_until = None
    session.flush()


def _first_slot(engine: Engine, trigger: Trigger) -> datetime:
    slot = schedule.next_slot(engine.catalogue, trigger.type, trigger.params, clock.now())
    if slot is None:
        path = "trigger.params.at" if "at" in trigger.params else "trigger.params"
        raise InvalidError("this schedule has no time left", {path: "is over; choose a time in the future"})
    return slot


def _sync(session: Session, engine: Engine, rule: Rule, trigger: Trigger | None) -> Trigger:
    """The rule's one trigger row, as the draft wants it."""
    part = rule.draft["trigger"]
    declared = engine.catalogue.trigger(part["type"])
    assert declared is not None
    values: dict[str, Any] = {
        "kind": _KINDS[declared.sort],
        "type": part["type"],
        "params": part["params"],
        "connection_id": part.get("connection"),
    }
    if trigger is None:
        trigger = Trigger(
            id=ids.new("trg"), workspace_id=rule.workspace_id, rule_id=rule.id, recent_keys=[], **values
        )
        session.add(trigger)
    else:
        values |= trigger_places.moved(engine.catalogue, trigger, part)
    for name, value in values.items():
        setattr(trigger, name, value)
    session.flush()
    if trigger.kind is TriggerKind.HOOK:
        _ensure_address(session, engine, trigger)
    return trigger


def _ensure_address(session: Session, engine: Engine, trigger: Trigger) -> None:
    if session.scalar(sa.select(Hook.id).where(Hook.trigger_id == trigger.id)):
        return
    hook_id, token = ids.new("hok"), tokens.new()
    session.add(
        Hook(
            id=hook_id,
            workspace_id=trigger.workspace_id,
            trigger_id=trigger.id,
            token_sha256=tokens.digest(token),
            token_sealed=engine.keyring.seal(token.encode(), bound_to=hook_id),
        )
    )
    session.flush()


def _locked(session: Session, actor: Actor, rule_id: str) -> Rule:
    """Two who turn on the same rule at once come one after the other."""
    rule = fetch(session, Rule, rule_id, actor)
    session.refresh(rule, with_for_update=True)
    return rule
