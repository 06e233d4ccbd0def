import pytest
from pydantic import SecretStr, ValidationError

from app.sdk.fields import Settings, Text, reveal, secret_names, sentences, setting, spread


class Account(Settings):
    """An account."""

    name: Text = setting("Name", "")
    token: SecretStr | None = setting("Token", None)
    places: list[str] = setting("Places", [])
    sizes: list[int] = setting("Sizes", [])


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("a", "a"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (None, ""),
        ([1, "x"], '[1,"x"]'),
        ({"a": 1}, '{"a":1}'),
    ],
)
def test_text_takes_any_value_of_an_event_as_templates_write_it(given, text):
    assert Account(name=given).name == text


def test_text_takes_nothing_but_data():
    with pytest.raises(ValidationError):
        Account(name=object())


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("a, b;c\nd", ["a", "b", "c", "d"]),
        (" , a ,, ", ["a"]),
        ("", []),
        ('{{ x | join: "," }}, b', ['{{ x | join: "," }}', "b"]),
        ("{% if x %}a, b{% endif %}", ["{% if x %}a", "b{% endif %}"]),
        ('"Doe, Jane" <j@x>, "half', ['"Doe, Jane" <j@x>', '"half']),
        ("{{ open, b", ["{{ open", "b"]),
    ],
)
def test_text_in_a_list_field_is_split_where_a_person_wrote_commas(written, parts):
    assert spread(Account, {"places": written}) == {"places": parts}


def test_other_fields_and_unknown_ones_stay_as_they_are():
    params = {"name": "a, b", "unknown": "c, d", "places": ["e, f"], "sizes": "1, 2"}

    assert spread(Account, params) == params | {"sizes": ["1", "2"]}


def test_secrets_are_shown_only_when_asked_for():
    account = Account(name="a", token="hunter2")

    assert "hunter2" not in repr(account) + account.model_dump_json()
    assert reveal(account) == {"name": "a", "token": "hunter2", "places": [], "sizes": []}
    assert secret_names(Account) == {"token"}


def test_objections_are_plain_sentences_by_path():
    with pytest.raises(ValidationError) as error:
        Account.model_validate({"sizes": ["x"], "colour": "red"})

    assert sentences(error.value) == {
        "sizes.0": "must be a whole number",
        "colour": "is not a field of this form",
    }
