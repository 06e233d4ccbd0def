"""Twilio: the account, its own client sent through ours, and what its errors mean."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

from pydantic import SecretStr, ValidationInfo, field_validator

from app.sdk.answers import Answer, parse_retry_after
from app.sdk.context import Context
from app.sdk.errors import AuthError, IntegrationError, RejectedError, TemporaryError
from app.sdk.fields import Settings, Text, setting
from app.sdk.lazily import lazily
from app.sdk.shapes import shaped

_rest: Any = lazily("twilio.rest")

_DEADLINE_S: Final = 20.0
_MAX_SAID_CHARS: Final = 160
# Without an environment of its own the client would read edge, region and log-in from ours.
_NO_ENVIRONMENT: Final = {"TWILIO_EDGE": ""}
_IN_PATH: Final = re.compile(r"/PhoneNumbers/([^/?]+)")

# https://www.twilio.com/docs/api/errors
_ACCOUNT: Final = {
    20003: "check account sid and auth token, or key and secret",
    20005: "the account is not active; see why in the twilio console",
    20403: "the api key may not do this; give it the right in the twilio console",
    30002: "the account is suspended; see why in the twilio console",
}
# The account's limits, and queues that are full: nothing was taken.
_BUSY: Final = frozenset({14107, 20429, 21611, 63018, 63038})
_MENDS: Final = {
    20404: "twilio does not know {to}",
    21211: "{to} is no phone number that can be reached; correct it",
    21265: "{to} is a short code; take a whole number",
    21408: "the account may not send to the country of {to}; allow it in the twilio console under geo permissions",
    21421: "{to} is no phone number; correct it",
    21602: "the message is empty; write a text",
    21606: "{sender} cannot send such messages; take another sender of the account",
    21610: "{to} answered STOP and must not be written to",
    21612: "{to} cannot be reached from {sender}; take another sender",
    21614: "{to} is no mobile number; correct it",
    21617: "the text is longer than 1600 characters; shorten it",
    21619: "the message is empty; write a text",
    21620: "the address of the file is not valid; it must be public and begin with https://",
    21623: "the file is too large for twilio; take a smaller one",
    21655: "the template is not known; compare its content sid with the twilio console",
    21656: "the template's variables do not fit; give each of them a text without line breaks",
    21659: "{sender} is no number of this account; correct the sender of the connection",
    21660: "{sender} belongs to another account; correct the sender of the connection",
    21703: "the messaging service has no sender; add one in the twilio console",
    21705: "the messaging service is not known; correct the sender of the connection",
    30003: "{to} is switched off or out of reach",
    30004: "{to} blocks such messages",
    30005: "{to} does not exist any more",
    30006: "{to} cannot take messages; it may be a landline",
    30007: "the phone company took the message for spam",
    63003: "{to} has no whatsapp",
    63007: "{sender} is no whatsapp sender of this account; correct the sender of the connection",
    63013: "whatsapp's policies do not allow this message",
    63015: "{to} has not joined the sandbox; let them send the join code first",
    63016: "{to} has not written within 24 hours, and whatsapp then takes only templates; use send a template",
    63024: "{to} is no whatsapp number",
    63032: "whatsapp does not let {to} have this message now",
}


_PUBLIC: Final = r"(?i:https?)://[^\s/?#@\"<>]+[^\s\"<>]*"
_NOT_PUBLIC: Final = "must be a public address that begins with https://"

PublicUrl: TypeAlias = Annotated[Text, shaped(_PUBLIC, _NOT_PUBLIC)]
CallbackUrl: TypeAlias = Annotated[Text, shaped(f"({_PUBLIC})?", _NOT_PUBLIC)]
AccountSid: TypeAlias = Annotated[
    Text,
    shaped("AC[0-9a-fA-F]{32}", "must be AC and 32 letters and digits; copy it from the twilio console"),
]
KeySid: TypeAlias = Annotated[
    Text,
    shaped("(SK[0-9a-fA-F]{32})?", "must be SK and 32 letters and digits; copy it from the twilio console"),
]

# A field of every message that is sent.
STATUS_URL: Final = setting(
    "Report the status to", "", help="the address of a rule whose trigger is message status changed"
)


class TwilioAccount(Settings):
    """What every use of Twilio needs; an integration adds its sender."""

    account_sid: AccountSid = setting(
        "Account SID",
        example="AC00000000000000000000000000000000",
        where="console.twilio.com → account info",
    )
    auth_token: SecretStr = setting(
        "Auth token",
        SecretStr(""),
        help="triggers need it: twilio signs its calls with it",
        example="12345678901234567890123456789012",
        where="console.twilio.com → account info",
    )
    key_sid: KeySid = setting(
        "API key SID",
        "",
        help="instead of the auth token for what is sent; it can be revoked by itself",
        where="console.twilio.com → account → API keys",
    )
    key_secret: SecretStr = setting(
        "API key secret",
        SecretStr(""),
        help="twilio shows it once, when the key is made",
        validate_default=True,
    )

    @field_validator("key_secret")
    @classmethod
    def _can_sign_in(cls, key_secret: SecretStr, info: ValidationInfo) -> SecretStr:
        given, token = key_secret.get_secret_value(), info.data.get("auth_token", SecretStr(""))
        if bool(info.data.get("key_sid", given)) != bool(given):
            raise ValueError("belongs to an api key sid; give both or none")
        if not given and not token.get_secret_value():
            raise ValueError("is needed with its key sid where there is no auth token")
        return key_secret

    def login(self) -> tuple[str, str]:
        """User name and password of the API."""
        if self.key_sid:
            return self.key_sid, self.key_secret.get_secret_value().strip()
        return self.account_sid, self.auth_token.get_secret_value().strip()


def client(ctx: Context, account: TwilioAccount) -> Any:
    """Twilio's own client. What it sends goes through `ctx.http`; it raises only app.sdk.errors."""
    user, password = account.login()
    return _rest.Client(
        user, password, account.account_sid, http_client=_Transport(ctx), environment=_NO_ENVIRONMENT
    )


