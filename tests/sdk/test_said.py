from datetime import UTC, datetime

import pytest

from app.sdk.answers import Answer
from app.sdk.said import json_object, not_now, sentence, shown

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def answer(body=b"", status=200, **headers):
    return Answer(status, headers, body, "https://api.example/bot123:secret/getMe", 1)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"5", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_an_empty_one(body):
    assert json_object(answer(body)) == {}


def test_words_of_a_service_become_part_of_a_sentence():
    assert sentence("Chat not\nfound.") == "chat not found"
    assert sentence(None) == "no reason given"
    assert len(sentence("x" * 1000)) == 160
    assert shown("Ada\x00 Example") == "Ada Example"


@pytest.mark.parametrize(
    ("status", "headers", "after", "expected"),
    [
        (429, {"retry-after": "7"}, None, (7, False)),
        (429, {"retry-after": "7"}, 35, (35, False)),
        (429, {}, True, (None, False)),
        (429, {}, -5, (0, False)),
        (503, {}, None, (None, False)),
        (500, {"retry-after": "soon"}, None, (None, True)),
    ],
)
def test_a_service_says_how_long_to_wait(status, headers, after, expected):
    error = not_now("telegram", answer(b"", status, **headers), NOW, after=after)

    assert (error.after, error.sent) == expected
    assert "secret" not in str(error)
