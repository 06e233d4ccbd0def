"""What is refused in a rule, and what only keeps it from being turned on."""

from typing import Any

import pytest

from app.engine.core import Engine
from app.services import documents, rule_checks
from app.services.rule_checks import Findings, Links

LINKS = Links(
    connections={
        "con_mail": ("smtp", "Shop mail"),
        "con_hook": ("webhook", "Secret"),
        "con_http": ("http", "Key"),
    },
    queues=frozenset({"default", "slow"}),
)
MAIL = {"action": "smtp.send", "connection": "con_mail"}
MAIL_PARAMS = {"to": ["ada@example.com"], "subject": "Hello", "text": "Hello"}
CALL = {"key": "call", "action": "http.request", "params": {"url": "https://shop.example/"}}


def found(engine: Engine, *steps: dict[str, Any], trigger: dict[str, Any] | None = None) -> Findings:
    definition = documents.parse({"trigger": trigger or {"type": "webhook.received"}, "steps": list(steps)})
    return rule_checks.examine(engine.catalogue, LINKS, definition)


def call(**params: Any) -> dict[str, Any]:
    return {"key": "call", "action": "http.request", "params": {"url": "https://shop.example/", **params}}


def condition(**row: Any) -> dict[str, Any]:
    return {"kind": "filter", "key": "big", "conditions": [row]}


@pytest.mark.parametrize(
    "step",
    [
        CALL,
        call(url="https://shop.example/{{ event.order }}"),
        call(deadline_s="{{ event.wait }}"),
        call(method="{{ event.method }}"),
        call(
            headers={"X-Order": "{{ event.order }}"},
            json={"deep": [{"order": "{{ rule.name }} {{ run.id }}"}]},
        ),
        call(json="{% for line in event.lines %}{{ line.sku }}{% endfor %}"),
        CALL | {"connection": "con_http", "queue": "slow", "name": "Tell the shop"},
        {**MAIL, "params": MAIL_PARAMS},
        {**MAIL, "params": {**MAIL_PARAMS, "to": "{{ event.email }}"}},
        {**MAIL, "params": {**MAIL_PARAMS, "to": "ada@example.com, {{ event.email }}"}},
        condition(field="event.total", op="gt", value=100),
        condition(field="event.lines[0].sku", op="in", value=["A-1", "{{ event.other }}"]),
        condition(field="event.paid", op="is_true"),
    ],
)
def test_a_complete_step_has_no_fault(engine: Engine, step: dict[str, Any]) -> None:
    assert found(engine, step).all == {}


@pytest.mark.parametrize(
    ("step", "path", "says"),
    [
        ({"action": "gone.do_it"}, "steps.0.action", "not"),
        (CALL | {"connection": "con_none"}, "steps.0.connection", "there is no connection con_none here"),
        (CALL | {"connection": "con_mail"}, "steps.0.connection", "is a connection of smtp"),
        (CALL | {"queue": "gone"}, "steps.0.queue", "there is no queue gone here"),
        (call(colour="red"), "steps.0.params.colour", "is not a field"),
        (call(deadline_s="soon"), "steps.0.params.deadline_s", "number"),
        (call(deadline_s=100_000), "steps.0.params.deadline_s", "120"),
        (call(method="SHOUT"), "steps.0.params.method", "GET"),
        (
            call(headers={"X-Ok": "{{ event.a }}", "X-Bad": {"a": "{{ event"}}),
            "steps.0.params.headers.X-Bad.a",
            "}}",
        ),
        (call(url="{{ event.order"), "steps.0.params.url", "}}"),
        (call(url="{{ event.order | shout }}"), "steps.0.params.url", "shout"),
        (call(url="{{ config }}"), "steps.0.params.url", "config is nothing that is known at this step"),
        (call(url="{{ steps.call.status }}"), "steps.0.params.url", "steps.call.status is nothing"),
        (call(url="{{ connection.password }}"), "steps.0.params.url", "connection.password is nothing"),
        (call(json={"a": ["{{ later.x }}"]}), "steps.0.params.json.a.0", "later.x is nothing"),
        (condition(field="total", op="gt", value=1), "steps.0.conditions.0.field", "total is nothing"),
        (condition(field="event.total", op="resembles", value=1), "steps.0.conditions.0.op", "'eq'"),
        (condition(field="event..total", op="eq", value=1), "steps.0.conditions.0.field", "cannot be read"),
        (condition(field="event.total", op="eq", value="{{ nope"), "steps.0.conditions.0.value", "}}"),
        (
            condition(field="event.total", op="eq", value="{{ other.x }}"),
            "steps.0.conditions.0.value",
            "other.x",
        ),
    ],
)
def test_what_is_wrong_is_named_at_its_place(
    engine: Engine, step: dict[str, Any], path: str, says: str
) -> None:
    wrong = found(engine, step).wrong

    assert list(wrong) == [path]
    assert says in wrong[path]


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ({"action": "smtp.send", "params": MAIL_PARAMS}, "steps.0.connection"),
        ({**MAIL, "params": {**MAIL_PARAMS, "to": []}}, "steps.0.params.to"),
        ({**MAIL, "params": {**MAIL_PARAMS, "to": ""}}, "steps.0.params.to"),
        ({"action": "http.request"}, "steps.0.params.url"),
        ({"action": "http.request", "params": {"url": ""}}, "steps.0.params.url"),
        ({"kind": "filter"}, "steps.0.conditions"),
        (condition(op="eq", value=1), "steps.0.conditions.0.field"),
        (condition(field="event.total"), "steps.0.conditions.0.op"),
        (condition(field="event.total", op="gt"), "steps.0.conditions.0.value"),
    ],
)
def test_what_is_missing_can_be_saved_but_not_turned_on(
    engine: Engine, step: dict[str, Any], path: str
) -> None:
    findings = found(engine, step)

    assert findings.wrong == {}
    assert list(findings.missing) == [path]


def test_a_step_sees_the_actions_before_it(engine: Engine) -> None:
    later = {
        "key": "again",
        "action": "http.request",
        "params": {"url": "https://x.example/{{ steps.call.status }}"},
    }

    assert found(engine, CALL, later).all == {}
    assert list(found(engine, later, CALL).wrong) == ["steps.0.params.url"]


def test_a_rule_without_steps_is_incomplete(engine: Engine) -> None:
    assert list(found(engine).missing) == ["steps"]


@pytest.mark.parametrize(
    ("trigger", "path"),
    [
        ({"type": "gone.happened"}, "trigger.type"),
        ({"type": "schedule.cron", "params": {"expression": "99 * * * *"}}, "trigger.params.expression"),
        (
            {"type": "schedule.cron", "params": {"expression": "0 9 * * *", "zone": "Mars"}},
            "trigger.params.zone",
        ),
        ({"type": "schedule.cron", "params": {}}, "trigger.params.expression"),
        ({"type": "webhook.received", "connection": "con_mail"}, "trigger.connection"),
        ({"type": "manual.started", "connection": "con_hook"}, "trigger.connection"),
    ],
)
def test_a_trigger_is_checked_like_a_step(engine: Engine, trigger: dict[str, Any], path: str) -> None:
    assert list(found(engine, CALL, trigger=trigger).all) == [path]
