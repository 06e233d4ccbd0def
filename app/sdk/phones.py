"""Phone numbers as people type them, in the one form that services take: +4915112345678."""

import re
from typing import Annotated, Final, TypeAlias

from pydantic import AfterValidator

from app.sdk.fields import Text

# E.164 §6: at most 15 digits, the country code included.
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_SEPARATORS: Final = re.compile(r"[\s\u00a0\u202f()./\u2010-\u2014-]")


def normal(typed: str) -> str:
    """`+49 151 123-45678` as +4915112345678; raises ValueError, in words for people."""
    text = typed.strip().removeprefix("whatsapp:")
    if "(0)" in text:
        raise ValueError("has both a country code and a (0); leave the (0) out")
    number = _SEPARATORS.sub("", text)
    if not number.startswith("+"):
        raise ValueError("must begin with + and the country code, such as +49 151 12345678")
    if not _E164.fullmatch(number):
        raise ValueError("must be + and 7 to 15 digits, such as +49 151 12345678")
    return number


Phone: TypeAlias = Annotated[Text, AfterValidator(normal)]
