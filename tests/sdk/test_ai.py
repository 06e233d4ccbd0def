import json

import pytest

from app.sdk import ai
from app.sdk.ai import Price, PriceList, Reply, StepOptions
from app.sdk.ai_steps import Fields, Labels
from app.sdk.errors import RejectedError
from app.sdk.schemas import require_schema

PRICES = PriceList({"small": Price(0.1, 0.01, 0.5), "large": Price(10, 1, 50)})


@pytest.mark.parametrize(
    ("reply", "micros"),
    [
        (Reply("", "small", 1000, 100), 150),
        (Reply("", "small", 1000, 100, tokens_cached=1000), 60),
        (Reply("", "small", 1, 0), 1),
        (Reply("", "small"), 0),
        (Reply("", "large", 1_000_000, 1_000_000), 60_000_000),
    ],
)
def test_a_price_is_in_millionths_and_rounded_up(reply, micros):
    assert PRICES.price(reply.model).micros(reply) == micros


@pytest.mark.parametrize("model", ["small", "small-2026-09-22"])
def test_a_dated_model_costs_what_the_model_does(model):
    assert PRICES.price(model) == Price(0.1, 0.01, 0.5)


@pytest.mark.parametrize("model", ["small-er", "ft:small:shop", "", "2026-09-22"])
def test_a_model_without_a_price_has_none(model):
    assert PRICES.price(model) is None
    assert PRICES.dearest == Price(10, 1, 50)


def test_a_price_list_is_read_from_its_file(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"models": {"a": {"input": 1, "cached": 0.5, "output": 2}}}))

    assert ai.price_list(path).price("a") == Price(1, 0.5, 2)


def test_dollars_become_millionths():
    limits = ai.Allowance(dollars_a_day=0.1, dollars_a_month=25, tokens_a_day=7).limits()

    assert (limits.micros_a_day, limits.micros_a_month, limits.tokens_a_day) == (100_000, 25_000_000, 7)
    assert limits.calls_a_day is None


def test_without_ai_a_step_is_skipped_only_if_it_was_said():
    with pytest.raises(RejectedError, match="add your Some AI key"):
        ai.without_ai(StepOptions(), "Some AI")

    assert ai.without_ai(StepOptions(skip_when_off=True), "Some AI") == {"skipped": True, "text": ""}


def test_our_own_schemas_are_as_strict_as_the_services_want_them():
    for shape in (
        Labels(text="x", labels=["a", "b"]).shape(),
        Fields(text="x", fields={"a": "what", "b": "list: of what", "c": "odd: words"}).shape(),
    ):
        assert require_schema(shape) == shape
        assert shape["additionalProperties"] is False
        assert shape["required"] == list(shape["properties"])


def test_an_unknown_kind_of_field_is_part_of_its_meaning():
    shape = Fields(text="x", fields={"c": "odd: words"}).shape()

    assert shape["properties"]["c"] == {"type": ["string", "null"], "description": "odd: words"}
