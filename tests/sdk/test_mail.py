import pytest

from app.sdk.mail import message_id, parse_address


@pytest.mark.parametrize(
    ("text", "name", "spec"),
    [
        ("ada@example.com", "", "ada@example.com"),
        ("  ada+orders@Example.com ", "", "ada+orders@example.com"),
        ("Ada Example <ada@example.com>", "Ada Example", "ada@example.com"),
        ('"Example, Ada" <ada@example.com>', "Example, Ada", "ada@example.com"),
        ("<ada@example.com>", "", "ada@example.com"),
        ("Zoë O'Hara <o'hara@example.com>", "Zoë O'Hara", "o'hara@example.com"),
        ("ada@bücher.example", "", "ada@xn--bcher-kva.example"),
    ],
)
def test_one_address_is_taken_apart(text, name, spec):
    address = parse_address(text)

    assert (address.display_name, address.addr_spec) == (name, spec)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be one address"),
        ("ada", "must be one address"),
        ("a@example.com,b@example.com", "must be one address"),
        ("a@example.com <b@example.com>", "must be one address"),
        ("Ada <a@example.com> b@example.com", "must be one address"),
        ("=?utf-8?q?x?= a@example.com", "must be one address"),
        ("a@example.com\nb@example.com", "line break"),
        ("a\u2028@example.com", "line break"),
        ("a\ud800@example.com", "line break"),
        ("a@-example.com", "no valid domain"),
        ("x" * 65 + "@example.com", "must be one address"),
    ],
)
def test_anything_else_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_address(text)


def test_a_message_id_shows_nothing_of_its_key():
    sender = parse_address("a@example.com")

    assert "tsk" not in message_id("tsk_1> \r\nX: y", sender)
    assert message_id("tsk_1", sender) == message_id("tsk_1", sender)
