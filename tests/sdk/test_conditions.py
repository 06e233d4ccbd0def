"""Filters: what matches, and the sentence when it does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.sdk.conditions import Condition, Match, Op, evaluate

EVENT: dict[str, Any] = {
    "total": 150,
    "text_total": "150",
    "name": "Ada Lovelace",
    "paid": True,
    "open": "no",
    "tags": ["new", "vip", 7],
    "address": {"city": "Pune"},
    "blank": " ",
    "nothing": None,
    "zip": "007",
    "at": "2026-11-21T09:00:00Z",
    "created": 1763715600,
    "items": [{"name": "tea"}],
    "odd key": 1,
    "word": "abc",
    "limit": 100,
}


def judge(field: str, op: str, value: object = None) -> tuple[bool, tuple[str, ...]]:
    verdict = evaluate([Condition(field=field, op=Op(op), value=value)], Match.ALL, {"event": EVENT})
    return verdict.passed, verdict.sentences


@pytest.mark.parametrize(
    ("field", "op", "value"),
    [
        ("event.total", "eq", 150),
        ("event.total", "eq", "150.0"),
        ("event.text_total", "gt", 100),
        ("event.text_total", "gt", "99"),
        ("event.total", "gte", "150"),
        ("event.total", "lt", 1e3),
        ("event.total", "lte", "1.5e2"),
        ("event.total", "gt", "{{ event.limit }}"),
        ("event.total", "ne", "151"),
        ("event.name", "ne", 5),
        ("event.paid", "eq", "true"),
        ("event.paid", "ne", 1.5),
        ("event.nothing", "eq", None),
        ("event.zip", "ne", "7"),
        ("event.zip", "eq", "007"),
        ("event.name", "contains", "Love"),
        ("event.total", "contains", "5"),
        ("event.tags", "contains", "vip"),
        ("event.tags", "contains", "7"),
        ("event.address", "contains", "city"),
        ("event.name", "not_contains", "Bob"),
        ("event.name", "starts_with", "Ada"),
        ("event.name", "ends_with", "lace"),
        ("event.word", "in", "xyz, abc"),
        ("event.total", "in", [1, "150"]),
        ("event.word", "not_in", ["x"]),
        ("event.nothing", "exists", None),
        ("event.nope", "not_exists", None),
        ("event.nope.deeper", "not_exists", None),
        ("event.nope", "is_empty", None),
        ("event.blank", "is_empty", None),
        ("event.total", "is_not_empty", None),
        ("event.paid", "is_true", None),
        ("event.open", "is_false", None),
        ("event.at", "before", "2026-11-21T15:00:00+05:30"),
        ("event.at", "after", "2026-11-20"),
        ("event.created", "after", "2025-11-21"),
        ("event.items[0].name", "eq", "tea"),
        ("event['odd key']", "eq", 1),
    ],
)
def test_a_condition_matches(field: str, op: str, value: object) -> None:
    assert judge(field, op, value) == (True, ())


@pytest.mark.parametrize(
    ("field", "op", "value", "sentence"),
    [
        ("event.limit", "gt", 100, "event.limit is 100, not greater than 100"),
        ("event.word", "gt", 100, 'event.word is "abc", not a number'),
        ("event.paid", "gt", 0, "event.paid is true, not a number"),
        ("event.total", "lt", "x", 'event.total is 150, and "x" is not a number to compare it with'),
        ("event.nope", "ne", 1, "event.nope is not there"),
        ("event.nope", "not_contains", "x", "event.nope is not there"),
        ("event.nope.deeper", "exists", None, "event.nope is not there"),
        ("event.nope", "not_in", "x", "event.nope is not there"),
        ("event.word", "not_exists", None, 'event.word is there: "abc"'),
        ("event.word", "eq", "abd", 'event.word is "abc", not "abd"'),
        ("event.word", "ne", "abc", 'event.word is "abc", which is "abc"'),
        ("event.zip", "eq", 7, 'event.zip is "007", not 7'),
        ("event.paid", "eq", "maybe", 'event.paid is true, not "maybe"'),
        ("event.tags", "starts_with", "n", 'event.tags is ["new","vip",7], not text'),
        ("event.word", "before", "2026-01-01", 'event.word is "abc", not a date'),
        (
            "event.at",
            "after",
            "soon",
            'event.at is "2026-11-21T09:00:00Z", and "soon" is not a date to compare it with',
        ),
        ("event.nothing", "is_not_empty", None, "event.nothing is empty, which counts as empty"),
        ("event.word", "is_true", None, 'event.word is "abc", not true'),
        (
            "event.word",
            "eq",
            "{{ event.gone }}",
            (
                "the value that event.word is compared with is missing: event.gone is not there: "
                "the event has total, text_total, name, paid, open, tags, address, blank and 8 more"
            ),
        ),
    ],
)
def test_a_condition_that_does_not_match_says_why(field: str, op: str, value: object, sentence: str) -> None:
    assert judge(field, op, value) == (False, (sentence,))


@pytest.mark.parametrize("op", sorted(set(Op) - {Op.NOT_EXISTS, Op.IS_EMPTY}))
def test_an_absent_field_never_matches(op: Op) -> None:
    assert judge("event.absent", op, "x") == (False, ("event.absent is not there",))


def test_any_needs_one_and_all_needs_every() -> None:
    both = [
        Condition(field="event.total", op=Op.GT, value=100),
        Condition(field="event.word", op=Op.EQ, value="x"),
    ]

    assert evaluate(both, Match.ANY, {"event": EVENT}).passed
    assert not evaluate(both, Match.ALL, {"event": EVENT}).passed
    assert evaluate([], Match.ANY, {"event": EVENT}).passed


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"field": "event..x", "op": "eq"}, "cannot be read"),
        ({"field": "", "op": "eq"}, "is not a field"),
        ({"field": "event.x", "op": "matches", "value": "(a+)+$"}, "Input should be"),
        ({"field": "event.x", "op": "gt"}, '"is greater than" needs a value'),
        ({"field": "event.x", "op": "eq", "flags": 1}, "Extra inputs"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Condition(**fields)


@pytest.mark.parametrize("op", Op)
def test_every_operator_has_words(op: Op) -> None:
    assert op.label
    assert isinstance(op.needs_value, bool)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["1e999", "-1", "\u0661"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(found=VALUES, op=st.sampled_from(Op), value=VALUES.filter(lambda value: value is not None))
def test_whatever_is_compared_it_matches_or_has_one_sentence(found: object, op: Op, value: object) -> None:
    conditions = [Condition(field="event.x", op=op, value=value)]

    verdict = evaluate(conditions, Match.ALL, {"event": {"x": found}})

    assert len(verdict.sentences) == (0 if verdict.passed else 1)
