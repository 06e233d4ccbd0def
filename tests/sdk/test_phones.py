import pytest

from app.sdk import phones


@pytest.mark.parametrize(
    "typed",
    [
        "+4915112345678",
        " +49 151 12345678 ",
        "+49-151/123.456-78",
        "+49 (151) 12345678",
        "whatsapp:+4915112345678",
        "+49\u00a0151\u202f12345678",
    ],
)
def test_the_ways_in_which_people_write_a_number_are_one(typed):
    assert phones.normal(typed) == "+4915112345678"


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("0151 12345678", "country code"),
        ("004915112345678", "country code"),
        ("+49 (0)151 12345678", r"leave the \(0\) out"),
        ("+0151123456", "7 to 15 digits"),
        ("+123456", "7 to 15 digits"),
        ("+1234567890123456", "7 to 15 digits"),
        ("+49151x1234567", "7 to 15 digits"),
        ("", "country code"),
    ],
)
def test_what_is_no_international_number_is_told_in_plain_words(typed, words):
    with pytest.raises(ValueError, match=words):
        phones.normal(typed)
