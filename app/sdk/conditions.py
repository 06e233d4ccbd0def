"""Filters as data: a field, an operator and a value, and in plain words why they do not match."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from app.sdk import paths, templates, values


class Op(StrEnum):
    """What a field is held against. No regular expression: one bad pattern can stop a worker for hours."""

    EQ = "eq"
    NE = "ne"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    CONTAINS = "contains"
    NOT_CONTAINS = "not_contains"
    STARTS_WITH = "starts_with"
    ENDS_WITH = "ends_with"
    IN = "in"
    NOT_IN = "not_in"
    EXISTS = "exists"
    NOT_EXISTS = "not_exists"
    IS_EMPTY = "is_empty"
    IS_NOT_EMPTY = "is_not_empty"
    IS_TRUE = "is_true"
    IS_FALSE = "is_false"
    BEFORE = "before"
    AFTER = "after"

    @property
    def label(self) -> str:
        """The words of the form and of the sentences: `event.total` + label + value."""
        return _LABELS[self]

    @property
    def needs_value(self) -> bool:
        return self not in _WITHOUT_VALUE


class Match(StrEnum):
    ALL = "all"
    ANY = "any"


class Condition(BaseModel):
    """`value` may be a template; it is rendered before it is compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    field: str
    op: Op
    value: Any = None

    @field_validator("field")
    @classmethod
    def _field_is_a_path(cls, field: str) -> str:
        paths.parse(field.strip())
        return field.strip()

    @model_validator(mode="after")
    def _value_is_there(self) -> "Condition":
        if self.value is None and self.op.needs_value and self.op not in (Op.EQ, Op.NE):
            raise ValueError(f'"{self.op.label}" needs a value to compare with')
        return self


@dataclass(frozen=True, slots=True)
class Verdict:
    """`sentences` tells of every condition that did not match; empty when the whole passed."""

    passed: bool
    sentences: tuple[str, ...]


class _IncomparableError(ValueError):
    """Why two values cannot be held against each other; a sentence."""


def evaluate(conditions: Sequence[Condition], match: Match, context: Mapping[str, object]) -> Verdict:
    """No condition at all passes. An absent field matches only `not_exists` and `is_empty`."""
    sentences = [_failure(condition, context) for condition in conditions]
    failed = tuple(sentence for sentence in sentences if sentence is not None)
    passed = not failed or (match is Match.ANY and len(failed) < len(sentences))
    return Verdict(passed=passed, sentences=() if passed else failed)


def _failure(condition: Condition, context: Mapping[str, object]) -> str | None:
    """None if it matches, else the sentence that says why not."""
    field, op = condition.field, condition.op
    try:
        found = paths.lookup(context, field)
    except paths.MissingPath as missing:
        return None if op in (Op.NOT_EXISTS, Op.IS_EMPTY) else f"{missing.path} is not there"
    try:
        value = templates.render(condition.value, context) if op.needs_value else None
        if _TESTS[op](found, value):
            return None
    except _IncomparableError as error:
        return f"{field} is {values.show(found)}, {error}"
    except templates.TemplateError as error:
        return f"the value that {field} is compared with is missing: {error}"
    return _sentence(field, found, op, value)


def _sentence(field: str, found: object, op: Op, value: object) -> str:
    if op is Op.NOT_EXISTS:
        return f"{field} is there: {values.show(found)}"
    compared = f" {values.show(value)}" if op.needs_value else ""
    return f"{field} is {values.show(found)}, {_NEGATED[op]}{compared}"


def _equal(found: object, value: object) -> bool:
    left, right = values.number(found), values.number(value)
    if left is not None and right is not None:
        return left == right
    if isinstance(found, bool) or isinstance(value, bool):
        return _truth(found) is _truth(value) and _truth(found) is not None
    if isinstance(found, int | float) or isinstance(value, int | float):
        return False
    return found == value


def _truth(value: object) -> bool | None:
    spelled = values.text(value).strip().lower() if isinstance(value, values.SCALARS) else ""
    if spelled in ("true", "yes", "on", "1"):
        return True
    return False if spelled in ("false", "no", "off", "0") else None


def _numbers(compare: Callable[[Decimal, Decimal], bool]) -> Callable[[object, object], bool]:
    def test(found: object, value: object) -> bool:
        left, right = values.number(found), values.number(value)
        if left is None:
            raise _IncomparableError("not a number")
        if right is None:
            raise _IncomparableError(f"and {values.show(value)} is not a number to compare it with")
        return compare(left, right)

    return test