def check(ctx: Context, account: TwilioAccount) -> str:
    """Proves the credentials without doing anything. Keys may not read the account itself."""
    api = client(ctx, account)
    if account.key_sid:
        api.messages.list(limit=1, page_size=1)
        return "twilio accepts this key"
    known = api.api.accounts(account.account_sid).fetch()
    if known.status in {"suspended", "closed"}:
        raise AuthError(f"the twilio account is {known.status}; see why in the twilio console")
    return f"signed in to twilio as {known.friendly_name}"


def send(ctx: Context, account: TwilioAccount, *, sender: str, to: str, **content: Any) -> dict[str, Any]:
    """Hands one message over; `sender` is a number, a name or a messaging service (MG…)."""
    origin = {"messaging_service_sid" if sender.startswith("MG") else "from_": sender}
    given = {name: value for name, value in content.items() if value}
    message = client(ctx, account).messages.create(to=to, **origin, **given)
    if message.status in {"failed", "undelivered"}:
        why = meaning(message.error_code or 0, to=to, sender=sender) or _sentence(message.error_message)
        raise RejectedError(f"twilio did not deliver this: {why} ({message.error_code or message.status})")
    return {
        "message_id": message.sid,
        "status": message.status,
        "to": to.removeprefix("whatsapp:"),
        "from": (message.from_ or "").removeprefix("whatsapp:"),
    }


def meaning(code: int, *, to: str, sender: str) -> str:
    """What a code of Twilio's says, and the way out; empty for one that we have no words for."""
    return _MENDS.get(code, "").format(
        to=to.removeprefix("whatsapp:") or "this number",
        sender=sender.removeprefix("whatsapp:") or "the sender",
    )


@dataclass(frozen=True, slots=True)
class _Response:
    """What Twilio's client reads of an answer."""

    status_code: int
    text: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Transport:
    """What Twilio's client takes for its HTTP client."""

    ctx: Context

    def request(  # noqa: PLR0917  the shape is Twilio's
        self,
        method: str,
        uri: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,  # noqa: FBT001, FBT002
    ) -> Any:
        answer = self.ctx.http.request(
            method,
            self.ctx.placed(uri),
            params=params,
            form=data,
            headers={**(headers or {}), "Authorization": _basic(auth or ("", ""))},
            deadline_s=_DEADLINE_S,
            follow_redirects=False,
        )
        if not 200 <= answer.status < 300:
            raise _failure(self.ctx, answer, named=data or {"To": _number_in(uri)})
        _require_object(answer)
        return _Response(answer.status, answer.text, answer.headers)


def _basic(login: tuple[str, str]) -> str:
    return "Basic " + b64encode(":".join(login).encode()).decode()


def _number_in(uri: str) -> str:
    found = _IN_PATH.search(uri)
    return found[1] if found else ""


def _require_object(answer: Answer) -> None:
    """An answer that cannot be read does not undo what was done."""
    if not isinstance(_said(answer), dict):
        raise TemporaryError("twilio's answer could not be read")


def _said(answer: Answer) -> Any:
    try:
        return answer.json()
    except RejectedError:
        return None


def _failure(ctx: Context, answer: Answer, *, named: Mapping[str, object]) -> IntegrationError:
    said = _said(answer)
    body: Mapping[str, Any] = said if isinstance(said, dict) else {}
    code = body.get("code") if isinstance(body.get("code"), int) else 0
    detail = f"{answer.status} {code}" if code else f"{answer.status}"
    if code in _ACCOUNT or answer.status in {401, 403}:
        mend = _ACCOUNT.get(code or 20003, _ACCOUNT[20003])
        return AuthError(f"twilio refused the account ({detail}); {mend}")
    if code in _BUSY or answer.status == 429 or answer.status >= 500:
        after = parse_retry_after(answer.headers.get("retry-after"), ctx.now)
        taken = answer.status >= 500 and answer.status != 503
        return TemporaryError(f"twilio cannot take this now ({detail})", after=after, sent=taken)
    sender = named.get("From") or named.get("MessagingServiceSid") or ""
    why = meaning(code or 0, to=str(named.get("To") or ""), sender=str(sender))
    return RejectedError(f"twilio did not take this: {why or _sentence(body.get('message'))} ({detail})")


def _sentence(said: object) -> str:
    """Twilio's own words on one line, cut; they name what was sent, never the log-in."""
    text = said if isinstance(said, str) else "no reason given"
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return (text[:1].lower() + text[1:_MAX_SAID_CHARS]).rstrip(". ")
