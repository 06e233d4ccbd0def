"""Rules in plain sentences."""

from typing import Any

import pytest

from app.engine.core import Engine
from app.services import documents, rule_words

CALL = {
    "key": "call",
    "action": "http.request",
    "params": {"method": "POST", "url": "https://shop.example/?token=hush"},
}
FILTER = {"kind": "filter", "key": "big", "conditions": [{"field": "event.total", "op": "gt", "value": 100}]}


def definition(
    *steps: dict[str, Any], type_: str = "webhook.received", **params: Any
) -> documents.Definition:
    return documents.parse({"trigger": {"type": type_, "params": params}, "steps": list(steps)})


def test_a_rule_is_one_sentence(engine: Engine) -> None:
    told = rule_words.rule_sentence(engine.catalogue, definition(FILTER, CALL | {"name": "Tell the shop"}))

    assert told.startswith("Call received: ")
    assert told.endswith("only go on if…, then tell the shop")


def test_a_step_tells_what_was_chosen_and_no_secret(engine: Engine) -> None:
    told = rule_words.step_sentence(engine.catalogue, definition(CALL).steps[0])

    assert "Method: POST" in told
    assert "hush" not in told


def test_names_and_values_are_said_and_not_shown_as_json(engine: Engine) -> None:
    params = {"headers": {"X-Order": "{{ event.order }}", "X-Shop": 7}}
    told = rule_words.step_sentence(engine.catalogue, definition(CALL | {"params": params}).steps[0])

    assert told == "Headers: X-Order: {{ event.order }}, X-Shop: 7"


def test_a_filter_tells_its_conditions(engine: Engine) -> None:
    more = {
        **FILTER,
        "match": "any",
        "conditions": [*FILTER["conditions"], {"field": "event.paid", "op": "is_true"}],
    }

    told = rule_words.filter_sentence(definition(more).steps[0])

    assert told == "event.total is greater than 100 or event.paid is true"


def test_a_schedule_tells_its_times(engine: Engine) -> None:
    part = definition(type_="schedule.cron", expression="0 9 * * 1-5", zone="Europe/Berlin").trigger

    assert rule_words.trigger_sentence(engine.catalogue, part) == "Every weekday at 09:00, Europe/Berlin"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("steps.1.params.url", "Step 2, Tell the shop: URL is needed"),
        ("steps.0.conditions", "Step 1, Only go on if…: is needed"),
        ("steps", "The rule is needed"),
        ("trigger.params.gone", "The trigger: is needed"),
    ],
)
def test_a_problem_names_its_place(engine: Engine, path: str, told: str) -> None:
    rule = definition(FILTER, CALL | {"name": "Tell the shop"})

    assert rule_words.problem_sentence(engine.catalogue, rule, path, "is needed") == told


def test_what_is_not_installed_is_said(engine: Engine) -> None:
    rule = definition({"action": "gone.do_it"}, type_="gone.happened")

    assert "not installed" in rule_words.trigger_sentence(engine.catalogue, rule.trigger)
    assert "not installed" in rule_words.step_sentence(engine.catalogue, rule.steps[0])
