"""Calls from Twilio: who signed them, and what they tell of messages."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from app.sdk import inbound, values
from app.sdk.declare import InboundRequest, Occurrence, Reply
from app.sdk.errors import RefusedError
from app.sdk.fields import Settings, setting
from app.sdk.lazily import lazily
from app.sdk.twilio import TwilioAccount, meaning

_validators: Any = lazily("twilio.request_validator")

Channel: TypeAlias = Literal["sms", "whatsapp"]
Status: TypeAlias = Literal["queued", "sent", "delivered", "read", "undelivered", "failed"]

# Anything but XML is an error in the account's log: https://www.twilio.com/docs/api/errors/12300
NOTHING_TO_SAY: Final = Reply("<Response/>", "text/xml; charset=utf-8")

_MAX_MEDIA: Final = 10
_TOLD: Final = frozenset(
    {"MessageSid", "SmsSid", "SmsMessageSid", "From", "To", "Body", "ProfileName", "WaId", "NumMedia",
     "ButtonText", "ButtonPayload", "MessageStatus", "SmsStatus", "ErrorCode", "ErrorMessage", "AccountSid",
     "ApiVersion"}
)  # fmt: skip


class StatusFilter(Settings):
    """Which changes count."""

    statuses: list[Status] = setting(
        "Only these statuses", [], help="without any, every change", example=["delivered", "failed"]
    )


def verify(request: InboundRequest, auth_token: str) -> None:
    """Raises RefusedError unless Twilio signed the address and what stands in the body.

    https://www.twilio.com/docs/usage/security#validating-requests
    """
    signature = request.headers.get("x-twilio-signature", "")
    signed: object = _Many(inbound.read_form(request))
    if inbound.media_type(request) == "application/json":
        # Only its hash, in the address, makes a body of JSON part of what is signed.
        signed = inbound.read_text(request) if "bodySHA256" in parse_qs(urlsplit(request.url).query) else None
    validator = _validators.RequestValidator(auth_token)
    if signed is None or not validator.validate(request.url, signed, signature):
        raise RefusedError(
            "this call could not be verified; compare the auth token, and the address with the public url"
        )


class _Many(dict[str, Any]):
    """A form whose names may repeat, as Twilio's validator reads it."""

    def getlist(self, name: str) -> list[str]:
        value = self[name]
        return value if isinstance(value, list) else [value]


def incoming(
    request: InboundRequest, account: TwilioAccount, channel: Channel
) -> Iterable[Occurrence] | Reply:
    """The message that the call brings; nothing for one of another channel, and for a change of status."""
    fields = _verified(request, account)
    if (
        "MessageStatus" in fields
        or not fields.get("MessageSid")
        or _channel(fields.get("From", "")) != channel
    ):
        return NOTHING_TO_SAY
    data = _both_ends(fields) | {"text": fields.get("Body", ""), "media": _media(fields)}
    if channel == "whatsapp":
        data |= {"name": fields.get("ProfileName", ""), "button": _button(fields)}
    return [Occurrence(fields["MessageSid"], data | {"other": _other(fields)})]


def status(
    request: InboundRequest, account: TwilioAccount, channel: Channel, params: StatusFilter
) -> Iterable[Occurrence] | Reply:
    """The change that the call tells of, if it is one of those asked for."""
    fields = _verified(request, account)
    now = fields.get("MessageStatus", "")
    sid, wanted = fields.get("MessageSid", ""), not params.statuses or now in params.statuses
    if not (sid and now and wanted) or _channel(fields.get("To", "")) != channel:
        return NOTHING_TO_SAY
    code = int(fields["ErrorCode"]) if fields.get("ErrorCode", "").isdecimal() else None
    why = meaning(code or 0, to=fields.get("To", ""), sender=fields.get("From", ""))
    data = _both_ends(fields) | {
        "status": now,
        "error_code": code,
        "error": why or fields.get("ErrorMessage", ""),
        "other": _other(fields),
    }
    return [Occurrence(f"{sid} {now}", data)]


def _verified(request: InboundRequest, account: TwilioAccount) -> dict[str, str]:
    if request.method != "POST":
        raise RefusedError("this address is called with POST; choose that in the twilio console", status=405)
    token = account.auth_token.get_secret_value().strip()
    if not token:
        raise RefusedError("the connection has no auth token, with which twilio signs; add it there")
    verify(request, token)
    is_json = inbound.media_type(request) == "application/json"
    body = inbound.read_json(request) if is_json else inbound.read_form(request)
    if not isinstance(body, dict):
        raise RefusedError("the body is no object of names and values", status=400)
    return {name: values.text(value[0] if isinstance(value, list) else value) for name, value in body.items()}


def _channel(address: str) -> str:
    """`whatsapp` of `whatsapp:+4915112345678`; plain numbers and names are SMS."""
    prefix, colon, _ = address.partition(":")
    return prefix if colon else "sms"


def _both_ends(fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "message_id": fields["MessageSid"],
        "from": fields.get("From", "").removeprefix("whatsapp:"),
        "to": fields.get("To", "").removeprefix("whatsapp:"),
    }


def _media(fields: Mapping[str, str]) -> list[dict[str, str]]:
    found = ((fields.get(f"MediaUrl{n}"), fields.get(f"MediaContentType{n}", "")) for n in range(_MAX_MEDIA))
    return [{"url": url, "type": kind} for url, kind in found if url]


def _button(fields: Mapping[str, str]) -> str:
    """What a quick reply stands for, or what it says."""
    return fields.get("ButtonPayload") or fields.get("ButtonText", "")


def _other(fields: Mapping[str, str]) -> dict[str, str]:
    """What Twilio adds by channel and over time: a place, a reply, an advertisement."""
    known = (*_TOLD, "MediaUrl", "MediaContentType")
    return {name: value for name, value in fields.items() if name.rstrip("0123456789") not in known}
