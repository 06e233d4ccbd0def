"""Requests to a token endpoint, as Authlib makes them, over the guarded client."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from app import clock
from app.sdk.answers import Answer, parse_retry_after
from app.sdk.context import Context
from app.sdk.errors import TemporaryError

DEADLINE_S: Final = 15.0

_MAX_TOKEN_BYTES: Final = 256 * 1024
_LONGEST_S: Final = 10 * 366 * 86_400
_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class TokenSession:
    """What Authlib asks of a `requests.Session`, over the guarded client."""

    ctx: Context
    service: str

    def post(self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> "Reply":
        url, sent, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        kept = {name: value for name, value in sent.items() if name.lower() != "content-length"}
        try:
            answer = self.ctx.http.request(
                "POST", url, headers=kept, content=body, deadline_s=DEADLINE_S, max_bytes=_MAX_TOKEN_BYTES,
                follow_redirects=False,
            )  # fmt: skip
        except TemporaryError as error:
            # Whatever was to be done with the token has not begun.
            error.sent = False
            raise
        return Reply(answer, self._checked(answer))

    def _checked(self, answer: Answer) -> int:
        if answer.status in _LATER or answer.status >= 500:
            after = parse_retry_after(answer.headers.get("retry-after"), clock.now())
            raise TemporaryError(
                f"{self.service} cannot renew the access now ({answer.status})", after=after, sent=False
            )
        return answer.status


@dataclass(frozen=True, slots=True)
class Reply:
    answer: Answer
    status_code: int

    def json(self) -> Any:
        """Raises ValueError. Without an end that Authlib could not read: it would fail on it."""
        try:
            found = json.loads(self.answer.body)
        except RecursionError:
            raise ValueError("nested too deep") from None
        if isinstance(found, dict) and not _is_seconds(found.get("expires_in")):
            found.pop("expires_in", None)
        return found

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise ValueError(self.status_code)


def _is_seconds(value: object) -> bool:
    try:
        return 0 <= int(str(value).partition(".")[0]) <= _LONGEST_S
    except ValueError:
        return False
