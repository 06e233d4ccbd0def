"""Forms from declared settings, and their texts as values again."""

from datetime import datetime
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from werkzeug.datastructures import MultiDict

from app.sdk.fields import Settings, Text, setting
from app.web import fields


class Everything(Settings):
    name: Text = setting("Name", help="who it is", example="Ada", where="on the page")
    note: Text = setting("Note", "", widget="textarea")
    kind: Literal["a", "b"] = setting("Kind", "a")
    count: int = setting("Count", 3)
    share: float | None = setting("Share", None)
    loud: bool = setting("Loud", False)
    to: list[str] = setting("To", [])
    headers: dict[str, Any] = setting("Headers", {}, widget="pairs")
    body: Any = setting("Body", None, widget="code")
    at: datetime | None = setting("At", None)
    key: SecretStr = setting("Key", SecretStr(""))
    zone: Text = setting("Zone", "UTC", widget="zone")


def shown(given: dict[str, Any], **more: Any) -> dict[str, dict[str, Any]]:
    return {field["name"].removeprefix("p_"): field for field in fields.show(Everything, given, **more)}


def read(**typed: Any) -> fields.Typed:
    return fields.read(Everything, MultiDict({f"p_{name}": value for name, value in typed.items()}))


def test_every_type_has_its_control() -> None:
    kinds = {name: field["kind"] for name, field in shown({}).items()}

    assert kinds == {
        "name": "text", "note": "textarea", "kind": "select", "count": "number", "share": "number", "loud": "checkbox",
        "to": "text", "headers": "pairs", "body": "code", "at": "datetime", "key": "secret", "zone": "select",
    }  # fmt: skip


class Place(Settings):
    book: Text = setting("Book")
    sheet: Text = setting("Sheet", "")


class Written(Place):
    formulas: bool = setting("Formulas", False)


class Row(Settings):
    row: dict[str, Any] = setting("Row", {}, widget="pairs")


class NewRow(Written, Row):
    key: Text = setting("Key", "")


class Words(Settings):
    text: Text = setting("Text", widget="textarea")
    markup: bool = setting("Markup", False)


class Post(Words):
    channel: Text = setting("Channel")


class Search(Place):
    column: Text = setting("Column")


@pytest.mark.parametrize(
    ("model", "order"),
    [
        (NewRow, ["book", "sheet", "row", "formulas", "key"]),
        (Search, ["book", "sheet", "column"]),
        (Post, ["channel", "text", "markup"]),
    ],
)
def test_a_form_asks_where_it_goes_then_what_it_says_then_how(
    model: type[Settings], order: list[str]
) -> None:
    assert [field["name"].removeprefix("p_") for field in fields.show(model, {})] == order


class Chosen(Settings):
    security: Literal["starttls", "none"] = setting("Security", "starttls", choices={"none": "not encrypted"})
    method: Literal["service_account"] = setting("Method", "service_account")


def test_choices_are_words_and_stay_values() -> None:
    security, method = fields.show(Chosen, {})
    typed = fields.read(Chosen, MultiDict({"p_security": "none", "p_method": "service_account"}))

    assert security["choices"] == [
        {"value": "starttls", "label": "STARTTLS"},
        {"value": "none", "label": "not encrypted"},
    ]
    assert method["choices"][0]["label"] == "service account"
    assert typed.values == {"security": "none", "method": "service_account"}


def test_an_empty_list_of_json_is_an_empty_field() -> None:
    class Blocks(Settings):
        blocks: list[Any] = setting("Blocks", [], widget="code")

    assert fields.show(Blocks, {})[0]["value"] == ""


def test_values_are_shown_as_a_person_would_type_them() -> None:
    given = {
        "count": 7, "to": ["a@example.com", "b@example.com"], "headers": {"X": ["1", "2"]}, "body": {"a": 1},
        "key": "hush",
    }  # fmt: skip

    values = {name: field["value"] for name, field in shown(given).items()}

    assert values["count"] == "7"
    assert values["to"] == "a@example.com, b@example.com"
    assert values["headers"] == [{"name": "X", "value": "1"}, {"name": "X", "value": "2"}]
    assert values["body"] == '{\n  "a": 1\n}'
    assert values["key"] is None
    assert values["kind"] == "a"


def test_a_choice_that_is_a_template_becomes_text() -> None:
    field = shown({"kind": "{{ event.kind }}", "loud": "{{ event.loud }}"}, templated=True)

    assert (field["kind"]["kind"], field["kind"]["value"]) == ("text", "{{ event.kind }}")
    assert (field["loud"]["kind"], field["loud"]["value"]) == ("text", "{{ event.loud }}")


def test_errors_stand_at_their_field() -> None:
    field = shown({}, errors={"to.1": "is no address", "name": "is needed", "headers.X-Id": "is too long"})

    assert field["to"]["error"] == "is no address"
    assert field["name"]["error"] == "is needed"
    assert field["headers"]["error"] == "X-Id: is too long"
    assert field["body"]["error"] is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "12", 12),
        ("count", "1.5", 1.5),
        ("count", "many", "many"),
        ("count", "{{ event.count }}", "{{ event.count }}"),
        ("loud", "1", True),
        ("loud", "{{ event.loud }}", "{{ event.loud }}"),
        ("to", "a@example.com, {{ event.a }}\n", ["a@example.com", "{{ event.a }}"]),
        ("body", '{"a": [1, "{{ event.b }}"]}', {"a": [1, "{{ event.b }}"]}),
        ("body", " {{ event }} ", "{{ event }}"),
        ("kind", "b", "b"),
        ("note", "  two\r\nlines ", "  two\nlines "),
        ("name", " Ada ", "Ada"),
    ],
)
def test_texts_become_values(name: str, text: str, value: Any) -> None:
    typed = read(**{name: text})

    assert typed.values[name] == value
    assert typed.problems == {}


def test_empty_fields_are_left_to_their_defaults() -> None:
    typed = read(name="", count="", body=" ", to="", key="", share="")

    assert typed.values == {"loud": False, "headers": {}}


@pytest.mark.parametrize(
    "text", ["{", "{'a': 1}", "1e999", "NaN", '{"a": {{ event.b }}}', "[" * 100 + "]" * 100]
)
def test_what_is_no_json_is_said_at_the_field(text: str) -> None:
    typed = read(body=text)

    assert "body" in typed.problems
    assert typed.texts["body"] == text


def test_pairs_come_back_in_order_and_repeated_names_keep_all_values() -> None:
    form = MultiDict([
        ("p_headers.name", "X"), ("p_headers.name", "Y"), ("p_headers.name", "X"), ("p_headers.name", ""),
        ("p_headers.value", "1"), ("p_headers.value", "2"), ("p_headers.value", "3"), ("p_headers.value", "lost"),
    ])  # fmt: skip

    assert fields.read(Everything, form).values["headers"] == {"X": ["1", "3"], "Y": "2"}


def test_what_was_typed_is_shown_again_but_never_a_secret() -> None:
    typed = read(count="many", key="hush")

    field = {each["name"]: each for each in fields.show(Everything, {}, typed=typed)}

    assert field["p_count"]["value"] == "many"
    assert field["p_key"]["value"] is None
    assert "key" not in typed.texts


def test_a_form_that_comes_back_keeps_its_ticks() -> None:
    assert shown({}, typed=read(loud="1"))["loud"]["value"] is True
    assert shown({"loud": True}, typed=read())["loud"]["value"] is False
