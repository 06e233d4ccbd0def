"""Rules as rows: finding, making, changing, copying and deleting them, and each as one document."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app import clock, ids
from app.engine.core import Engine
from app.errors import InvalidError
from app.models import Event, Hook, Role, Rule, RuleVersion, Run, State, Trigger
from app.services import documents, rule_checks, rule_edits, rule_words, tokens
from app.services.access import Actor, audit, fetch, require, scoped
from app.services.documents import Definition
from app.services.rule_samples import kept_samples, sample_context, sample_event
from app.services.rule_switch import (
    disable,
    discard,
    enable,
    follow_draft,
    hook_url,
    listen,
    look_now,
    publish,
    published_version,
    switch_off,
    trigger_of,
)
from app.services.rule_trials import keep_output, prepare_trial, run_by_hand, test_step

__all__ = [
    "Listed", "create", "delete", "disable", "discard", "document", "duplicate", "enable", "get", "hook_url",
    "keep_output", "listen", "listing", "look_now", "prepare_trial", "publish", "published_version", "rename",
    "run_by_hand", "sample_context", "sample_event", "save_draft", "store_draft", "test_step", "trigger_of", "validate",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule as it stands in a list."""

    rule: Rule
    trigger: Trigger | None
    last_run: Run | None
    has_draft: bool


def listing(session: Session, actor: Actor) -> list[Listed]:
    """By name; with each rule's trigger, last run, and whether it has changes that are not on yet."""
    latest = sa.select(sa.func.max(Run.id)).where(Run.rule_id == Rule.id).correlate(Rule).scalar_subquery()
    rows = session.execute(
        scoped(Rule, actor)
        .add_columns(Trigger, Run, RuleVersion.definition)
        .outerjoin(Trigger, Trigger.rule_id == Rule.id)
        .outerjoin(Run, Run.id == latest)
        .outerjoin(RuleVersion, (RuleVersion.rule_id == Rule.id) & (RuleVersion.number == Rule.published))
        .where(Rule.deleted_at.is_(None))
        .order_by(sa.func.lower(Rule.name), Rule.id)
    )
    return [Listed(rule, trigger, run, published != rule.draft) for rule, trigger, run, published in rows]


def search(session: Session, actor: Actor, engine: Engine, text: str) -> list[Listed]:
    """Those whose name, sentence or hook address contains `text`."""
    wanted, token = text.lower(), text.rsplit("/hooks/", 1)[-1]
    by_address = session.scalar(
        sa.select(Trigger.rule_id)
        .join(Hook, Hook.trigger_id == Trigger.id)
        .where(Hook.token_sha256 == tokens.digest(token), Hook.workspace_id == actor.workspace_id)
    )
    return [
        listed
        for listed in listing(session, actor)
        if wanted in listed.rule.name.lower()
        or listed.rule.id == by_address
        or wanted in rule_words.rule_sentence(engine.catalogue, documents.parse(listed.rule.draft)).lower()
    ]


def run_counts(session: Session, actor: Actor, *, since: datetime) -> dict[str, tuple[int, int]]:
    """Rule id → (all, failed) of the runs made since then, by their ids, which indexes have."""
    runs = (
        sa.select(Run.rule_id, sa.func.count()).where(Run.id >= ids.least("run", since)).group_by(Run.rule_id)
    )
    own = sa.select(Rule.id).where(Rule.workspace_id == actor.workspace_id)
    made = dict(iter(session.execute(runs.where(Run.rule_id.in_(own)))))
    failing = runs.where(Run.workspace_id == actor.workspace_id, Run.state == State.FAILED)
    failed = dict(iter(session.execute(failing)))
    return {rule_id: (int(count), int(failed.get(rule_id, 0))) for rule_id, count in made.items()}


def last_runs(session: Session, rule: Rule, limit: int) -> list[tuple[Run, Any]]:
    """Newest first, each with its event's data (None where that is large)."""
    rows = session.execute(
        sa.select(Run, Event.data)
        .join(Event, Event.id == Run.event_id)
        .where(Run.rule_id == rule.id)
        .order_by(Run.id.desc())
        .limit(limit)
    )
    return [(run, data) for run, data in rows]


def get(session: Session, actor: Actor, rule_id: str) -> Rule:
    return fetch(session, Rule, rule_id, actor)


def validate(
    engine: Engine, session: Session, actor: Actor, definition: Definition, *, complete: bool
) -> None:
    """Raises InvalidError with dotted paths; an incomplete draft passes unless `complete` is asked."""
    findings = rule_checks.examine(engine.catalogue, rule_checks.load_links(session, actor), definition)
    problems = findings.all if complete else findings.wrong
    if problems:
        raise InvalidError(documents.summary(problems), problems)


