"""What Google answers when it does not do what it was asked, in our vocabulary."""

import json
import re
from collections.abc import KeysView
from typing import Final

from app import clock
from app.sdk.answers import Answer, parse_retry_after
from app.sdk.errors import AuthError, RejectedError, TemporaryError
from app.sdk.google_account import GoogleAccount
from app.sdk.sealed import mask

# https://developers.google.com/workspace/drive/api/guides/handle-errors, and the same pages of Gmail and Sheets
_QUOTA: Final = frozenset({
    "rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "dailyLimitExceeded", "sharingRateLimitExceeded",
    "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED", "concurrentLimitExceeded", "backendError",
})  # fmt: skip
_SCOPE: Final = frozenset(
    {"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientScopes"}
)
_SWITCHED_OFF: Final = frozenset({"accessNotConfigured", "SERVICE_DISABLED"})
_SCOPES_SAID: Final = re.compile(r'scope="([^"]*)"')
_MAX_SAID: Final = 200


class GoogleRefusedError(RejectedError):
    """Google does not do this; `google_errors` says with what. `reason` is Google's own word for it."""

    def __init__(self, message: str, *, status: int, reason: str, hint: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.hint = status, reason, hint


def failure(answer: Answer, connection: GoogleAccount, token: str) -> Exception:
    """https://cloud.google.com/apis/design/errors and the older form with `errors[].reason`"""
    message, reasons = _said(answer)
    # What it echoes must not bring a secret into what is stored and shown.
    message = mask(message, filter(None, [token, connection.client_credentials()[1]]))[:_MAX_SAID].rstrip(
        ". "
    )
    reason = next(iter(reasons), "")
    if answer.status == 401:
        return AuthError("google refused the access (401): it was withdrawn or has expired; connect it again")
    if answer.status == 403 and reasons & _SCOPE:
        return AuthError(
            f"google was not allowed to give {_wanted(answer, connection)}; connect again and allow it"
        )
    if answer.status == 403 and reasons & _SWITCHED_OFF:
        return AuthError(
            f"google says: {message}" if message else "this api is switched off in your google project"
        )
    if answer.status == 429 or (answer.status == 403 and reasons & _QUOTA):
        after = parse_retry_after(answer.headers.get("retry-after"), clock.now())
        return TemporaryError(
            f"google's quota is used up ({reason or answer.status})", after=after, sent=False
        )
    if answer.status >= 500 or answer.status == 408:
        after = parse_retry_after(answer.headers.get("retry-after"), clock.now())
        return TemporaryError(f"google cannot do this now ({answer.status})", after=after)
    hint = f"; share it with {connection.email}" if connection.email and answer.status in {403, 404} else ""
    said = f"google refused this ({answer.status}{': ' + message if message else ''})"
    return GoogleRefusedError(said + hint, status=answer.status, reason=reason, hint=hint)


def _said(answer: Answer) -> tuple[str, KeysView[str]]:
    """Google's own sentence, on one line, and every word it gives for why, in its order."""
    try:
        error = json.loads(answer.body)["error"]
        details = [*error.get("errors", ()), *error.get("details", ())]
        reasons = [detail.get("reason") for detail in details if isinstance(detail, dict)]
        text, status = str(error.get("message", "")), error.get("status")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "", dict[str, None]().keys()
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line, dict.fromkeys(str(reason) for reason in [*reasons, status] if reason).keys()


def _wanted(answer: Answer, connection: GoogleAccount) -> str:
    """The scopes that are missing, by what was granted, by what Google says, or all that are needed."""
    if missing := connection.missing_scopes() if connection.granted else []:
        return ", ".join(missing)
    said = _SCOPES_SAID.search(answer.headers.get("www-authenticate", ""))
    return ", ".join((said[1].split() if said else None) or connection.oauth.scopes)
