"""Reckoning with two numbers in decimals, as one does on paper."""

from decimal import ROUND_HALF_UP, Context, Decimal, DecimalException
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator

from app.sdk import values
from app.sdk.errors import RejectedError
from app.sdk.fields import Text

Operator: TypeAlias = Literal["plus", "minus", "times", "divided by", "modulo"]

# Enough for money and measures; more digits than this are nobody's figures.
_EXACT: Final = Context(prec=60)
_LARGEST: Final = Decimal(10) ** 40


def _is_number(given: str) -> str:
    number = values.number(given)
    if number is None or abs(number) > _LARGEST:
        raise ValueError(f"must be a number, unlike {given[:40] or 'nothing'}")
    return given.strip()


NumberText: TypeAlias = Annotated[Text, AfterValidator(_is_number)]


def reckon(left: Decimal, operator: Operator, right: Decimal) -> Decimal:
    """Raises RejectedError for a division by 0 and for what cannot be written."""
    if operator in ("divided by", "modulo") and not right:
        raise RejectedError(f"{left} cannot be {operator} 0; add a filter before this step")
    steps = {
        "plus": _EXACT.add,
        "minus": _EXACT.subtract,
        "times": _EXACT.multiply,
        "divided by": _EXACT.divide,
        "modulo": _EXACT.remainder,
    }
    try:
        return steps[operator](left, right)
    except DecimalException:
        raise RejectedError("the result has too many digits") from None


def shown(value: Decimal, decimals: int | None) -> dict[str, Any]:
    """As a number and as text; rounded to so many decimals, halves away from zero."""
    try:
        rounded = value if decimals is None else _rounded(value, decimals)
    except DecimalException:
        raise RejectedError("the result has too many digits to be rounded so") from None
    whole = rounded == rounded.to_integral_value()
    return {"number": int(rounded) if whole else float(rounded), "text": f"{rounded:f}"}


def _rounded(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP, context=_EXACT)
