"""Rules as rows: drafts, versions, addresses, and what turning them on leaves behind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from sqlalchemy.orm import Session

from app import clock
from app.engine.core import Engine
from app.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from app.models import Hook, Queue, Rule, RuleVersion, State, Trigger, TriggerKind
from app.services import rule_samples, rules, tokens
from tests import factories
from tests.conftest import World
from tests.happened import Happened

CALL = {"key": "call", "kind": "action", "action": "http.request", "params": {"url": "https://shop.example/"}}


def document(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "Big orders",
        "trigger": {"type": "webhook.received"},
        "steps": list(steps or [CALL]),
    } | more


def made(session: Session, world: World, engine: Engine, **more: Any) -> Rule:
    return rules.create(session, world.actor("member"), engine, document(**more), publish=True)


def trigger_of(session: Session, rule: Rule) -> Trigger:
    trigger = rules.trigger_of(session, rule)
    assert trigger is not None
    return trigger


def test_a_rule_made_turned_on_has_a_version_a_trigger_and_an_address(
    session: Session, world: World, engine: Engine
) -> None:
    rule = made(session, world, engine, enabled=True)

    shown = rules.document(session, engine, rule)
    hook = session.query(Hook).one()
    assert (shown["enabled"], shown["version"], shown["has_draft"]) == (True, 1, False)
    assert trigger_of(session, rule).version_id == session.query(RuleVersion).one().id
    assert tokens.digest(shown["hook_url"].removeprefix("http://bitqueue.test/hooks/")) == hook.token_sha256
    assert shown["hook_url"].rpartition("/")[2] not in hook.token_sealed


def test_turning_on_twice_makes_one_version(session: Session, world: World, engine: Engine) -> None:
    rule = made(session, world, engine, enabled=True)

    rules.enable(session, world.actor("member"), engine, rule.id)

    assert session.query(RuleVersion).count() == 1


def test_the_address_stays_over_edits(session: Session, world: World, engine: Engine) -> None:
    rule, actor = made(session, world, engine, enabled=True), world.actor("member")
    before = rules.hook_url(session, engine, rule)

    types = "manual.started", "webhook.received"
    by_hand, by_call = ({"trigger": {"type": type_}, "steps": [CALL]} for type_ in types)
    rules.save_draft(session, actor, engine, rule.id, definition=by_hand)
    rules.publish(session, actor, engine, rule.id)
    between = rules.hook_url(session, engine, rule)
    rules.save_draft(session, actor, engine, rule.id, definition=by_call)
    rules.publish(session, actor, engine, rule.id)

    assert between is None
    assert rules.hook_url(session, engine, rule) == before
    assert session.query(RuleVersion).count() == 3


def test_a_draft_of_a_rule_that_is_on_changes_nothing_that_runs(
    session: Session, world: World, engine: Engine
) -> None:
    rule = made(session, world, engine, enabled=True)

    changed = {"trigger": {"type": "manual.started"}, "steps": [CALL]}
    rules.save_draft(session, world.actor("member"), engine, rule.id, definition=changed)

    assert trigger_of(session, rule).kind is TriggerKind.HOOK
    assert rules.document(session, engine, rule)["has_draft"]


def test_turning_off_ends_the_schedule(session: Session, world: World, engine: Engine) -> None:
    schedule = {"type": "schedule.every", "params": {"every": 5, "unit": "minutes"}}
    with time_machine.travel(datetime(2026, 11, 21, 9, 1, tzinfo=UTC), tick=False):
        rule = made(session, world, engine, trigger=schedule, enabled=True)
    due_at = trigger_of(session, rule).next_due_at

    rules.disable(session, world.actor("member"), rule.id)

    assert due_at == datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
    assert trigger_of(session, rule).next_due_at is None
    assert trigger_of(session, rule).version_id is None


def test_a_change_of_a_step_leaves_the_next_slot_where_it_is(
    session: Session, world: World, engine: Engine
) -> None:
    schedule = {"type": "schedule.every", "params": {"every": 5, "unit": "minutes"}}
    with time_machine.travel(datetime(2026, 11, 21, 9, 1, tzinfo=UTC), tick=False):
        rule = made(session, world, engine, trigger=schedule, enabled=True)

    changed = {"trigger": schedule, "steps": [CALL, CALL | {"key": "again"}]}
    rules.save_draft(session, world.actor("member"), engine, rule.id, definition=changed)
    rules.publish(session, world.actor("member"), engine, rule.id)

    assert trigger_of(session, rule).next_due_at == datetime(2026, 11, 21, 9, 5, tzinfo=UTC)


def test_a_schedule_that_is_over_is_not_turned_on(session: Session, world: World, engine: Engine) -> None:
    once = {"type": "schedule.once", "params": {"at": "2020-01-01T00:00", "zone": "UTC"}}

    with pytest.raises(InvalidError) as refused:
        made(session, world, engine, trigger=once, enabled=True)

    assert list(refused.value.fields) == ["trigger.params.at"]


def test_an_incomplete_rule_is_kept_off_but_not_turned_on(
    session: Session, world: World, engine: Engine
) -> None:
    incomplete = {"action": "smtp.send"}

    rule = rules.create(session, world.actor("member"), engine, document(incomplete))

    with pytest.raises(InvalidError) as refused:
        rules.enable(session, world.actor("member"), engine, rule.id)
    assert "steps.0.connection" in refused.value.fields


def test_an_import_of_unknown_steps_is_refused(session: Session, world: World, engine: Engine) -> None:
    with pytest.raises(InvalidError) as refused:
        rules.create(
            session, world.actor("member"), engine, document({"action": "shell.run", "params": {"cmd": "rm"}})
        )

    assert list(refused.value.fields) == ["steps.0.action"]


def test_another_workspaces_connection_and_queue_are_refused(
    session: Session, world: World, engine: Engine
) -> None:
    foreign = factories.ConnectionFactory(workspace_id=world.other_workspace.id, integration="http")
    factories.QueueFactory(workspace_id=world.other_workspace.id, name="theirs")
    step = CALL | {"connection": foreign.id, "queue": "theirs"}

    with pytest.raises(InvalidError) as refused:
        rules.create(session, world.actor("member"), engine, document(step))

    assert set(refused.value.fields) == {"steps.0.connection", "steps.0.queue"}
    assert session.query(Queue).count() == 3


def test_a_viewer_changes_nothing(session: Session, world: World, engine: Engine) -> None:
    rule, viewer = made(session, world, engine), world.actor("viewer")

    for change in (
        lambda: rules.create(session, viewer, engine, document()),
        lambda: rules.save_draft(session, viewer, engine, rule.id, definition=rule.draft),
        lambda: rules.enable(session, viewer, engine, rule.id),
        lambda: rules.disable(session, viewer, rule.id),
        lambda: rules.delete(session, viewer, rule.id),
        lambda: rules.duplicate(session, viewer, engine, rule.id),
        lambda: rules.listen(session, viewer, rule.id),
        lambda: rules.run_by_hand(session, viewer, engine, rule.id, data={}),
    ):
        with pytest.raises(ForbiddenError):
            change()


def test_a_deleted_rule_is_gone_with_its_address(session: Session, world: World, engine: Engine) -> None:
    rule = made(session, world, engine, enabled=True)

    rules.delete(session, world.actor("member"), rule.id)

    with pytest.raises(NotFoundError):
        rules.get(session, world.actor("member"), rule.id)
    assert session.query(Hook).count() == 0
    assert trigger_of(session, rule).version_id is None


def test_nothing_to_go_back_to(session: Session, world: World, engine: Engine) -> None:
    rule = made(session, world, engine)

    with pytest.raises(ConflictError, match="never turned on"):
        rules.discard(session, world.actor("member"), engine, rule.id)


def test_only_a_rule_that_is_called_can_listen(session: Session, world: World, engine: Engine) -> None:
    rule = made(session, world, engine, trigger={"type": "manual.started"})

    with pytest.raises(ConflictError, match="has no address"):
        rules.listen(session, world.actor("member"), rule.id)


def test_the_sample_is_the_chosen_event_or_the_last_or_an_example(
    session: Session, world: World, engine: Engine
) -> None:
    rule = made(session, world, engine)
    session.commit()
    example = rules.sample_event(session, engine, rule)
    same = {
        "workspace_id": world.workspace.id,
        "source": trigger_of(session, rule).id,
        "type": "webhook.received",
    }
    first = factories.EventFactory(data={"total": 1}, **same)
    factories.EventFactory(data={"total": 2}, **same)
    last = rules.sample_event(session, engine, rule)

    rule_samples.choose_event(session, world.actor("member"), rule.id, first.id)

    assert (example.is_real, example.label) == (False, "example")
    assert (last.is_real, last.data) == (True, {"total": 2})
    assert rules.sample_event(session, engine, rule).data == {"total": 1}


def test_another_rules_event_cannot_be_chosen(session: Session, world: World, engine: Engine) -> None:
    rule = made(session, world, engine)
    session.commit()
    foreign = factories.EventFactory(
        workspace_id=world.workspace.id, source="trg_other", type="webhook.received"
    )

    with pytest.raises(NotFoundError):
        rule_samples.choose_event(session, world.actor("member"), rule.id, foreign.id)


def test_a_step_sees_what_an_earlier_one_gave_when_it_was_tried(
    session: Session, world: World, engine: Engine
) -> None:
    rule = rules.create(session, world.actor("member"), engine, document(CALL, CALL | {"key": "again"}))
    before = rules.sample_context(session, engine, rule, "again")["steps"]

    rule_samples.keep_sample(session, world.actor("member"), rule.id, key="call", output={"status": 299})

    after = rules.sample_context(session, engine, rule, "again")["steps"]
    assert list(before) == ["call"]
    assert after == {"call": {"status": 299}}
    assert rules.sample_context(session, engine, rule, "call")["steps"] == {}


def test_values_are_listed_by_their_paths() -> None:
    data = {"order": 7, "lines": [{"sku": "A-1"}], "odd key": None, "empty": {}}

    listed = {entry.path: entry.value for entry in rule_samples.entries("event", data)}

    assert listed == {
        "event.order": "7", "event.lines": "a list of 1", "event.lines[0].sku": '"A-1"', "event['odd key']": "empty",
        "event.empty": "{}",
    }  # fmt: skip


def test_a_stored_file_is_listed_as_a_whole_by_its_name() -> None:
    file = {"id": f"fil_{'0' * 26}", "name": "a.pdf", "type": "application/pdf", "bytes": 3, "sha256": "ab"}

    listed = {entry.path: entry.value for entry in rule_samples.entries("event", {"file": file})}

    assert listed == {
        "event.file": '"a.pdf"', "event.file.name": '"a.pdf"', "event.file.type": '"application/pdf"',
        "event.file.bytes": "3",
    }  # fmt: skip


def test_a_list_written_with_commas_is_stored_as_a_list(
    session: Session, world: World, engine: Engine
) -> None:
    step = {
        "action": "smtp.send",
        "params": {"to": "ada@example.com, {{ event.email }}", "subject": "x", "text": "y"},
    }

    rule = rules.create(session, world.actor("member"), engine, document(step))

    assert rule.draft["steps"][0]["params"]["to"] == ["ada@example.com", "{{ event.email }}"]


def test_the_runs_of_a_day_are_counted_for_each_rule_and_its_workspace_alone(
    session: Session, world: World, engine: Engine
) -> None:
    happened, now = Happened(engine, world), clock.now()
    for state, hours_ago, rule in [
        (State.SUCCEEDED, 1, "First"),
        (State.FAILED, 2, "First"),
        (State.FAILED, 30, "First"),
        (State.FAILED, 3, "Second"),
    ]:
        with time_machine.travel(now - timedelta(hours=hours_ago), tick=False):
            happened.run(state, rule=rule)

    since = now - timedelta(days=1)
    first, second = (happened.rule(name).rule_id for name in ("First", "Second"))
    assert rules.run_counts(session, world.actor(), since=since) == {first: (2, 1), second: (1, 1)}
    assert rules.run_counts(session, world.actor("stranger"), since=since) == {}
