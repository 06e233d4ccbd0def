"""JSON from strangers: strict, bounded, never a crash."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.sdk.jsonvalues import BadJsonError, dumps, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "the body is empty; JSON was expected"),
        (b" \n", "the body is empty; JSON was expected"),
        (b'{"a": \xff}', "the body is not UTF-8 text (byte 6)"),
        (b'"\xed\xa0\x80"', "the body is not UTF-8 text (byte 1)"),
        (b"[" * 100_000, "the body is nested deeper than 64 levels, or its brackets do not match"),
        (b'{"a":' * 10_000, "the body is nested deeper than 64 levels, or its brackets do not match"),
        (b"[" * 65 + b"]" * 65, "the body is nested deeper than 64 levels, or its brackets do not match"),
        (b"[NaN]", "the body is not JSON: NaN is not a number there"),
        (b"-Infinity", "the body is not JSON: -Infinity is not a number there"),
        (b"1e999", "the body holds a number that is too large: 1e999"),
        (b"[" + b"9" * 400 + b".5]", "the body holds a number that is too large: " + "9" * 20),
        (b"9" * 5000, "the body holds a number of more than 400 digits"),
        (b"-" + b"9" * 401, "the body holds a number of more than 400 digits"),
        (b'{"a": 1} x', "the body is not JSON: extra data at line 1, column 10"),
        (b"{'a': 1}", "the body is not JSON: expecting property name enclosed in double quotes at line 1, column 2"),
        (b'"a\x00b"', "the body is not JSON: invalid control character at at line 1, column 3"),
    ],
)  # fmt: skip
def test_a_bad_body_is_refused_in_words(raw: bytes, sentence: str) -> None:
    with pytest.raises(BadJsonError) as caught:
        loads(raw)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "raw",
    [
        json.dumps({str(n): n for n in range(1_000_000)}).encode(),
        b"[" + b"0," * 300_000 + b"0]",
        b'"' + b'\\"' * 2_000_000,
        b'{"a":[' * 500_000,
        b'"' * 2_000_001 + b"[" * 100,
        b"[]" * 1_000_000,
        b"1" * 299 + b"x" + b"2" * 2_000_000,
    ],
)
def test_a_huge_hostile_body_is_refused_quickly(raw: bytes) -> None:
    started = time.thread_time()

    with pytest.raises(BadJsonError):
        loads(raw)

    assert time.thread_time() - started < 3


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'"\\ud800 \\u0000"', "\ud800 \x00"),
        (b"\xef\xbb\xbf[1]", [1]),
        (b"[" * 64 + b"]" * 64, json.loads("[" * 64 + "]" * 64)),
        (b"9" * 400, int("9" * 400)),
        (b"[1e300, 1E-999]", [1e300, 0.0]),
        (json.dumps(["[{" * 1000, ":,\\" * 100_000, '"']).encode(), ["[{" * 1000, ":,\\" * 100_000, '"']),
    ],
)
def test_an_unusual_but_good_body_is_read(raw: bytes, value: object) -> None:
    assert loads(raw) == value


def test_what_storage_keeps_is_ascii() -> None:
    assert dumps({"a": "ü\ud800\x00", "b": [1, None]}) == '{"a":"\\u00fc\\ud800\\u0000","b":[1,null]}'


@pytest.mark.parametrize("value", [datetime(2026, 1, 1, tzinfo=UTC), {1, 2}, b"x"])
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_know_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps([value])


@given(JSON)
def test_what_is_written_is_read_back(value: object) -> None:
    assert loads(dumps(value).encode()) == value


@given(JSON)
def test_the_slow_shape_check_refuses_nothing_good(value: object) -> None:
    raw = dumps(value).encode()

    assert loads(raw, max_depth=max(1, raw.count(b"[") + raw.count(b"{"))) == value


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with suppress(BadJsonError):
        assert loads(dumps(loads(raw, max_depth=2)).encode()) == loads(raw)