def create(
    session: Session, actor: Actor, engine: Engine, document: Mapping[str, Any], *, publish: bool = False
) -> Rule:
    """A rule from its document, which is turned on where it says `enabled` and `publish` allows it."""
    require(actor, Role.EDITOR)
    parsed = documents.parse_document(document)
    turned_on = publish and parsed.enabled
    validate(engine, session, actor, parsed.definition, complete=turned_on)
    definition = rule_edits.spread_lists(engine.catalogue, parsed.definition)
    rule = _insert(session, actor, parsed.name, definition.as_json())
    follow_draft(session, engine, rule)
    if turned_on:
        enable(session, actor, engine, rule.id)
    return rule


def save_draft(
    session: Session,
    actor: Actor,
    engine: Engine,
    rule_id: str,
    *,
    definition: Mapping[str, Any],
    name: str | None = None,
) -> Rule:
    """Replace the draft by a definition that may be incomplete but not wrong; what runs stays as it is."""
    require(actor, Role.EDITOR)
    parsed = documents.parse(definition)
    validate(engine, session, actor, parsed, complete=False)
    if name is not None:
        rename(session, actor, rule_id, name)
    return store_draft(
        session, actor, engine, rule_id, definition=rule_edits.spread_lists(engine.catalogue, parsed)
    )


def store_draft(
    session: Session, actor: Actor, engine: Engine, rule_id: str, *, definition: Definition
) -> Rule:
    """As `save_draft`, for a change of one part: the others may be wrong as they were."""
    require(actor, Role.EDITOR)
    rule = get(session, actor, rule_id)
    rule.draft, rule.updated_at = definition.as_json(), clock.now()
    rule.samples = kept_samples(rule, {step.key for step in definition.steps})
    follow_draft(session, engine, rule)
    session.flush()
    return rule


def rename(session: Session, actor: Actor, rule_id: str, name: str) -> Rule:
    require(actor, Role.EDITOR)
    rule = get(session, actor, rule_id)
    rule.name, rule.updated_at = clean_name(name), clock.now()
    session.flush()
    return rule


def clean_name(name: str) -> str:
    cleaned = " ".join(name.split())
    if not cleaned:
        raise InvalidError("the rule needs a name", {"name": "is needed"})
    if len(cleaned) > documents.MAX_NAME:
        raise InvalidError("the name is too long", {"name": f"has at most {documents.MAX_NAME} characters"})
    return cleaned


def duplicate(session: Session, actor: Actor, engine: Engine, rule_id: str) -> Rule:
    """A copy that is off, of the draft, with an address of its own."""
    require(actor, Role.EDITOR)
    source = get(session, actor, rule_id)
    copy = _insert(session, actor, f"{source.name} (copy)"[: documents.MAX_NAME], source.draft)
    follow_draft(session, engine, copy)
    return copy


def delete(session: Session, actor: Actor, rule_id: str) -> None:
    """Soft: its runs stay readable, its address answers as if it had never been."""
    require(actor, Role.EDITOR)
    rule = get(session, actor, rule_id)
    switch_off(session, rule)
    trigger = trigger_of(session, rule)
    if trigger is not None:
        session.execute(sa.delete(Hook).where(Hook.trigger_id == trigger.id))
    rule.deleted_at = clock.now()
    audit(session, actor, "deleted rule", rule.id, detail={"name": rule.name})
    session.flush()


def document(session: Session, engine: Engine, rule: Rule) -> dict[str, Any]:
    """The draft as one document; `version` is the number that runs and `has_draft` whether they differ."""
    published = published_version(session, rule)
    url = hook_url(session, engine, rule)
    address = {"hook_url": url} if url else {}
    return {
        "id": rule.id,
        "name": rule.name,
        "enabled": rule.enabled,
        "version": rule.published,
        "has_draft": published is None or published.definition != rule.draft,
        **address,
        **rule.draft,
        "created_at": clock.rfc3339(rule.created_at),
        "updated_at": clock.rfc3339(rule.updated_at),
    }


def _insert(session: Session, actor: Actor, name: str, definition: Mapping[str, Any]) -> Rule:
    now = clock.now()
    rule = Rule(
        id=ids.new("rul"),
        workspace_id=actor.workspace_id,
        name=clean_name(name),
        enabled=False,
        draft=dict(definition),
        samples={},
        created_by=actor.user_id,
        created_at=now,
        updated_at=now,
    )
    session.add(rule)
    audit(session, actor, "created rule", rule.id, detail={"name": rule.name})
    session.flush()
    return rule
