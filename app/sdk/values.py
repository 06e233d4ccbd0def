"""How a JSON value reads as text, as a number and as an instant, and how it is shown in a sentence."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

SCALARS: Final = (str, int, float, type(None))  # bool is an int
DATA: Final = (*SCALARS, Mapping, list, tuple, range)
MAX_INT_BITS: Final = 1400  # about 420 digits; Python itself refuses to print more than 4300

_SHOWN_CHARS = 60
_TOO_LARGE = "a number is too large to be written"
# JSON's own grammar: "007", "+49 30" and "1_000" are codes, not numbers.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,399})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 100_000_000_000  # as seconds this would be the year 5138


def text(value: object) -> str:
    """The text a value becomes inside other text: nothing for null, JSON for lists and objects."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return as_json(value)


def as_json(value: object) -> str:
    """JSON for people to read and for bodies; raises ValueError for what has none."""
    if isinstance(value, int) and value.bit_length() > MAX_INT_BITS:
        raise ValueError(_TOO_LARGE)
    known = plain(value)
    try:
        return json.dumps(known, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        raise ValueError(_TOO_LARGE) from None


def plain(value: object) -> object:
    """The same value in the types that `json` knows."""
    if isinstance(value, range):
        return list(value)
    if isinstance(value, (*SCALARS, dict, list, tuple)):
        return value
    raise ValueError("this has no text")


def number(value: object) -> Decimal | None:
    """The number that a value is or spells; None for anything else, true and false included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else None
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return Decimal(value.strip())
    return None


def instant(value: object) -> datetime | None:
    """The instant that ISO 8601 text, or a Unix time in seconds or milliseconds, stands for.

    Text without an offset is read as UTC.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _from_epoch(value)
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.strip())
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    except ValueError:
        return None


def kind(value: object) -> str:
    """What a person calls a value of this type."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "an object" if isinstance(value, Mapping) else "a list"


def show(value: object) -> str:
    """A value inside a sentence: text in quotes, everything cut to 60 characters."""
    if value is None:
        return "empty"
    try:
        shown = as_json(value)
    except ValueError:
        return "something that has no text"
    if len(shown) <= _SHOWN_CHARS:
        return shown
    return shown[:_SHOWN_CHARS] + ('…"' if isinstance(value, str) else "…")


def _from_epoch(seconds: float) -> datetime | None:
    if isinstance(seconds, float) and not math.isfinite(seconds):
        return None
    try:
        scale = 1000 if abs(seconds) >= _MILLISECONDS_FROM else 1
        return _EPOCH + timedelta(seconds=seconds / scale)
    except OverflowError:
        return None
