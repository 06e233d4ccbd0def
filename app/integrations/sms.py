"""SMS: text messages through Twilio."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, field_validator

from app.sdk import phones, twilio, twilio_hooks
from app.sdk.declare import Context, InboundRequest, Integration, NoSettings, Occurrence, Reply
from app.sdk.fields import Settings, Text, setting
from app.sdk.shapes import shaped

sms = Integration(module=__name__, title="SMS (Twilio)", about="send and receive text messages")

_SERVICE: Final = re.compile(r"MG[0-9a-fA-F]{32}")
_SHORT_CODE: Final = re.compile(r"[0-9]{3,8}")
# https://www.twilio.com/docs/glossary/what-alphanumeric-sender-id
_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11}")

Country: TypeAlias = Annotated[
    Text, shaped("([A-Za-z]{2})?", "must be two letters, such as DE"), AfterValidator(str.upper)
]


@sms.connection
class Account(twilio.TwilioAccount):
    """A Twilio account with a number that can send text messages. A trial account reaches only verified numbers."""

    sender: Text = setting(
        "From",
        help="a number of the account, a messaging service (MG…), a short code, or a name of up to 11 letters",
        example="+4915112345678",
        where="console.twilio.com → phone numbers → active numbers",
    )

    @field_validator("sender")
    @classmethod
    def _is_sender(cls, typed: str) -> str:
        text = typed.strip()
        known = any(form.fullmatch(text) for form in (_SERVICE, _SHORT_CODE, _NAME))
        return text if known else phones.normal(text)


@sms.check
def check(ctx: Context, connection: Account) -> str:
    """Asks for the account's own name; sends nothing."""
    return twilio.check(ctx, connection)


class Message(Settings):
    """A text message."""

    to: phones.Phone = setting("To", help="with + and the country code", example="{{ event.phone }}")
    text: Text = setting(
        "Text",
        help="160 characters cost one message, with letters beyond the usual ones 70",
        example="order {{ event.order }} is on its way",
        widget="textarea",
        min_length=1,
        max_length=1600,
    )
    status_url: twilio.CallbackUrl = twilio.STATUS_URL


@sms.action("Send a text message", idempotent=False)
def send(ctx: Context, connection: Account, params: Message) -> Mapping[str, Any]:
    """Hands one message to Twilio. Whether it arrives is told later, by the trigger for status changes."""
    return twilio.send(
        ctx,
        connection,
        sender=connection.sender,
        to=params.to,
        body=params.text,
        status_callback=params.status_url,
    )


class Number(Settings):
    """A number to ask about."""

    number: Text = setting("Number", example="{{ event.phone }}", max_length=40)
    country: Country = setting(
        "Country", "", help="two letters, such as DE, for a number without + and country code"
    )
    details: list[Literal["line_type_intelligence", "caller_name"]] = setting(
        "Also ask for",
        [],
        help="each costs money",
        choices={
            "line_type_intelligence": "sort of line and phone company",
            "caller_name": "name of the owner",
        },
    )

    @field_validator("number")
    @classmethod
    def _is_dialled(cls, typed: str) -> str:
        number = re.sub(r"[\s()./-]", "", typed.removeprefix("whatsapp:"))
        if not re.fullmatch(r"\+?[0-9]{2,20}", number):
            raise ValueError("must be digits, with + and the country code or without")
        return number


@sms.action("Look up a number", idempotent=True)
def look_up(ctx: Context, connection: Account, params: Number) -> Mapping[str, Any]:
    """Tells whether a number can exist and how it is written; with details, what sort of line it is."""
    asked = {"fields": ",".join(params.details), "country_code": params.country}
    api = twilio.client(ctx, connection).lookups.v2
    found = api.phone_numbers(params.number).fetch(**{name: value for name, value in asked.items() if value})
    line, owner = found.line_type_intelligence or {}, found.caller_name or {}
    return {
        "valid": bool(found.valid),
        "problems": [str(problem).lower().replace("_", " ") for problem in found.validation_errors or []],
        "number": found.phone_number or "",
        "national": found.national_format or "",
        "country": found.country_code or "",
        "line_type": line.get("type") or "",
        "carrier": line.get("carrier_name") or "",
        "owner": owner.get("caller_name") or "",
    }


@sms.hook("Message received", answer=twilio_hooks.NOTHING_TO_SAY)
def received(
    request: InboundRequest, connection: Account, params: NoSettings
) -> Iterable[Occurrence] | Reply:
    """Starts when somebody writes to your number.

    Put the rule's address into the Twilio console: phone numbers → your number → a message comes in (HTTP POST).
    """
    return twilio_hooks.incoming(request, connection, "sms")


@sms.hook("Message status changed")
def status(
    request: InboundRequest, connection: Account, params: twilio_hooks.StatusFilter
) -> Iterable[Occurrence] | Reply:
    """Starts when a message that you sent was delivered, or could not be.

    Put the rule's address where the message is sent: report the status to.
    """
    return twilio_hooks.status(request, connection, "sms", params)
