"""The shape of a rule's document and its limits."""

from typing import Any

import pytest

from app.errors import InvalidError
from app.services import documents

TRIGGER = {"type": "webhook.received"}


def steps(*given: Any) -> dict[str, Any]:
    return {"name": "Big orders", "trigger": TRIGGER, "steps": list(given)}


def test_steps_without_a_key_get_one_of_their_own() -> None:
    parsed = documents.parse_document(
        steps({"action": "smtp.send"}, {"action": "smtp.send"}, {"kind": "filter"})
    )

    assert [step.key for step in parsed.definition.steps] == ["smtp_send", "smtp_send_2", "filter"]


def test_what_comes_out_is_what_goes_in() -> None:
    given = {
        "trigger": {"type": "webhook.received", "params": {"a": 1}, "connection": None},
        "steps": [
            {
                "key": "mail",
                "kind": "action",
                "action": "smtp.send",
                "connection": "con_1",
                "params": {"to": "x"},
            },
            {
                "key": "big",
                "kind": "filter",
                "conditions": [{"field": "event.a", "op": "gt"}],
                "match": "any",
            },
        ],
    }

    assert documents.parse(given).as_json() == given


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (steps() | {"name": ""}, "name"),
        (steps() | {"name": "x" * 101}, "name"),
        (steps() | {"workspace_id": "wsp_other"}, "workspace_id"),
        ({"name": "x", "steps": []}, "trigger"),
        (steps() | {"steps": "none"}, "steps"),
        (steps({"kind": "loop"}), "steps.0"),
        (steps({"kind": ["action"]}), "steps.0"),
        (steps("mail"), "steps.0"),
        (steps({"action": "smtp.send", "state": "succeeded"}), "steps.0.state"),
        (steps({"action": "smtp.send", "key": "Not A Slug"}), "steps.0.key"),
        (steps({"action": "smtp.send", "key": "a"}, {"action": "smtp.send", "key": "a"}), "steps.1.key"),
        (steps({"action": "smtp.send", "key": "event"}), "steps.0.key"),
        (steps({"action": "smtp.send", "params": []}), "steps.0.params"),
        (steps({"kind": "filter", "match": "some"}), "steps.0.match"),
        (steps(*[{"action": "smtp.send"}] * 101), "steps"),
    ],
)
def test_what_is_no_rule_is_refused_at_its_place(document: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidError) as refused:
        documents.parse_document(document)

    assert path in refused.value.fields


@pytest.mark.parametrize("document", [None, [], "rule", 7])
def test_what_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(InvalidError):
        documents.parse_document(document)


def test_a_rule_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidError, match="at most 256 KB"):
        documents.parse_document(steps({"action": "smtp.send", "params": {"text": "x" * 300_000}}))


@pytest.mark.parametrize(
    ("title", "taken", "key"),
    [
        ("Send a mail", set(), "send_a_mail"),
        ("Send a mail", {"send_a_mail", "send_a_mail_2"}, "send_a_mail_3"),
        ("Событие", set(), "step"),
        ("1st step", set(), "step_1st_step"),
        ("Event", set(), "step_event"),
        ("x" * 90, set(), "x" * 32),
    ],
)
def test_keys_are_made_from_titles(title: str, taken: set[str], key: str) -> None:
    assert documents.new_key(title, taken) == key