def _instants(compare: Callable[[datetime, datetime], bool]) -> Callable[[object, object], bool]:
    def test(found: object, value: object) -> bool:
        left, right = values.instant(found), values.instant(value)
        if left is None:
            raise _IncomparableError("not a date")
        if right is None:
            raise _IncomparableError(f"and {values.show(value)} is not a date to compare it with")
        return compare(left, right)

    return test


def _contains(found: object, value: object) -> bool:
    if isinstance(found, list | tuple):
        return any(_equal(item, value) for item in found)
    if isinstance(found, Mapping):
        return values.text(value) in found
    return values.text(value) in _as_text(found)


def _in(found: object, value: object) -> bool:
    """`value` is a list, or text as people type it: `red, green, blue`."""
    if isinstance(value, list | tuple):
        return any(_equal(found, item) for item in value)
    return any(_equal(found, item.strip()) for item in values.text(value).split(","))


def _as_text(found: object) -> str:
    if not isinstance(found, values.SCALARS):
        raise _IncomparableError("not text")
    return values.text(found)


def _empty(found: object) -> bool:
    if isinstance(found, str):
        return not found.strip()
    return found is None or (isinstance(found, list | tuple | Mapping) and not found)


_TESTS: Final[Mapping[Op, Callable[[Any, Any], bool]]] = {
    Op.EQ: _equal,
    Op.NE: lambda found, value: not _equal(found, value),
    Op.GT: _numbers(lambda left, right: left > right),
    Op.GTE: _numbers(lambda left, right: left >= right),
    Op.LT: _numbers(lambda left, right: left < right),
    Op.LTE: _numbers(lambda left, right: left <= right),
    Op.CONTAINS: _contains,
    Op.NOT_CONTAINS: lambda found, value: not _contains(found, value),
    Op.STARTS_WITH: lambda found, value: _as_text(found).startswith(values.text(value)),
    Op.ENDS_WITH: lambda found, value: _as_text(found).endswith(values.text(value)),
    Op.IN: _in,
    Op.NOT_IN: lambda found, value: not _in(found, value),
    Op.EXISTS: lambda found, value: True,
    Op.NOT_EXISTS: lambda found, value: False,
    Op.IS_EMPTY: lambda found, value: _empty(found),
    Op.IS_NOT_EMPTY: lambda found, value: not _empty(found),
    Op.IS_TRUE: lambda found, value: _truth(found) is True,
    Op.IS_FALSE: lambda found, value: _truth(found) is False,
    Op.BEFORE: _instants(lambda left, right: left < right),
    Op.AFTER: _instants(lambda left, right: left > right),
}
_WITHOUT_VALUE: Final = frozenset(
    {Op.EXISTS, Op.NOT_EXISTS, Op.IS_EMPTY, Op.IS_NOT_EMPTY, Op.IS_TRUE, Op.IS_FALSE}
)
_LABELS: Final[Mapping[Op, str]] = {
    Op.EQ: "is",
    Op.NE: "is not",
    Op.GT: "is greater than",
    Op.GTE: "is at least",
    Op.LT: "is less than",
    Op.LTE: "is at most",
    Op.CONTAINS: "contains",
    Op.NOT_CONTAINS: "does not contain",
    Op.STARTS_WITH: "starts with",
    Op.ENDS_WITH: "ends with",
    Op.IN: "is one of",
    Op.NOT_IN: "is none of",
    Op.EXISTS: "is there",
    Op.NOT_EXISTS: "is not there",
    Op.IS_EMPTY: "is empty",
    Op.IS_NOT_EMPTY: "is not empty",
    Op.IS_TRUE: "is true",
    Op.IS_FALSE: "is false",
    Op.BEFORE: "is before",
    Op.AFTER: "is after",
}
_NEGATED: Final[Mapping[Op, str]] = {
    Op.EQ: "not",
    Op.NE: "which is",
    Op.GT: "not greater than",
    Op.GTE: "not at least",
    Op.LT: "not less than",
    Op.LTE: "not at most",
    Op.CONTAINS: "which does not contain",
    Op.NOT_CONTAINS: "which contains",
    Op.STARTS_WITH: "which does not start with",
    Op.ENDS_WITH: "which does not end with",
    Op.IN: "not one of",
    Op.NOT_IN: "which is one of",
    Op.IS_EMPTY: "not empty",
    Op.IS_NOT_EMPTY: "which counts as empty",
    Op.IS_TRUE: "not true",
    Op.IS_FALSE: "not false",
    Op.BEFORE: "not before",
    Op.AFTER: "not after",
}
