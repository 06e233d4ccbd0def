import time

import pytest

from app.services.causes import alike, key_of


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        ("call: order A-1001 was refused", "call: order … was refused"),
        ("https://shop.example/orders/4711?x=1 answered 503", "https://shop.example/… answered 503"),
        ("127.0.0.1 rejected the request (404)", "… rejected the request (404)"),
        ('the sheet "Orders 2026" has no column “Name”', "the sheet … has no column …"),
        ("nobody has the address ada@example.com", "nobody has the address …"),
        ("the task tsk_01kab3cdefghjkmnpqrstvwxyz is gone", "the task … is gone"),
        ("550e8400-e29b-41d4-a716-446655440000 is unknown", "… is unknown"),
        ("tried 8 times, run it again", "tried … times, run it again"),
        ("this is a bug, the server's log has more, take the channel's id",
         "this is a bug, the server's log has more, take the channel's id"),
        ("the token was refused", "the token was refused"),
        (None, ""),
    ],
)  # fmt: skip
def test_what_differs_is_taken_out_and_the_words_stay(cause, expected):
    assert alike(cause) == expected


def test_an_answers_status_tells_two_causes_apart():
    assert alike("shop.example answered 404") != alike("shop.example answered 503")


@pytest.mark.parametrize(
    "cause", ["a-" * 150, "a1_" * 100, "1.1" * 100, "…," * 150, "a@" * 150, "'" * 300, "x://" * 80, '"' * 299]
)
def test_no_cause_takes_long(cause):
    began_at = time.monotonic()

    alike(cause)

    assert time.monotonic() - began_at < 0.1


def test_a_key_depends_on_each_part_and_on_where_it_ends():
    assert key_of("a", "b") == key_of("a", "b")
    assert len({key_of("a", "b"), key_of("ab"), key_of("a", None, "b"), key_of("a", "c")}) == 4
