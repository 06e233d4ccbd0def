import time

import pytest

from app.sdk.schemas import objection, read, require_schema

ORDER = {
    "type": "object",
    "properties": {"total": {"type": "number"}, "items": {"type": "array", "items": {"type": "string"}}},
    "required": ["total"],
}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "array"}, "of an object"),
        ({}, "of an object"),
        ("x", "of an object"),
        ({"type": "object", "properties": {"a": {"type": "banana"}}}, "no JSON Schema: properties/a/type"),
        ({"type": "object", "properties": {"a": {"$ref": "http://169.254.169.254/"}}}, r"\$ref"),
        ({"type": "object", "properties": {"a": {"$dynamicRef": "#x"}}}, r"\$dynamicRef"),
        ({"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}, "pattern"),
        ({"type": "object", "patternProperties": {"(a+)+$": True}}, "patternProperties"),
        ({"type": "object", "allOf": [{"anyOf": [{"pattern": "x"}]}]}, "pattern"),
        ({"type": "object", "description": "x" * 20_001}, "at most 20000"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_in_plain_words(schema, words):
    with pytest.raises(ValueError, match=words):
        require_schema(schema)


def test_properties_may_have_the_names_of_keywords():
    schema = {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}}

    assert require_schema(schema) == schema


@pytest.mark.parametrize(
    "text", ['{"total": 1}', ' {"total": 1}\n', '```json\n{"total": 1}\n```', '```\n{"total":\n1}\n```']
)
def test_an_answer_that_fits_is_read_fenced_or_not(text):
    assert read(text, ORDER) == ({"total": 1}, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("Sure! Here it is", "not JSON"),
        ('{"total": NaN}', "not JSON"),
        ('{"total": 1', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not of type 'object'"),
        ("{}", "'total' is a required property"),
        ('{"total": "1"}', "total: '1' is not of type 'number'"),
        ('{"total": 1, "items": [1]}', "items.0: 1 is not of type 'string'"),
    ],
)
def test_an_answer_that_does_not_fit_is_told_why(text, words):
    assert words in read(text, ORDER)[1]


def test_an_objection_is_short_however_long_the_answer():
    assert len(objection({"total": "x" * 10_000}, ORDER)) < 250


def test_a_large_answer_is_checked_soon():
    began = time.monotonic()

    read('{"total": 1, "items": [' + ",".join(['"x"'] * 50_000) + "]}", ORDER)

    assert time.monotonic() - began < 3
