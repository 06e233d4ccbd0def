"""What a service's answer says, read without repeating its address: of some services the address is the secret."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from app.sdk.answers import NOT_TAKEN, Answer, parse_retry_after
from app.sdk.errors import TemporaryError

_LONGEST: Final = 160


def json_object(answer: Answer) -> Mapping[str, Any]:
    """The JSON object of an answer, or an empty one."""
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def shown(text: object) -> str:
    """A name or words that a service gives, on one line and cut."""
    words = text if isinstance(text, str) else ""
    return " ".join("".join(char if char.isprintable() else " " for char in words).split())[:_LONGEST]


def sentence(text: object) -> str:
    """A service's own words as a part of a sentence of ours."""
    line = shown(text)
    return (line[:1].lower() + line[1:]).rstrip(". ") or "no reason given"


def not_now(service: str, answer: Answer, now: datetime, *, after: object = None) -> TemporaryError:
    """For 429 and 5xx; `after` are the seconds that stand in the body, where the service says them there."""
    header = answer.headers.get("retry-after")
    told = str(after) if isinstance(after, int | float) and not isinstance(after, bool) else header
    return TemporaryError(
        f"{service} cannot take this now ({answer.status})",
        after=parse_retry_after(told, now),
        sent=answer.status not in NOT_TAKEN,
    )


def is_later(answer: Answer) -> bool:
    return answer.status == 429 or answer.status >= 500
