"""How values look on pages."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from flask_login import login_user

from app.web import filters
from app.web.access import Person

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def in_tokyo(app: Flask):
    person = Person(
        id="usr_1", epoch=0, email="a@b", name="", zone="Asia/Tokyo", theme="auto", operator=False
    )
    with app.test_request_context():
        login_user(person)
        yield


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (5, "5 s ago"),
        (60, "1 min ago"),
        (7200, "2 h ago"),
        (86_400, "1 day ago"),
        (3 * 86_400, "3 days ago"),
        (-90, "in 1 min"),
        (30 * 86_400, "22 Oct 2026"),
    ],
)
def test_ago_says_how_long(app: Flask, seconds: int, said: str):
    with time_machine.travel(NOON, tick=False), app.test_request_context():
        assert filters.ago(NOON - timedelta(seconds=seconds)) == said


def test_times_are_in_the_readers_zone(in_tokyo):
    assert filters.local(NOON) == "Sat 21 Nov 2026, 21:00:00"
    assert filters.exact(NOON) == "2026-11-21 21:00:00.000 JST (+0900)"


def test_times_are_in_utc_for_who_is_not_logged_in(app: Flask):
    with app.test_request_context():
        assert filters.exact(NOON) == "2026-11-21 12:00:00.000 UTC (+0000)"


@pytest.mark.parametrize(
    ("ms", "said"),
    [(0, "0 ms"), (12.4, "12 ms"), (3400, "3.4 s"), (125_000, "2 min 5 s"), (4_200_000, "1 h 10 min")],
)
def test_a_length_of_time_is_short(ms: float, said: str):
    assert filters.duration(ms) == said


@pytest.mark.parametrize(
    ("count", "said"), [(12, "12 bytes"), (2048, "2.0 KB"), (5 * 1024**2, "5.0 MB"), (3 * 1024**3, "3.0 GB")]
)
def test_a_size_has_its_unit(count: int, said: str):
    assert filters.size(count) == said


def test_json_with_a_lone_surrogate_can_be_sent_as_a_page():
    assert filters.pretty_json({"a": "\ud800é"}).encode() == '{\n  "a": "?é"\n}'.encode()


def test_a_summary_is_one_short_line():
    assert filters.summary("a\nb") == "a b"
    assert filters.summary({"a": 1}) == '{"a": 1}'
    assert len(filters.summary("x" * 500)) == 80


@pytest.mark.parametrize(
    ("text", "said"),
    [("the rule is off; turn it on", "The rule is off; turn it on."), ("", ""), ("Why?", "Why?")],
)
def test_a_message_becomes_a_sentence(text: str, said: str):
    assert filters.sentence(text) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Give `id`, or `all` of it.", "Give <code>id</code>, or <code>all</code> of it."),
        ("one ` alone, and ``", "one ` alone, and ``"),
        ("`<b>` & <b>", "<code>&lt;b&gt;</code> &amp; &lt;b&gt;"),
    ],
)
def test_names_in_a_text_are_code_and_nothing_else_is(text: str, shown: str):
    assert filters.with_names(text) == shown
