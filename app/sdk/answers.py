"""What an HTTP call gave back: reading it, and turning its status into the error vocabulary."""

import codecs
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from app import clock
from app.sdk.errors import AuthError, RejectedError, TemporaryError

MAX_RETRY_AFTER_S = 86_400.0
MAX_EXCERPT = 200
_LATER = frozenset({408, 425, 429})
# Answers by which a service says that it took nothing.
NOT_TAKEN = frozenset({429, 503})
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
# Codecs that only read characters: some of Python's others unpack, or take quadratic time.
_CODECS = re.compile(
    r"(utf|us-ascii|ascii|iso-?8859|latin|windows|cp\d|koi8|shift|euc|gb|big5|mac)", re.IGNORECASE
)
_CREDENTIAL = re.compile(r"\b(bearer|basic|token)\s+[A-Za-z0-9._~+/=-]{6,}", re.IGNORECASE)
_SECONDS = re.compile(r"-?[0-9]+(\.[0-9]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of all redirects; `url` is where they led, header names are lower case, `body` is decoded."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str
    elapsed_ms: int

    @property
    def text(self) -> str:
        return self.body.decode(_codec(self.headers.get("content-type", "")), errors="replace")

    def json(self) -> Any:
        """Raises RejectedError when the body is no JSON that every store and parser would read alike."""
        try:
            return json.loads(self.body, parse_float=_finite, parse_constant=_finite)
        except (ValueError, RecursionError):
            raise RejectedError(f"the answer of {self.url.split('?')[0]} is not json") from None


def raise_for_status(answer: Answer, *, service: str, secrets: Iterable[str] = ()) -> None:
    """Does nothing below 400; `secrets` are never repeated from what the service says."""
    if answer.status < 400:
        return
    detail = f"{answer.status}{_excerpt(answer, secrets)}"
    if answer.status in {401, 403}:
        raise AuthError(f"{service} refused the credentials ({detail}); connect the account again")
    if answer.status in _LATER or answer.status >= 500:
        after = parse_retry_after(answer.headers.get("retry-after"), clock.now())
        sent = answer.status not in NOT_TAKEN
        raise TemporaryError(f"{service} cannot take this now ({detail})", after=after, sent=sent)
    raise RejectedError(f"{service} rejected the request ({detail})")


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110 §10.2.3), from 0 to a day; None for what cannot be read."""
    text = (value or "").strip()
    seconds = float(text) if _SECONDS.fullmatch(text) else _seconds_until(text, now)
    return None if seconds is None else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    aware = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    return (aware - now).total_seconds()


def _codec(content_type: str) -> str:
    found = _CHARSET.search(content_type)
    if not found or not _CODECS.match(found[1]):
        return "utf-8"
    try:
        return codecs.lookup(found[1]).name
    except LookupError:
        return "utf-8"


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _excerpt(answer: Answer, secrets: Iterable[str]) -> str:
    if "html" in answer.headers.get("content-type", ""):
        return ""
    text = answer.text[:4000]
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "••••")
    text = _CREDENTIAL.sub(r"\1 ••••", text)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return f": {text[:MAX_EXCERPT]}" if text else ""
